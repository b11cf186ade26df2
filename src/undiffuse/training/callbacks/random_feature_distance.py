"""A number for each grid of samples: how far it is from the data, as a small random network sees them.

    D = 2 E|f(X) - f(Y)| - E|f(X) - f(X')| - E|f(Y) - f(Y')|

is the energy distance (Szekely & Rizzo 2013, https://doi.org/10.1016/j.jspi.2013.03.018) between the samples' features
and the data's. f is three convolutions with fixed random weights, each followed by ReLU, averaged over all positions
and standardised by the data: statistics of texture and stroke, for any shape of data, with nothing to download.

It is a *proxy*: it follows a training, and says when samples stop getting better. It compares no two data sets, and a
network that has learned something judges better: that is what ``undiffuse evaluate`` is for. The estimate is unbiased,
as the mean over pairs of different images, since a Frechet distance of the few dozen samples of a grid would be mostly
bias. docs/develop/lab-notes.md has what was tried, and how well each followed a classifier's Frechet distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from undiffuse.evaluation.features.pixels import LIMITS, area_average
from undiffuse.runtime.random_streams import generator

WIDTHS = (8, 16, 32)
"""Channels of the convolutions; each works at half the resolution of the one before."""
REFERENCE = 1024
"""Data that samples are compared with, at most; as many others give the floor."""
DRAWS = 20
"""Sets of the size of a grid that the floor is averaged over."""
TINY = 1e-3
"""Of the mean deviation: the least that a feature is divided by, so that a constant one is no amplifier."""

Images = Callable[[int], Float[Tensor, "batch channels *spatial"]]
"""Batch number k of a training, in model space."""


@dataclass(frozen=True)
class Proxy:
    """The data's features, and what they are compared by; make it with `Proxy.of`."""

    kernels: tuple[Tensor, ...]
    center: Float[Tensor, "features"]
    scale: Float[Tensor, "features"]
    reference: Float[Tensor, "images features"]
    within: float
    """Mean distance between two images of the reference."""
    floor: float | None
    """Root mean square of the distance of data, as many as a grid has samples, from the reference: what cannot be told
    from 0. None where there are too few data to measure it."""

    @classmethod
    def of(cls, images: Images, count: int, size: int, grid: int) -> Proxy | None:
        """A proxy for the data that a training sees.

        Args:
            images: the training's batches, flips and all; a function of the number alone, so nothing is used up.
            size: of the batches: images a step takes; of several processes each has a part of them.

        Returns:
            None where a distance means nothing: for a grid of one, or fewer than four images.
        """
        if grid < 2 or count < 4:
            return None
        first = images(0)
        dimensions = first.ndim - 2
        kernels = random_kernels(first.shape[1], dimensions)
        wanted = min(count, 2 * REFERENCE)
        steps = min(max(1, count // size), math.ceil(wanted / len(first)))  # of the first epoch: all are different
        batches = chain([first], (images(step) for step in range(1, steps)))
        seen = torch.cat([features(batch, kernels) for batch in batches])[:wanted]
        own, others = seen[: len(seen) // 2], seen[len(seen) // 2 :]
        center, deviation = own.mean(0), own.std(0, correction=0)
        scale = deviation.clamp(min=max(TINY * float(deviation.mean()), torch.finfo(torch.float64).tiny))
        reference = (own - center) / scale
        proxy = cls(kernels, center, scale, reference, mean_within(reference), None)
        return replace(proxy, floor=proxy._floor((others - center) / scale, grid))

    def __call__(self, x: Float[Tensor, "samples channels *spatial"]) -> float:
        """The distance of samples, at least two, in model space and on any device."""
        return self._distance((features(x, self.kernels) - self.center) / self.scale)

    def _distance(self, seen: Tensor) -> float:
        across = float(torch.cdist(seen, self.reference).mean())
        return (2 * across - mean_within(seen) - self.within) / math.sqrt(seen.shape[1])

    def _floor(self, others: Tensor, grid: int) -> float | None:
        if len(others) < grid:
            return None
        dice = generator(0, "proxy", "floor")
        drawn = [self._distance(others[torch.randperm(len(others), generator=dice)[:grid]]) for _ in range(DRAWS)]
        return math.sqrt(sum(distance**2 for distance in drawn) / DRAWS)


def random_kernels(channels: int, dimensions: int) -> tuple[Tensor, ...]:
    """Kernels of side 3 whose outputs have the variance of their inputs (He et al. 2015), the same in every run."""
    dice, kernels = generator(0, "proxy", "kernels"), []
    for width in WIDTHS:
        shape = (width, channels, *[3] * dimensions)
        kernels.append(torch.randn(shape, generator=dice) * math.sqrt(2 / math.prod(shape[1:])))
        channels = width
    return tuple(kernels)


@torch.no_grad()
def features(
    x: Float[Tensor, "batch channels *spatial"], kernels: tuple[Tensor, ...]
) -> Float[Tensor, "batch features"]:
    """Mean over all positions of every channel after every convolution, float64 on the CPU.

    Large images are averaged down first, so that a look at 256 x 256 pixels costs what one at 32 x 32 does.
    """
    x = area_average(x.to("cpu", torch.float32), LIMITS)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
    means = []
    for kernel in kernels:
        x = F.relu(convolve(x, kernel, padding=1))
        means.append(x.flatten(2).double().mean(2))
        x = F.interpolate(x, size=[math.ceil(side / 2) for side in x.shape[2:]], mode="area")
    return torch.cat(means, 1)


def mean_within(rows: Float[Tensor, "n features"]) -> float:
    """Mean distance between two different rows."""
    return float(torch.cdist(rows, rows).sum()) / (len(rows) * (len(rows) - 1))
