"""The network that settings and data describe."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from undiffuse.conditioning.request import conditions_of
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.networks.conditions import Condition
from undiffuse.networks.kernels import accelerate_cpu
from undiffuse.networks.layers import LAYOUTS
from undiffuse.networks.rms_unet import RMSUNet
from undiffuse.networks.score_unet import ScoreUNet
from undiffuse.networks.unet import UNet
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.runtime.uninitialized import outlined

ARCHITECTURES: dict[str, type[UNet] | type[RMSUNet] | type[ScoreUNet]] = {
    "unet": UNet,
    "rms-unet": RMSUNet,
    "ddpm++": ScoreUNet,
    "ncsn++": ScoreUNet,
}
SIDE, VALUES = 1 << 16, 1 << 30
"""Of one sample: a side, and how many values at most."""
LEVELS = 16
WEIGHTS = 1 << 34
"""At most, float32 of 64 GB: four times the largest U-Nets there are."""


def build_network(config: TrainConfig, info: DataInfo, told: tuple[Condition, ...] | None = None) -> nn.Module:
    """The network for data of this shape, its weights drawn from the settings' seed.

    Args:
        told: its conditions, if not those of the settings.

    Raises:
        UndiffuseError: as for `check_size`, or settings that describe no network.
    """
    check_size(config, info)
    with torch.random.fork_rng(devices=[]):  # layers initialise themselves from torch's global stream
        torch.manual_seed(stream_seed(config.loop.seed, "weights"))
        outputs = 2 * info.channels if config.diffusion.learn_variance else info.channels
        told = conditions_of(config, info) if told is None else told
        kind = ARCHITECTURES[config.network.architecture]
        network = kind(info.channels, outputs, len(info.spatial), config.network, told)
    return _arranged(accelerate_cpu(network), config, info)


def check_size(config: TrainConfig, info: DataInfo) -> None:
    """Refuse what no machine holds before anything is allocated: settings may come from a stranger's file.

    The number of weights is estimated by the residual blocks' convolutions, the first and last one, and the embedding
    of time, of s sinusoids:

        sum over levels and the stem of (2 blocks + 1) 2 k w^2,   2 k base channels patch^dims,   20 s^2,   k = 3^dims

    Raises:
        UndiffuseError: a shape, a seed or a network that cannot be.
    """
    network, shape = config.network, info.shape
    if not 2 <= len(shape) <= 4 or min(shape) < 1 or max(shape) > SIDE or math.prod(shape) > VALUES:
        raise UndiffuseError(
            f"The shape of a sample is channels and 1 to 3 sides, from 1 to {SIDE:,} each; it is {_short(shape)}"
        )
    if len(network.multipliers) > LEVELS:
        raise UndiffuseError(f"`multipliers` has {len(network.multipliers)} levels, and {LEVELS} are the most")
    if config.loop.seed < 0:
        raise UndiffuseError(f"`seed` must be a whole number from 0 on, not {_short(config.loop.seed)}")
    dims = len(shape) - 1
    kernel = 3**dims
    widths = [network.base * multiplier for multiplier in network.multipliers]
    inside = sum((2 * max(network.blocks, 0) + 1) * 2 * kernel * width**2 for width in [network.base, *widths])
    waves = 20 * (network.time_width or network.base) ** 2
    if max(inside, waves) > WEIGHTS or 2 * kernel * network.base * info.channels * network.patch**dims > WEIGHTS:
        raise UndiffuseError(
            f"The network is too large, over {WEIGHTS:,} weights: lower `base`, `multipliers`, `blocks`, `patch` or "
            "`time_width`"
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def outline(config: TrainConfig, info: DataInfo) -> dict[str, Tensor]:
    """The names, shapes and types of that network's tensors, without their values and without their memory.

    What is read from a file is compared with it before anything of the file's making is allocated.
    """
    with outlined():
        return build_network(config, info).state_dict()


def _arranged(network: nn.Module, config: TrainConfig, info: DataInfo) -> nn.Module:
    dims = len(info.spatial) + 2
    if config.loop.channels_last and dims in LAYOUTS:
        network = network.to(memory_format=LAYOUTS[dims])  # type: ignore[call-overload]
    return network
