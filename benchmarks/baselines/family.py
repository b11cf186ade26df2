"""What the baselines share: seeded weights and batches, an average of the weights, a rate that falls to 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from undiffuse.config import EMAConfig
from undiffuse.data.order import batch_indices
from undiffuse.seeds import stream_seed
from undiffuse.training.ema import EMA

N = TypeVar("N", bound=nn.Module)

PIXELS = 28 * 28
LATENT = 32
"""Dimensions of the latent variable z of the VAE and of the GAN."""


def seeded(make: Callable[[], N], seed: int) -> N:
    """A network whose weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "weights"))
        network: N = make().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def batch_of(images: NDArray[np.uint8], size: int, step: int, seed: int) -> Tensor:
    """Batch number ``step`` in [-1, 1], in the order of all trainings of this seed."""
    chosen = images[batch_indices(len(images), size, step, seed)]
    return torch.from_numpy(chosen.astype(np.float32) / 127.5 - 1).to(memory_format=torch.channels_last)


def generator_trunk(outputs: int) -> nn.Sequential:
    """z (B, LATENT) -> (B, outputs, 28, 28), as in DCGAN: a linear layer to 7 x 7, then transposed convolutions.

    (Radford et al. 2016, https://arxiv.org/abs/1511.06434; without its batch normalisation.)
    """
    return nn.Sequential(
        nn.Linear(LATENT, 96 * 49),
        nn.Unflatten(1, (96, 7, 7)),
        nn.SiLU(),
        nn.Conv2d(96, 96, 3, padding=1),
        nn.SiLU(),
        nn.ConvTranspose2d(96, 64, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.ConvTranspose2d(64, outputs, 4, stride=2, padding=1),
    )


def image_trunk(outputs: int) -> nn.Sequential:
    """x (B, 1, 28, 28) -> (B, outputs): its mirror image, with strided convolutions and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(64 * 49, 96),
        nn.LeakyReLU(0.2),
        nn.Linear(96, outputs),
    )


class Averaged:
    """A network with an exponential moving average of its weights, warmed up as in our trainings."""

    def __init__(self, network: nn.Module, rate: float) -> None:
        self.network, self.rate = network, rate
        self.ema = EMA(network, EMAConfig(ema=(rate,)))

    def copy_into(self, other: N) -> N:
        """``other``, of the same shape, with the averaged weights, to draw from."""
        other.load_state_dict(self.ema.state_dict(self.rate))
        return other.eval()


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def falling(rate: float, step: int, spent: float, left: float, warmup: int = 100) -> float:
    """A rate that rises over ``warmup`` steps and falls linearly to 0 at the end of the budget."""
    return rate * min(1.0, (step + 1) / warmup) * max(0.0, left / (spent + left))
