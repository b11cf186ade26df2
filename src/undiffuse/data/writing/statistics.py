"""Range, mean and standard deviation of an array too large for memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 22
"""Values in memory at a time; 32 MiB in float64."""


@dataclass(frozen=True)
class Statistics:
    """Per-channel moments and the range over all channels, in the data's own units."""

    low: float
    high: float
    mean: NDArray[np.float64]
    std: NDArray[np.float64]


def chunks(images: NDArray[Any], values: int = CHUNK) -> Iterator[NDArray[Any]]:
    """Runs of consecutive samples with about ``values`` values each."""
    rows = max(1, values // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), rows):
        yield images[start : start + rows]


def measure(images: NDArray[Any]) -> Statistics:
    """One pass in float64. Chunks are merged by the update of Chan, Golub & LeVeque 1979:

        delta = mean_b - mean_a,   mean = mean_a + delta n_b / n,   M2 = M2_a + M2_b + delta^2 n_a n_b / n

    which, unlike E[v^2] - E[v]^2, does not cancel when the mean is large beside the spread.

    Args:
        images: (N, C, *spatial), N >= 1, finite.
    """
    seen = 0
    low, high = np.inf, -np.inf
    mean = m2 = np.zeros(images.shape[1])
    for chunk in chunks(images):
        values = np.moveaxis(chunk, 1, 0).reshape(images.shape[1], -1).astype(np.float64)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        n = values.shape[1]
        chunk_mean = values.mean(axis=1)
        chunk_m2 = np.square(values - chunk_mean[:, None]).sum(axis=1)
        delta = chunk_mean - mean
        mean = mean + delta * (n / (seen + n))
        m2 = m2 + chunk_m2 + np.square(delta) * (seen * n / (seen + n))
        seen += n
    return Statistics(low, high, mean, np.sqrt(m2 / seen))
