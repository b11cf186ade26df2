"""Mean and covariance of a stream: what a Frechet distance needs of a set of features.

Stored is not a sum of squares, whose difference from the squared mean loses every digit of a narrow cloud far from the
origin, but the scatter about the mean. Two parts of a stream merge exactly (Chan, Golub & LeVeque 1979, "Updating
Formulae and a Pairwise Algorithm for Computing Sample Variances", http://i.stanford.edu/TR/CS-TR-79-773.html):
whatever the batches, their order or the process that saw them, the result is the same to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.validation import check, same_space

BLOCK = 4096
"""Rows that are promoted to float64 at a time."""
MOST_DIMENSIONS = 16_384
"""A scatter of so many takes 2 GiB, and a distance an hour."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Count n, mean 1/n sum x and scatter sum (x - mean)(x - mean)^T of a set of vectors, in float64."""

    count: int
    mean: Float[Tensor, "dimensions"]
    scatter: Float[Tensor, "dimensions dimensions"]

    @classmethod
    def empty(cls, dimensions: int) -> Moments:
        """The moments of no vectors at all: ``Moments.empty(D) + a`` is a."""
        if dimensions > MOST_DIMENSIONS:
            raise UndiffuseError(
                f"A covariance is kept for at most {MOST_DIMENSIONS:,} dimensions, and these features have "
                f"{dimensions:,}; choose an extractor with fewer, or smaller images"
            )
        mean = torch.zeros(dimensions, dtype=torch.float64)
        return cls(0, mean, torch.zeros(dimensions, dimensions, dtype=torch.float64))

    @classmethod
    def of(cls, features: Float[Tensor, "images dimensions"]) -> Moments:
        """The moments of a matrix's rows, any float dtype, with the squares of a few thousand at a time in memory.

        Raises:
            UndiffuseError: no rows, NaN or infinite values, more dimensions than a covariance can have.
        """
        return cls.empty(features.shape[-1]).updated(features)

    def updated(self, features: Float[Tensor, "images dimensions"]) -> Moments:
        check(features)
        moments = self
        for block in features.split(BLOCK):
            x = block.detach().to(torch.float64)
            mean = x.mean(dim=0)
            centered = x - mean
            moments = moments + Moments(len(x), mean, centered.T @ centered)
        return moments

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets together (Chan et al. 1979, in D dimensions), for n = n_a + n_b:

        mean    = n_a/n mean_a + n_b/n mean_b
        scatter = scatter_a + scatter_b + (n_a n_b / n) delta delta^T,   delta = mean_b - mean_a
        """
        same_space(self.mean, other.mean)
        count = self.count + other.count
        if not count:
            return self
        share, other_share = self.count / count, other.count / count
        home = other.mean.device
        delta = other.mean - self.mean.to(home)
        return Moments(
            count,
            share * self.mean.to(home) + other_share * other.mean,
            self.scatter.to(home) + other.scatter + (share * other.count) * torch.outer(delta, delta),
        )

    @property
    def covariance(self) -> Float[Tensor, "dimensions dimensions"]:
        """scatter / (n - 1), the unbiased estimate, which FID is defined with."""
        if self.count < 2:
            raise UndiffuseError(f"A covariance needs at least 2 images, and there are {self.count}; give more")
        return self.scatter / (self.count - 1)
