"""metrics.jsonl: one JSON line every ``log_every`` steps.

    {"step": 50, "images": 1600, "loss": 0.31, "loss_by_quarter": [0.9, 0.2, 0.1, 0.03], "grad_norm": 0.8, "lr": 0.0002,
     "skipped": 0, "time": {"seconds": 2.1, "images_per_second": 761.9, "loading": 0.01}}

Loss and gradient norm are means over the steps since the line before; quarter k is that of the t in (k/4, (k+1)/4] of
the longest. All but "time" is a function of settings and seed: a resumed run's lines equal an uninterrupted one's to
the last bit, for which the sums since the last line travel in the checkpoint.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from undiffuse.runtime.durable_files import sync, writing
from undiffuse.training.callbacks.callback import Callback, Training
from undiffuse.training.loop import StepResult
from undiffuse.training.step_plan import Plan

RESUME = "mend that, then go on with `resume`"
"""What to do about a run's folder that cannot be written."""


Window = tuple[float, ...]
"""Sums over the steps since the last line, as a checkpoint holds them: steps, loss, gradient norm, skipped steps (which
count in no other), then losses and their numbers by quarters of t."""
EMPTY: Window = (0.0,) * 12


def with_step(window: Window, result: StepResult, t_max: float) -> Window:
    """The sums with one more step."""
    if result.skipped:
        steps, loss, norm, skipped, *quarters = window
        return (steps, loss, norm, skipped + 1, *quarters)
    quarter = (torch.ceil(4 * result.t / t_max) - 1).clamp(0, 3).long()
    losses = torch.zeros(4, dtype=torch.float64).index_add_(0, quarter, result.losses.double()).tolist()
    counts = torch.bincount(quarter, minlength=4).tolist()
    new = (1.0, result.loss, result.grad_norm, 0.0, *losses, *counts)
    return tuple(a + b for a, b in zip(window, new, strict=True))


def means(window: Window) -> dict[str, Any]:
    """The part of a line about these steps; null where there is nothing to average."""
    steps, loss, norm, skipped, *quarters = window
    pairs = [(loss, steps), (norm, steps), *zip(quarters[:4], quarters[4:], strict=True)]
    loss_mean, norm_mean, *by_quarter = [total / count if count else None for total, count in pairs]
    return {"loss": loss_mean, "loss_by_quarter": by_quarter, "grad_norm": norm_mean, "skipped": int(skipped)}


class MetricsFile(Callback):
    """Writes metrics.jsonl.

    Args:
        path: the file; lines after ``step`` are cut off, since the steps that wrote them will be taken again.
        window: what the checkpoint at that step held; perhaps nothing.
        every, plan: a line is written at multiples of ``every`` and at the last step.
        t_max: the longest t of the schedule.
    """

    def __init__(self, path: Path, step: int, window: Window, every: int, plan: Plan, t_max: float) -> None:
        with writing(path, RESUME):
            path.touch()
            truncate_after(path, step)
        self._path = path
        self._every, self._plan, self._t_max = every, plan, t_max
        self._clear()
        self.window = window or EMPTY
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        """Called with every line after it was written."""
        self.last: dict[str, Any] = next(reversed(read_metrics(path)), {})
        """The last line about the loss."""

    def step(self, training: Training, result: StepResult) -> None:
        self.window = with_step(self.window, result, self._t_max)
        self._seconds += result.seconds
        self._loading += result.loading
        self._images += len(result.losses)
        if result.step % self._every == 0 or result.step == self._plan.total:
            time = {
                "seconds": round(self._seconds, 4),
                "images_per_second": round(self._images / self._seconds, 2) if self._seconds else None,
                "loading": round(self._loading / self._seconds, 4) if self._seconds else None,
            }
            self.last = {"step": result.step, "images": result.images, **means(self.window), "lr": result.lr}
            self.write({**self.last, "time": time})
            self._clear()

    def _clear(self) -> None:
        self.window, self._seconds, self._loading, self._images = EMPTY, 0.0, 0.0, 0

    def write(self, line: dict[str, Any]) -> None:
        """Append one line; it has a "step"."""
        with writing(self._path, RESUME), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for listen in self.listeners:
            listen(line)

    def sync(self) -> None:
        """Wait until the disk has the lines: a checkpoint must not outlive the lines before it."""
        with writing(self._path, RESUME):
            self._path.touch()  # whoever removed it loses its lines, not the checkpoint
            sync(self._path)


def truncate_after(path: Path, step: int) -> None:
    """Cut off the lines of later steps, and a last line that was half written."""
    with path.open("r+b") as file:
        kept = 0
        for line in file:
            if not line.endswith(b"\n") or _step_of(line) > step:
                break
            kept += len(line)
        file.truncate(kept)


def _step_of(line: bytes) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # what a lost power supply left
        return math.inf


def read_metrics(
    path: Path, keep: Callable[[dict[str, Any]], bool] = lambda line: "loss" in line
) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl that ``keep`` accepts, by default those of the loss.

    A last line without its end is left out: a training may be writing it at this moment.
    """
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    lines = [json.loads(line) for line in whole.splitlines()]
    return [line for line in lines if keep(line)]
