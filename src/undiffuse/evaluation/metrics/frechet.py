"""The Frechet distance between two Gaussians, safe at any rank, and its limit for infinitely many samples.

    d^2 = |m_a - m_b|^2 + tr C_a + tr C_b - 2 tr (C_a C_b)^{1/2}

(Dowson & Landau 1982, https://doi.org/10.1016/0047-259X(82)90077-X; on Inception features it is FID, Heusel et al.
2017, eq. 6, https://arxiv.org/abs/1706.08500). The usual code takes a general matrix square root of the product
C_a C_b, which is not symmetric and, with fewer images than dimensions, singular: it may come out complex or NaN, or be
rescued by an offset on the diagonal that changes the result. No square root of a product is needed. With any factors
C_a = A^T A and C_b = B^T B, the products C_a C_b and (A B^T)(A B^T)^T share their non-zero eigenvalues, so that

    tr (C_a C_b)^{1/2} = |A B^T|_*,   the sum of singular values,

which has no square root of a small, rounded number in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.estimate import Estimate
from undiffuse.evaluation.metrics.moments import Moments
from undiffuse.evaluation.metrics.validation import check, same_space
from undiffuse.runtime.random_streams import generator


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A Gaussian with its covariance in factors, C = root^T root: what costs most, kept where it meets many others."""

    mean: Float[Tensor, "dimensions"]
    root: Float[Tensor, "rank dimensions"]

    @classmethod
    def of(cls, moments: Moments) -> Gaussian:
        """With the moments' mean and covariance C = V diag(w) V^T, root = diag(sqrt w) V^T.

        Eigenvalues that rounding can make of zero, those below D epsilon of the largest, are left out: their square
        roots would not be small.
        """
        w, V = torch.linalg.eigh(moments.covariance)  # ascending
        kept = w > len(w) * torch.finfo(w.dtype).eps * w[-1]
        return cls(moments.mean, w[kept].sqrt()[:, None] * V.T[kept])

    @classmethod
    def fit(cls, features: Float[Tensor, "images dimensions"]) -> Gaussian:
        """With the mean and covariance of rows.

        Where there are no more rows than dimensions, they are a factor themselves: root = (x - mean) / sqrt(n - 1).
        """
        check(features, least=2)
        n, dimensions = features.shape
        if n > dimensions:
            return cls.of(Moments.of(features))
        x = features.detach().to(torch.float64)
        mean = x.mean(dim=0)
        return cls(mean, (x - mean) / math.sqrt(n - 1))

    def distance(self, other: Gaussian) -> float:
        """d^2 = |m_a - m_b|^2 + |A|_F^2 + |B|_F^2 - 2 |A B^T|_*, the square, as everybody reports it; at least 0."""
        same_space(self.mean, other.mean)
        means = (self.mean - other.mean).square().sum()
        traces = self.root.square().sum() + other.root.square().sum()
        overlap = torch.linalg.svdvals(self.root @ other.root.T).sum()
        # Of equal sets, rounding leaves about 1e-15 of the traces, of either sign.
        return max(0.0, float(means + traces - 2 * overlap))


def frechet_distance(a: Moments, b: Moments) -> float:
    """The square of the Frechet distance between the Gaussians that have these moments: FID on Inception features.

    It is 0 for equal moments and has no upper bound; its unit is the features' squared. Estimated from samples it is
    biased upwards, by about a constant over their number: compare only what was computed from equally many, or use
    `frechet_infinity`. Accurate to about 1e-14 of the traces where every eigenvalue of the covariances is 0 or above
    1e-4 of its largest. Smaller ones are known to one rounding of the largest only, and their square roots the worse
    the smaller they are: to about 1e-16 / sqrt(share), at worst, near D epsilon, below which they count as 0, 1e-7 of
    the traces. For one Gaussian against many, keep ``Gaussian.of(b)`` and use its `distance`.

    Args:
        a, b: of two sets of features, each of two vectors or more; ranks may be any.

    Raises:
        UndiffuseError: fewer than two vectors, or the numbers of dimensions differ.
    """
    same_space(a.mean, b.mean)
    return Gaussian.of(a).distance(Gaussian.of(b))


def frechet_infinity(
    features: Float[Tensor, "images dimensions"], reference: Moments, seed: int = 0, points: int = 15
) -> Estimate:
    """The Frechet distance that infinitely many samples would have (Chong & Forsyth 2020, section 3, FID-infinity).

    E[fd(n)] = fd(infinity) + slope / n + O(1 / n^2)

    A line is fitted to the distances of random subsets, from a tenth of the samples to all of them in even steps
    (5,000 to 50,000 in the paper, https://arxiv.org/abs/1911.07023), against 1/n. The bias of the reference, which is
    finite too, stays. Where a tenth of the samples are fewer than dimensions, the terms beyond 1/n count, and the value
    comes out too low. The error is the intercept's standard error by ordinary least squares: the subsets share samples,
    so it says how well the points lie on a line. With other samples the value, which noise may carry below 0, differs
    by about 2.5 times as much, on Gaussians.

    Args:
        features: of samples, one row each, at least ``2 * points``.
        points: number of subsets, 3 or more.

    Raises:
        UndiffuseError: too few samples or points, NaN or infinite values, or the numbers of dimensions differ.
    """
    if points < 3:
        raise UndiffuseError(f"A line with an error bar needs at least 3 points, and {points} were asked for")
    check(features, least=2 * points)
    same_space(features, reference.mean)
    real = Gaussian.of(reference)
    total = len(features)
    sizes = torch.linspace(max(2, total // 10), total, points, dtype=torch.float64).round().long().tolist()
    distances = []
    for n in sizes:
        rows = torch.randperm(total, generator=generator(seed, "frechet-infinity", n))[:n]
        distances.append(Gaussian.fit(features[rows.to(features.device)]).distance(real))
    return _line(sizes, distances)


def _line(sizes: list[int], distances: list[float]) -> Estimate:
    """Ordinary least squares of fd = a + b u on u = 1/n:

    b = S_uy / S_uu,   a = mean y - b mean u,   error(a)^2 = s^2 (1/p + (mean u)^2 / S_uu),   s^2 = RSS / (p - 2)
    """
    u = 1.0 / torch.tensor(sizes, dtype=torch.float64)
    y = torch.tensor(distances, dtype=torch.float64)
    S_uu = (u - u.mean()).square().sum()
    slope = ((u - u.mean()) * (y - y.mean())).sum() / S_uu
    value = y.mean() - slope * u.mean()
    noise = (y - value - slope * u).square().sum() / (len(u) - 2)
    error = (noise * (1 / len(u) + u.mean().square() / S_uu)).sqrt()
    return Estimate(float(value), float(error), tuple(zip(sizes, distances, strict=True)))
