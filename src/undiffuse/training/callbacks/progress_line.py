"""The line that answers "is it training, and for how long?"."""

from __future__ import annotations

import time
from collections.abc import Callable

from undiffuse.training.callbacks.callback import Callback, Training
from undiffuse.training.callbacks.console import Console
from undiffuse.training.loop import StepResult
from undiffuse.training.step_plan import Plan

TERMINAL_EVERY, PLAIN_EVERY = 0.2, 10.0
"""Seconds between two updates, at a terminal and elsewhere."""


class LiveLine(Callback):
    """Shows step, loss, images/s, time left, learning rate and gradient norm as the training runs.

    Loss, norm and speed are averages over about the last fifty steps. The time left counts everything that happens
    between steps too, as it went since this process's first step; that one is left out, since it may have compiled.
    """

    def __init__(self, console: Console, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock, self._plan = console, clock, plan
        self._first: int | None = None
        self._began = self._shown = 0.0
        self._loss, self._norm, self._seconds = _Recent(), _Recent(), _Recent()

    def step(self, training: Training, result: StepResult) -> None:
        now = self._clock()
        if self._first is None:
            self._first, self._began = result.step, now
        else:
            self._seconds.add(result.seconds)
        if not result.skipped:
            self._loss.add(result.loss)
            self._norm.add(result.grad_norm)
        every = TERMINAL_EVERY if self._console.terminal else PLAIN_EVERY
        if now - self._shown >= every or result.step in (self._first, self._plan.total):
            self._shown = now
            self._console.status(self.words(result, now - self._began, result.step - self._first))

    def words(self, result: StepResult, elapsed: float, steps: int) -> str:
        """The line after ``result``, ``elapsed`` seconds and ``steps`` steps after the first result."""
        speed = f"{len(result.losses) / self._seconds.mean:,.0f} images/s  " if self._seconds.mean else ""
        left = f"{duration(elapsed / steps * (self._plan.total - result.step))} left  " if steps else ""
        total = self._plan.total
        return (
            f"step {result.step:,}/{total:,} ({result.step / total:.0%})  loss {self._loss.mean:.4f}  "
            f"{speed}{left}lr {result.lr:.1e}  gradient norm {self._norm.mean:.2f}"
        )


class _Recent:
    """The mean of the first fifty values, and from there on an average that forgets."""

    def __init__(self) -> None:
        self.mean, self._count = 0.0, 0

    def add(self, value: float) -> None:
        self._count += 1
        self.mean += (value - self.mean) / min(self._count, 50)


def duration(seconds: float) -> str:
    """A time span as people say it: '45 s', '3 min 5 s', '2 h 10 min', '3 d 4 h'."""
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole} s"
