"""What people use today, as settings of our loop.

**diffusers**: examples/unconditional_image_generation/train_unconditional.py with its defaults and ``--use_ema``
(https://github.com/huggingface/diffusers): UNet2DModel of widths 128 128 256 256 512 512 with attention at the fifth,
113.7 M parameters, taken from the installed package; linear chain of 1000 steps, eps, mean squared error; AdamW at
1e-4 with betas 0.95, 0.999 and weight decay 1e-6, gradient clipped to 1, 500 steps of warm-up and a cosine to 0; batch
16; an average of at most 0.9999 with its power-law warm-up (inv_gamma 1, power 3/4). Samples by DDPM in 1000 steps.

**lucidrains**: the README of denoising-diffusion-pytorch (https://github.com/lucidrains/denoising-diffusion-pytorch)
and the defaults of its version 2.3.4 where the README is silent: dim 64, multipliers 1 2 4 8; v on the sigmoid schedule
of Jabri et al., weight SNR / (SNR + 1) on v's error; Adam at 8e-5 with betas 0.9, 0.99, constant, gradient clipped to
1; batch 32 in 2 accumulated parts, which are 64 images a step; ema-pytorch's average: 0.995 every 10 steps, after 100
steps, power 2/3. Samples by DDIM in 250 steps. Its package imports torchvision, so its U-Net is ours: its widths and
its full attention at the lowest resolution, one block a level down and two up (it has two and two), 42.9 M parameters
for its 35.7 M, and none of its linear attention.

``-our-size`` are the same settings around the network of our recipe `small`, patches included.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.lib.contenders.averages import PowerEMA
from benchmarks.lib.contenders.training import Contender
from benchmarks.lib.contenders.twists import TWISTS
from undiffuse.config.files import override
from undiffuse.config.network import UNetConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.schedules import DiscreteSchedule
from undiffuse.recipes import get_recipe
from undiffuse.runtime.random_streams import stream_seed

WIDTHS = (128, 128, 256, 256, 512, 512)
MULTIPLE = 2 ** (len(WIDTHS) - 1)

DIFFUSERS: dict[str, Any] = (
    {"schedule": "linear", "timesteps": 1000, "parameterization": "epsilon"}
    | {"loss": "simple", "weighting": "uniform", "distance": "l2", "time_law": "uniform"}
    | {"optimizer": "adamw", "lr": 1e-4, "beta1": 0.95, "beta2": 0.999, "weight_decay": 1e-6, "clip": 1.0}
    | {"warmup": 500, "decay": "cosine", "batch": 16, "accumulate": 1, "ema": (0.9999,), "dropout": 0.0}
)
LUCIDRAINS: dict[str, Any] = (
    {"timesteps": 1000, "parameterization": "v"}
    # min(SNR, gamma) on x0's error; without a limit that is SNR / (SNR + 1) on v's.
    | {"loss": "simple", "weighting": "min-snr", "gamma": math.inf, "distance": "l2", "time_law": "uniform"}
    | {"optimizer": "adam", "lr": 8e-5, "beta1": 0.9, "beta2": 0.99, "clip": 1.0}
    | {"warmup": 0, "decay": "constant", "batch": 64, "accumulate": 2, "ema": (0.995,), "dropout": 0.0}
)
LUCIDRAINS_NETWORK = UNetConfig(base=64, multipliers=(1, 2, 4, 8), blocks=1, attention_levels=(3,), heads=4)


class Padded(nn.Module):
    """diffusers' U-Net behind our call, on sizes that its six levels do not divide: padded with -1, cropped back."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = -height % MULTIPLE, -width % MULTIPLE
        up, left = rows // 2, columns // 2
        padded = F.pad(x, (left, columns - left, up, rows - up), value=-1.0)
        y: Tensor = self.network(padded, time).sample
        return y[:, :, up : up + height, left : left + width]


def diffusers_network(config: TrainConfig, info: DataInfo) -> nn.Module:
    """The script's UNet2DModel, for as many channels as the data has, in PyTorch's default memory format."""
    from diffusers import UNet2DModel

    down, up = ["DownBlock2D"] * len(WIDTHS), ["UpBlock2D"] * len(WIDTHS)
    down[-2], up[1] = "AttnDownBlock2D", "AttnUpBlock2D"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.loop.seed, "weights"))
        network = UNet2DModel(
            in_channels=info.channels,
            out_channels=info.channels,
            layers_per_block=2,
            block_out_channels=WIDTHS,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
        )
    return Padded(network)


def jabri_sigmoid(T: int = 1000, start: float = -3.0, end: float = 3.0) -> DiscreteSchedule:
    """alpha-bar as a falling sigmoid (Jabri et al. 2022, https://arxiv.org/abs/2212.11972), beta at most 0.999.

    alpha-bar_t = f(t) / f(0),   f(t) = sigmoid(end) - sigmoid(start + (end - start) t / T)
    """
    t = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.tensor(end, dtype=torch.float64).sigmoid() - (start + (end - start) * t).sigmoid()
    return DiscreteSchedule.from_betas((1 - f[1:] / f[:-1]).clamp(max=0.999))


def recipe(name: str, info: DataInfo) -> TrainConfig:
    """One of ours as it stands, but told no classes, as the others are not."""
    return override(get_recipe(name).build(info), condition=())


def _diffusers(info: DataInfo) -> TrainConfig:
    return override(recipe("small", info), **DIFFUSERS)


def _diffusers_script(info: DataInfo) -> TrainConfig:
    return override(_diffusers(info), channels_last=False)


def _lucidrains(info: DataInfo) -> TrainConfig:
    return override(recipe("small", info), **LUCIDRAINS)


def _lucidrains_readme(info: DataInfo) -> TrainConfig:
    return replace(_lucidrains(info), network=LUCIDRAINS_NETWORK)


_DDPM = SampleConfig.of(sampler="ddpm", steps=1000, variance="small")
_DDIM = SampleConfig.of(sampler="ddim", steps=250, spacing="linspace")
_POWER = partial(PowerEMA, power=3 / 4)
_EVERY_TEN = partial(PowerEMA, power=2 / 3, every=10, after=100)

ALL = (
    Contender("small", partial(recipe, "small"), ours=True),
    Contender("digits", partial(recipe, "digits"), ours=True),
    Contender("diffusers-our-size", _diffusers, _DDPM, average=_POWER),
    Contender("diffusers", _diffusers_script, _DDPM, average=_POWER, network=diffusers_network),
    Contender("lucidrains-our-size", _lucidrains, _DDIM, jabri_sigmoid, _EVERY_TEN),
    Contender("lucidrains", _lucidrains_readme, _DDIM, jabri_sigmoid, _EVERY_TEN),
    *TWISTS,
)
CONTENDERS = {contender.name: contender for contender in ALL}
