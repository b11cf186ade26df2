"""Trainings that are to be compared, in alternation: slices of processor time of one, then of the next.

All of them run in one process on one machine within the same hour, so that none has the idle minutes to itself. Time is
the processor's, not the clock's on the wall: what other programs do on the machine stretches the latter by any factor
and the former by a little (shared caches and cores). `Load` says how much of the wall's time the process had.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

import undiffuse

Clock = Callable[[], float]
BUSY = 0.9
"""Less of the wall's time than this on a thread's work means that others were at work, too."""


class Trainee(Protocol):
    """Something that learns, step by step."""

    @property
    def name(self) -> str: ...

    @property
    def steps(self) -> int:
        """Done so far."""
        ...

    def plan(self, spent: float, left: float) -> None:
        """Told at the start of each slice: seconds spent on training so far, and seconds left of the budget."""
        ...

    def step(self) -> None:
        """One step of training."""
        ...


@dataclass
class Load:
    """Seconds of training by the processor's clock and by the wall's."""

    processor: float = 0.0
    wall: float = 0.0

    @property
    def share(self) -> float:
        """Of one core; below `BUSY` others were at work, with one thread."""
        return self.processor / self.wall if self.wall else 1.0

    def __str__(self) -> str:
        flag = "" if self.share >= BUSY else ": measured under load"
        return f"{self.processor:.0f} s of processor time in {self.wall:.0f} s of training{flag}"


@dataclass
class Place:
    """Where one trainee stands."""

    trainee: Trainee
    spent: float = 0.0
    marks: list[float] = field(default_factory=list)


def alternate(
    trainees: Sequence[Trainee],
    marks: Sequence[float],
    on_mark: Callable[[Trainee, float, float], None],
    slice_seconds: float = 15.0,
    clock: Clock = time.process_time,
    wall: Clock = time.perf_counter,
) -> Load:
    """Train each for ``marks[-1]`` seconds, a slice at a time in turn.

    A slice ends with the first step at or after its end, so that nobody is more than a slice and a step ahead.

    Args:
        trainees: in the order of their turns.
        marks: seconds of training, rising, at which to look; the last is the budget of each.
        on_mark: called with a trainee, the mark and the seconds it really spent; what it does costs it nothing.
        slice_seconds: length of a turn.
        clock: what counts as a trainee's time.
        wall: what the load is measured against.
    """
    places = [Place(trainee, marks=list(marks)) for trainee in trainees]
    load = Load()
    turn = 0
    while any(place.marks for place in places):
        turn += 1
        for place in places:
            while place.marks and place.spent < (end := min(turn * slice_seconds, place.marks[0])):
                _train(place, end, marks[-1], load, clock, wall)
                if place.spent >= place.marks[0]:
                    on_mark(place.trainee, place.marks.pop(0), place.spent)
    return load


def _train(place: Place, end: float, budget: float, load: Load, clock: Clock, wall: Clock) -> None:
    """Steps until ``end`` seconds are spent."""
    place.trainee.plan(place.spent, budget - place.spent)
    begun, at_wall, before = clock(), wall(), place.spent
    while place.spent < end:
        place.trainee.step()
        place.spent = before + clock() - begun
    load.processor += place.spent - before
    load.wall += wall() - at_wall


def machine() -> dict[str, Any]:
    """What a table of times must be read with."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "undiffuse": undiffuse.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    """The processor's name where Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write_json(path: Path, results: dict[str, Any]) -> None:
    """The raw results beside a table; written anew after every figure, so that a broken run leaves what it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(path)


def write_plot(path: Path, svg: str) -> None:
    """A plot as a file of its own: dark on white, as there is no page around it whose colours it could take."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg.replace("<svg ", '<svg style="color:#222;background:#fff" ', 1) + "\n")
