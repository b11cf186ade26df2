"""Where a training says how it goes."""

from __future__ import annotations

from dataclasses import dataclass

from undiffuse.training.callbacks.console import Console
from undiffuse.training.callbacks.metrics import MetricsFile


@dataclass(frozen=True)
class Reporting:
    """The console, and the file of numbers, which rank 0 alone has."""

    console: Console
    metrics: MetricsFile | None = None
