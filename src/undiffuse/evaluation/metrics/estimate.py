"""A number and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """What a metric found.

    Args:
        value: the metric.
        error: its error bar, in the metric's units; what it is the spread of stands in the metric's docstring.
    """

    value: float
    error: float
