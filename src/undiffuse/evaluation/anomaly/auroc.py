"""AUROC: the probability that an anomaly scores higher than a normal image, with its 95 % confidence interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.estimate import Interval

Z = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""


def auroc(normal: NDArray[np.float64], anomalous: NDArray[np.float64]) -> Interval:
    """P(anomalous > normal) + P(tie) / 2, with DeLong's interval.

    Elizabeth DeLong et al. 1988, "Comparing the areas under two or more correlated ROC curves"; by ranks as in Sun & Xu
    2014, so that n scores cost n log n. With the placements A_i = P(anomaly i beats a normal image) and
    B_j = P(an anomaly beats normal image j),

        variance = var(A) / anomalies + var(B) / normals.

    Where every pair is ordered alike this is 0, which says nothing of the images that were not seen. Then the interval
    reaches to p with p^k = 0.025, k the smaller of the two counts: what k successes in k trials leave possible.

    Args:
        normal, anomalous: scores, at least two of each; higher means more anomalous.

    Raises:
        UndiffuseError: fewer scores, or one that is NaN.
    """
    m, n = len(anomalous), len(normal)
    if min(m, n) < 2 or np.isnan(normal).any() or np.isnan(anomalous).any():
        raise UndiffuseError(
            f"AUROC needs at least two scores of each kind, none of them NaN; it got {m} anomalous and {n} normal"
        )
    ranks = midranks(np.concatenate([anomalous, normal]))
    beats = (ranks[:m] - midranks(anomalous)) / n
    beaten = 1 - (ranks[m:] - midranks(normal)) / m
    value = float(beats.mean())
    spread = Z * float(np.sqrt(beats.var(ddof=1) / m + beaten.var(ddof=1) / n))
    possible = 0.025 ** (1 / min(m, n))
    low = possible if value == 1 else max(0.0, value - spread)
    high = 1 - possible if value == 0 else min(1.0, value + spread)
    return Interval(value, low, high)


def midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for the smallest; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return ranks
