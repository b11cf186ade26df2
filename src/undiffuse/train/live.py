"""The line that answers "is it training, and for how long?"."""

from __future__ import annotations

import time
from collections.abc import Callable

from undiffuse.train.console import Console
from undiffuse.train.loop import StepResult

TERMINAL_EVERY, PLAIN_EVERY = 0.2, 10.0
"""Seconds between two updates, at a terminal and elsewhere."""


class LiveLine:
    """Shows step, loss, images/s, time left, learning rate and gradient norm as the training runs.

    Loss and norm are averages over about the last fifty steps; the time left counts everything that happens between
    steps too, as it went since this process began to train.
    """

    def __init__(self, console: Console, step: int, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock, self._total = console, clock, total
        self._first = step
        self._began = self._shown = clock()
        self._loss: float | None = None
        self._norm = self._seconds = 0.0

    def __call__(self, result: StepResult) -> None:
        self._follow(result)
        now = self._clock()
        every = TERMINAL_EVERY if self._console.terminal else PLAIN_EVERY
        if now - self._shown >= every or result.step in (self._first + 1, self._total):
            self._shown = now
            self._console.status(self.line(result, now))

    def _follow(self, result: StepResult) -> None:
        if self._loss is None:
            self._loss, self._norm, self._seconds = result.loss, result.grad_norm, result.seconds
        weight = max(0.02, 1 / (result.step - self._first))
        self._seconds += weight * (result.seconds - self._seconds)
        if not result.skipped:
            self._loss += weight * (result.loss - self._loss)
            self._norm += weight * (result.grad_norm - self._norm)

    def line(self, result: StepResult, now: float) -> str:
        """The line as it is shown after ``result`` at the time ``now``."""
        left = (now - self._began) / (result.step - self._first) * (self._total - result.step)
        speed = len(result.losses) / self._seconds if self._seconds else 0.0
        return (
            f"step {result.step:,}/{self._total:,} ({result.step / self._total:.0%})  loss {self._loss:.4f}  "
            f"{speed:,.0f} images/s  {duration(left)} left  lr {result.lr:.1e}  gradient norm {self._norm:.2f}"
        )


def duration(seconds: float) -> str:
    """A time span as people say it: '45 s', '3 min 5 s', '2 h 10 min', '3 d 4 h'."""
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole} s"
