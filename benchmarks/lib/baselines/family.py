"""What the baselines share: seeded weights and batches, an average of the weights, a rate that falls to 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from undiffuse.config.training import EMAConfig, OptimizerConfig
from undiffuse.data.order import batch_indices
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.training.optim.ema import ema_averages
from undiffuse.training.optim.optimizer import learning_rate, set_learning_rate

N = TypeVar("N", bound=nn.Module)

PIXELS = 28 * 28
UNKNOWN = 100_000
"""Steps in all, before the first slice tells what one costs."""
LATENT = 16
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
        nn.Linear(LATENT, 108 * 49),
        nn.Unflatten(1, (108, 7, 7)),
        nn.SiLU(),
        nn.Conv2d(108, 108, 3, padding=1),
        nn.SiLU(),
        nn.ConvTranspose2d(108, 64, 4, stride=2, padding=1),
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
        self.ema = ema_averages(network, EMAConfig(ema=(rate,)))

    def copy_into(self, other: N) -> N:
        """``other``, of the same shape, with the averaged weights, to draw from."""
        other.load_state_dict(self.ema.state_dict(self.rate))
        return other.eval()


class FallingRate:
    """A learning rate that rises over 100 steps and falls linearly to 0 at the end of a budget of time, as in `ours`.

    The number of steps is fitted at the start of each slice to the time that is left and the time that a step took.
    """

    def __init__(self, rate: float) -> None:
        self.config = OptimizerConfig(lr=rate, warmup=100, decay="linear")
        self.total = UNKNOWN

    def plan(self, steps: int, spent: float, left: float) -> None:
        if steps:
            self.total = steps + max(1, round(left * steps / spent))

    def set(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the rate of step number ``step``, from 0."""
        set_learning_rate(optimizer, learning_rate(self.config, step, max(self.total, step + 1)))
