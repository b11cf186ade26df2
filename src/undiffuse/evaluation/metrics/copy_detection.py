"""Comparisons of samples' distances to the training set with those of new images of the same kind.

A distance to the nearest training image means nothing alone: in simple data everything is near to something. So the
samples' distances are held against those of *honest* images, which nobody can have copied: held-out ones, or training
images with themselves left out. Both lists come from one training set and one space. If the samples are as good as new,
the two are draws from one distribution, whatever it is, and every number below has a known law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.estimate import Interval
from undiffuse.runtime.random_streams import generator

LEAST = 8
"""Distances below which nothing is compared."""
FAR_Z = 3.0
"""Beyond this many standard deviations, samples are nearer or further than chance explains (Meehan et al. 2020)."""
NEAR = 0.01
"""Share of the honest images that are *near*."""
HALF = 0.5
"""A copy is nearer than this part of the mean distance to its nearest training images (Carlini et al. 2023)."""
TAIL = 0.1
"""Share of the honest images from which the law of the closest ones is continued."""
CHANCE = 0.05
"""Probability that new images as many as the samples hold one that is taken for a copy."""
REPEATS = 1000


def median_ratio(samples: Float[Tensor, "n"], honest: Float[Tensor, "m"], seed: int = 0) -> Interval:
    """median(samples) / median(honest), with the percentile interval of 1,000 bootstrap draws of both.

    Well below 1: the samples hug the training images. Above 1: they lie off the data.

    Args:
        samples, honest: distances to the nearest training image, at least `LEAST` of each.
        seed: of the bootstrap (Efron & Tibshirani 1993, chapter 13).
    """
    samples, honest = _checked(samples, honest)
    if not float(honest.median()):
        raise UndiffuseError(
            "Half of the honest images coincide with a training image in this space, so that it tells no copy; "
            "take another `extractor`"
        )
    dice = generator(seed, "copying", "bootstrap")
    drawn = _medians(samples, dice) / _medians(honest, dice)
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(samples.quantile(0.5) / honest.quantile(0.5)), low, high)


def _medians(values: Tensor, dice: torch.Generator) -> Tensor:
    """Medians of bootstrap draws, some at a time: a draw is as long as the values."""
    some = max(1, min(REPEATS, 2**22 // len(values)))
    rounds = [min(some, REPEATS - start) for start in range(0, REPEATS, some)]
    draws = (values[torch.randint(len(values), (count, len(values)), generator=dice)] for count in rounds)
    return torch.cat([draw.quantile(0.5, dim=1) for draw in draws])


def rank_z(samples: Float[Tensor, "n"], honest: Float[Tensor, "m"]) -> float:
    """The Mann-Whitney statistic of the two lists of distances, standardised.

        U = sum_ij [samples_i > honest_j] + [samples_i = honest_j] / 2
        z = (U - nm / 2) / sqrt(nm / 12 (N + 1 - sum_ties (t^3 - t) / (N (N - 1)))),    N = n + m

    z is about standard normal where the samples are like new images. Far below 0: nearer to the training images than
    those, which is copying. Far above: further, which is underfitting. This is C_T of Meehan, Chaudhuri & Dasgupta
    2020, "A Non-Parametric Test to Detect Data-Copying in Generative Models" (https://arxiv.org/abs/2004.05675), with
    one cell. A few copies among many samples move it little; `nearness` and `copy_threshold` are for those.

    Args:
        samples, honest: distances to the nearest training image, at least `LEAST` of each.

    Returns:
        z; 0 where all distances are equal.
    """
    samples, honest = _checked(samples, honest)
    n, m = len(samples), len(honest)
    _, inverse, counts = torch.cat([samples, honest]).unique(return_inverse=True, return_counts=True)
    counts = counts.double()
    rank = (counts.cumsum(0) - (counts - 1) / 2)[inverse]  # equal values share the mean of their ranks
    u = rank[:n].sum() - n * (n + 1) / 2
    ties = (counts**3 - counts).sum() / ((n + m) * (n + m - 1))
    variance = n * m / 12 * (n + m + 1 - ties)
    return float((u - n * m / 2) / variance.sqrt()) if float(variance) > 0 else 0.0


@dataclass(frozen=True)
class Nearness:
    """The number of samples that are nearer to a training image than nearly all honest images are.

    Args:
        threshold: the distance below which only `NEAR` of the honest images lie.
        count: number of samples strictly below it.
        expected: number of those by chance.
        p: probability of so many or more by chance.
    """

    threshold: float
    count: int
    expected: float
    p: float


def nearness(samples: Float[Tensor, "n"], honest: Float[Tensor, "m"], share: float = NEAR) -> Nearness:
    """Count the samples below the j-th smallest honest distance, j = ceil(share m), and say what chance gives.

        E = n j / (m + 1)
        p = P(H >= count),  H hypergeometric: samples among the first count + j - 1 of all n + m in order of distance

    Both are exact for any continuous distribution, since all orders of the n + m distances are equally likely then.
    Unlike a rank test over all samples this sees a handful of copies among thousands.

    Args:
        samples, honest: distances to the nearest training image, at least `LEAST` of each.
        share: of the honest images, in (0, 1).
    """
    samples, honest = _checked(samples, honest)
    n, m = len(samples), len(honest)
    j = math.ceil(share * m)
    threshold = float(honest.sort().values[j - 1])
    count = int((samples < threshold).sum())
    return Nearness(threshold, count, n * j / (m + 1), hypergeometric_tail(count, n, m, count + j - 1))


def hypergeometric_tail(least: int, n: int, m: int, drawn: int) -> float:
    """P(at least ``least`` of ``drawn`` things, taken from n of one kind and m of another, are of the first kind)."""
    x = torch.arange(max(least, drawn - m), min(drawn, n) + 1, dtype=torch.float64)
    logs = _log_choose(n, x) + _log_choose(m, drawn - x) - _log_choose(n + m, torch.tensor(float(drawn)).double())
    return min(1.0, float(logs.exp().sum()))


def _log_choose(n: int, k: Tensor) -> Tensor:
    return math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


def closeness(distances: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
    """d_1 / mean(d_1 .. d_k): how much nearer the nearest training image is than the k nearest are on average.

    1 where all are equally far, about 0.8 for a new digit among digits, near 0 for a copy: a sample of simple shape is
    near to everything, a copy is near to one image alone. Carlini et al. 2023, "Extracting Training Data from Diffusion
    Models" (k = 50, https://arxiv.org/abs/2301.13188). Near-duplicates among the training images hide a
    copy from it, since then the others are near, too; exact ones must be left out before.

    Args:
        distances: to the k nearest training images, rising, k at least 2.
    """
    return distances[:, 0] / distances.mean(1).clamp(min=torch.finfo(torch.float64).tiny)


def copy_threshold(honest: Float[Tensor, "m"], n: int, chance: float = CHANCE) -> float:
    """The closeness below which none of n new images would lie, but with a probability of about ``chance``.

        P(closeness < r) = j / m (r / r_j)^D   for r below r_j, the j-th smallest honest closeness, j = m / 10
        1 / D = sum_{i < j} log(r_j / r_i) / (j - 1)

    In data of intrinsic dimension D the chance of a neighbour within r falls as r^D, so one rule for all data, such as
    Carlini et al.'s 1/2, accuses new images of few degrees of freedom, whose neighbours are at all distances. So the
    honest images' own lower tail is continued by its exponent, estimated as Hill 1975 does and lowered by 1.64 of its
    standard errors, D / sqrt(j). It is solved for n P = ``chance``, and 1/2 remains the most that is called a copy.
    Data that repeat themselves, such as frames of a film, have honest closenesses near 0, and no copy can be told.

    Args:
        honest: `closeness` of honest images, at least `LEAST`.
        n: number of samples that will be judged.
        chance: that one or more of n new images are taken for copies.
    """
    m = len(honest)
    j = max(LEAST // 2, math.ceil(TAIL * m))
    tail = honest.double().sort().values[:j]
    if not float(tail[0]):
        return 0.0
    inverse = float(torch.log(tail[-1] / tail).sum()) / (j - 1) * (1 + 1.64 / math.sqrt(j))
    return min(HALF, float(tail[-1]) * math.pow(min(1.0, chance * m / (n * j)), inverse))


def _checked(samples: Tensor, honest: Tensor) -> tuple[Tensor, Tensor]:
    if min(len(samples), len(honest)) < LEAST:
        raise UndiffuseError(
            f"Distances are compared between at least {LEAST} samples and {LEAST} honest images, and there are "
            f"{len(samples)} and {len(honest)}"
        )
    if not bool(torch.isfinite(samples).all() and torch.isfinite(honest).all()):
        raise UndiffuseError("Distances must be finite, and some are not: the images or their features hold NaN")
    return samples.double(), honest.double()
