"""What the shapes of OpenAI's tensors do not tell: their code's flags, by the published files' names or from a file.

The flags of the published files are those that the authors name beside them
(https://github.com/openai/guided-diffusion, https://github.com/openai/improved-diffusion).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from undiffuse.checkpoints.foreign.settings import read_settings
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.sections import from_plain
from undiffuse.errors import UndiffuseError

MAX_SIDE = 4096
MAX_STEPS = 100_000
EXAMPLE = '{"image_size": 64, "diffusion_steps": 1000, "noise_schedule": "linear", "num_heads": 4}'


@dataclass(frozen=True)
class Flags:
    """Flags under OpenAI's own names; either of ``num_heads`` and ``num_head_channels`` is given.

    Args:
        use_new_attention_order: queries, keys and values come one after another, not head by head.
        rescale_timesteps: the network was shown 1000 / T times the index; must be told where T is not 1000.
        predict_xstart: it predicts the data, not the noise.
    """

    image_size: int
    diffusion_steps: int
    noise_schedule: Literal["linear", "cosine"]
    num_heads: int | None = None
    num_head_channels: int | None = None
    use_new_attention_order: bool = False
    rescale_timesteps: bool | None = None
    predict_xstart: bool = False


GUIDED_256 = Flags(256, 1000, "linear", num_head_channels=64)
IMPROVED_64 = Flags(64, 4000, "cosine", num_heads=4, rescale_timesteps=True)
IMPROVED_32 = Flags(32, 4000, "cosine", num_heads=4, rescale_timesteps=True)
IMPROVED_256 = Flags(256, 1000, "linear", num_heads=1)

PUBLISHED = {
    "64x64_diffusion": Flags(64, 1000, "cosine", num_head_channels=64, use_new_attention_order=True),
    "128x128_diffusion": Flags(128, 1000, "linear", num_heads=4),
    "256x256_diffusion": GUIDED_256,
    "256x256_diffusion_uncond": GUIDED_256,
    "512x512_diffusion": Flags(512, 1000, "linear", num_head_channels=64),
    "lsun_bedroom": GUIDED_256,
    "lsun_cat": GUIDED_256,
    "lsun_horse": GUIDED_256,
    "lsun_horse_nodropout": GUIDED_256,
    "imagenet64_uncond_100M_1500K": IMPROVED_64,
    "imagenet64_uncond_vlb_100M_1500K": IMPROVED_64,
    "imagenet64_cond_270M_250K": Flags(64, 4000, "cosine", num_heads=4, rescale_timesteps=False),
    "cifar10_uncond_50M_500K": IMPROVED_32,
    "cifar10_uncond_vlb_50M_500K": IMPROVED_32,
    "lsun_uncond_100M_1200K_bs128": IMPROVED_256,
    "lsun_uncond_100M_2400K_bs64": IMPROVED_256,
    "64x64_classifier": Flags(64, 1000, "cosine", num_head_channels=64),
    "128x128_classifier": Flags(128, 1000, "linear", num_head_channels=64),
    "256x256_classifier": Flags(256, 1000, "linear", num_head_channels=64),
    "512x512_classifier": Flags(512, 1000, "linear", num_head_channels=64),
}
"""By the files' names without their endings."""


def read_flags(path: Path) -> Flags:
    """The flags of a file of tensors: those in the .json of its name, or else of the published file of its name."""
    beside = path.with_suffix(".json")
    if beside.is_file():
        flags = from_plain(Flags, dict(read_settings(beside).values), str(beside))
        _check(flags, beside)
        return flags
    if path.stem not in PUBLISHED:
        raise UndiffuseError(
            f"{path} holds weights and no settings: write the flags that it was trained with into {beside.name} beside "
            f"it, such as {EXAMPLE}"
        )
    return PUBLISHED[path.stem]


def _check(flags: Flags, where: Path) -> None:
    if not 1 <= flags.image_size <= MAX_SIDE or not 2 <= flags.diffusion_steps <= MAX_STEPS:
        raise UndiffuseError(f"{where} needs an image_size of 1 to {MAX_SIDE} and diffusion_steps of 2 to {MAX_STEPS}")
    if (flags.num_heads is None) == (flags.num_head_channels is None):
        raise UndiffuseError(
            f"{where} needs one of num_heads and num_head_channels: the tensors do not tell heads apart"
        )
    if flags.diffusion_steps != 1000 and flags.rescale_timesteps is None:
        raise UndiffuseError(
            f"{where} has {flags.diffusion_steps} diffusion_steps, so it must say rescale_timesteps: true is "
            "improved-diffusion's default, false guided-diffusion's"
        )
    if flags.noise_schedule == "linear" and flags.diffusion_steps < 20:
        raise UndiffuseError(f"{where} needs at least 20 diffusion_steps for a linear noise_schedule")


def process(flags: Flags, learn_variance: bool) -> DiffusionConfig:
    """The process that the flags describe: a linear chain of T steps has betas 1000 / T times those of Ho et al."""
    steps = flags.diffusion_steps
    scaled = flags.noise_schedule == "linear" and steps != 1000
    return DiffusionConfig(
        schedule=flags.noise_schedule,
        timesteps=steps,
        beta_start=0.1 / steps if scaled else None,
        beta_end=20 / steps if scaled else None,
        parameterization="x0" if flags.predict_xstart else "epsilon",
        time_input="scaled-index" if flags.rescale_timesteps and steps != 1000 else "index",
        learn_variance=learn_variance,
    )


@dataclass(frozen=True)
class _Side:
    image_size: int


def read_side(path: Path, otherwise: int | None = None) -> int:
    """Height and width of images, for files that tell all but these: what the .json of the file's name says.

    Args:
        otherwise: where there is no such file.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        if otherwise is None:
            raise UndiffuseError(
                f'{path} does not tell the size of its images: write {{"image_size": 32}} to {beside.name}'
            )
        return otherwise
    found = from_plain(_Side, dict(read_settings(beside).values), str(beside)).image_size
    if not 1 <= found <= MAX_SIDE:
        raise UndiffuseError(f"{beside} needs an image_size of 1 to {MAX_SIDE}")
    return found
