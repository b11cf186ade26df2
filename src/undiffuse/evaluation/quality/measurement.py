"""One figure with everything that belongs beside it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from undiffuse.evaluation.quality.registry import Better


@dataclass(frozen=True)
class RealBaseline:
    """The same metric between real images and other real images.

    Args:
        value, error: as of a figure.
        n: number of real images that stood in for the samples.
        m: number of real images that they were measured against; none of the n is among them.
        points: (N, distance) where the metric was extrapolated.
    """

    value: float
    error: float | None
    n: int
    m: int
    points: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Spread:
    """A metric over seeds, the figure's own first; the standard deviation is the unbiased one, of a single seed."""

    mean: float
    std: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Measurement:
    """One metric of one subject.

    Args:
        metric: its key, the same whatever the extractor.
        name: what it may be called with this extractor: 'FID' with the published network alone, else 'FD'.
        extractor: whose features it was computed on; empty where none was.
        value: of the first seed.
        error: an error bar of the metric's own kind; None where it has none.
        n, m: numbers of samples and of real images.
        floor: None where the reference has too few images, or where a floor makes no sense.
        seeds: over several seeds, where there were several.
        points: (N, distance) where it was extrapolated.
        warning: sentences that begin small, with '; ' between them; empty where there is nothing to fear.
    """

    metric: str
    name: str
    extractor: str
    value: float
    error: float | None
    better: Better
    n: int
    m: int
    floor: RealBaseline | None = None
    seeds: Spread | None = None
    points: tuple[tuple[int, float], ...] = ()
    warning: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, null in the place of NaN."""
        found: dict[str, Any] = _plain(asdict(self))
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
