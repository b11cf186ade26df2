"""A number and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """One number of a metric.

    Args:
        error: its error bar, in the metric's units; the metric's docstring says what it is the spread of. None where
            the metric gives none.
        points: (n, value) at growing n, where it was extrapolated from them.
    """

    value: float
    error: float | None = None
    points: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % confidence interval; a format such as ``.2f`` is that of all three, ``.3f`` by default."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        spec = spec or ".3f"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        return format(self)
