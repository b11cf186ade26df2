"""The pieces that undiffuse imports by the entry point in pyproject.toml; from then on its commands know them:

pip install examples/dots_package
undiffuse train circles.dots --architecture dots --loss "charbonnier(c=0.1)" --optimizer "nesterov(momentum=0.8)"
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse import register
from undiffuse.config.network import NetworkConfig
from undiffuse.diffusion import DDIM, Schedule, cosine, q_sample


@register.data_format("dots", suffixes=(".dots",))
def read_dots(path: Path) -> tuple[Any, Any]:
    """Lines of a class and 64 numbers from 0 to 255: 8 x 8 pictures."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return np.array([row[1:] for row in rows], np.uint8).reshape(-1, 1, 8, 8), [row[0] for row in rows]


@dataclass(frozen=True)
class DotsConfig(NetworkConfig):
    """Options of the network: `undiffuse train --help` shows them with these texts."""

    SIZES: ClassVar = ("dot_width",)
    draws_in_training: ClassVar = False
    architecture: Literal["dots"] = "dots"
    dot_width: int = 16
    """Channels of the dots' network."""

    @property
    def width(self) -> int:
        return self.dot_width

    def activations(self, spatial: Any) -> float:
        return float(self.dot_width * np.prod(spatial))

    def count_weights(self, channels: int, dims: int) -> int:
        return 9 * 2 * channels * self.dot_width


@register.network(DotsConfig)
class DotsNetwork(nn.Module):
    def __init__(self, channels: int, outputs: int, dims: int, options: DotsConfig, conditions: Any) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels + 1, options.dot_width, 3, padding=1)
        self.last = nn.Conv2d(options.dot_width, outputs, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        level = (time / 1000)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        result: Tensor = self.last(self.first(torch.cat([x, level], 1)).relu())
        return result


@register.loss("charbonnier", note="between l1 and l2")
@dataclass(frozen=True)
class Charbonnier:
    """The mean of sqrt(e^2 + c^2) - c over the errors e of epsilon."""

    c: float = 1.0

    def __call__(self, denoiser: Any, x0: Tensor, t: Tensor, eps: Tensor, told: Any = None, mask: Any = None) -> Tensor:
        seen = denoiser(q_sample(x0, eps, denoiser.schedule(t)), t, **(told or {}))
        return ((seen.eps - eps).square() + self.c**2).sqrt().flatten(1).mean(1) - self.c


@register.optimizer("nesterov")
def nesterov(parameters: Any, lr: float = 1e-2, momentum: float = 0.9) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, nesterov=True)


@register.schedule("slow-cosine")
def slow_cosine(timesteps: int = 1000, s: float = 0.05) -> Schedule:
    return cosine(timesteps, s=s)


@register.sampler("twice", evaluations_per_step=2)
@dataclass(frozen=True)
class Twice:
    """Two of DDIM's steps for one, ``part`` of the way and the rest."""

    part: float = 0.5
    order: ClassVar = 1

    def init(self) -> None:
        return None

    def step(self, denoiser: Any, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Any) -> tuple[Tensor, None]:
        middle = t + self.part * (s - t)
        for a, b in ((t, middle), (middle, s)):
            x, _ = DDIM().step(denoiser, x, a, b, None, noise)
        return x, None


@register.metric("mean distance")
def mean_distance(samples: Tensor, real: Tensor) -> float:
    """How far apart the means of the features are."""
    return (samples.mean(0) - real.mean(0)).norm().item()
