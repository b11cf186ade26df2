"""How long an edit takes, said after its first step: whoever waits should know for what."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from undiffuse.errors import counted
from undiffuse.training.callbacks.progress_line import duration

LEAST = 20.0
"""Seconds below which nothing is said."""
OTHERWISE = 1.5
"""The second step may take this many times as long as the first before the forecast is said again: where alpha = 0,
nothing is differentiated."""


@dataclass
class Forecast:
    """The time of the first step times the steps that are left.

    Args:
        total: steps.
        say: told the forecast in words, where it is long.
        clock: seconds, from any origin.
    """

    total: int
    say: Callable[[str], object]
    clock: Callable[[], float] = time.monotonic
    times: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.times.append(self.clock())

    def tick(self) -> None:
        if len(self.times) > 2:
            return
        self.times.append(self.clock())
        steps = [after - before for before, after in pairwise(self.times)]
        done, seconds = len(steps), steps[-1]
        left = seconds * (self.total - done)
        if left >= LEAST and (done == 1 or seconds > OTHERWISE * steps[0]):
            self.say(f"{counted(self.total, 'step')} of {seconds:.2g} s: about {duration(left)} from now")
