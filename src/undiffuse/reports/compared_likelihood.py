"""Likelihoods that the runs of a comparison have: `RUN/likelihood/*.json`, as ``undiffuse likelihood`` writes them.

Two files are compared where they are about the same images in the same way. Then every image has a value under each
model, from the same random streams, and the differences image by image say how sure the order of the means is.
"""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from undiffuse.errors import UndiffuseError, counted
from undiffuse.reports.commands import option
from undiffuse.reports.run_comparison import ComparedFigures, Lineup, column_names, grouped, leader
from undiffuse.reports.run_history import Story
from undiffuse.reports.table import Matrix

ROWS = {"bound": "variational bound", "ode": "probability-flow ODE"}
WITHOUT_EFFECT = ("DATA", "batch", "device", "limit", "method")
"""Options that do not change an image's value; the images themselves are compared by number."""
SURE = 2.0
"""Standard errors by which a mean must be lower than each other one to be marked as the best."""


@dataclass(frozen=True)
class Likelihood:
    """One file.

    Args:
        stem: name of the file.
        step: of the weights.
        units: 'bits/dim' or 'nats/dim'.
        data: name and fingerprint of the images' data set; the fingerprint is empty in files of earlier versions.
        typed: options that change values.
        index: numbers of the images.
        values: (images,) by method.
    """

    run: str
    stem: str
    step: int
    units: str
    data: tuple[str, str]
    typed: str
    index: tuple[int, ...]
    values: dict[str, NDArray[np.float64]]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for files that can be compared; a file that does not say what its images were has only their name."""
        return (self.units, self.data[1] or self.data[0], self.typed, self.index)

    @classmethod
    def read(cls, run: str, path: Path) -> Likelihood:
        """Check what is used of the file."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            typed, images, data = found["typed"], found["images"], found.get("data", {})
            methods = {name: np.asarray(images[name], dtype=np.float64) for name in ROWS if name in images}
            index = tuple(int(number) for number in images["index"])
            step = int(found["model"]["step"])
            name = str(data.get("name", Path(typed["DATA"]).name))
            decisive = json.dumps({k: v for k, v in typed.items() if k not in WITHOUT_EFFECT}, sort_keys=True)
            if not index or any(values.shape != (len(index),) for values in methods.values()):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UndiffuseError(
                f"{path} is not as undiffuse likelihood writes it; measure again, or move it away"
            ) from None
        where = (name, str(data.get("fingerprint", "")))
        return cls(run, path.stem, step, str(found["units"]), where, decisive, index, methods)


def likelihood_tables(lineup: Lineup) -> list[ComparedFigures]:
    """A table for each set of images and way of measuring; empty where no run has such a file."""
    found = [
        Likelihood.read(name, path)
        for name, story in zip(lineup.names, lineup.stories, strict=True)
        for path in _files(story, "json")
    ]
    return [_table(group) for group in grouped(found, lambda one: one.key).values()]


def _files(story: Story, kind: str) -> list[Path]:
    return sorted((story.run / "likelihood").glob(f"*.{kind}"))


def likelihood_commands(story: Story) -> list[str]:
    """The commands that measured the likelihoods of the run."""
    found = []
    for path in _files(story, "json"):
        options = json.loads(path.read_text(encoding="utf-8"))["typed"]
        words = ["undiffuse", "likelihood", str(story.run), options.pop("DATA")]
        for name, value in options.items():
            words += option(name, tuple(value) if isinstance(value, list) else value)
        found.append(shlex.join([*words, "--out", str(path), "--overwrite"]))
    return found


def without_settings(lineup: Lineup) -> list[Path]:
    """The tables of likelihoods that do not say how they were measured."""
    return [path for story in lineup.stories for path in _files(story, "csv")]


def _table(group: list[Likelihood]) -> ComparedFigures:
    first, names = group[0], column_names([(one.run, one.stem) for one in group])
    rows, best = [("step", *(f"{one.step:,}" for one in group))], set()
    for method, words in ROWS.items():
        columns = [one.values.get(method) for one in group]
        if any(column is not None for column in columns):
            if (winner := leader(columns, surely_lower)) is not None:
                best.add((len(rows), winner + 1))
            rows.append((f"{words}, {first.units}", *(_words(column) for column in columns)))
    images = f"{counted(len(first.index), 'image')} of {first.data[0]}"
    text = (
        f"{images}, the same for all; less is better. ± is the standard error of the mean over images. The best is "
        f"marked where it is lower than every other by more than {SURE:g} standard errors of their difference, image "
        "by image."
    )
    if len({one.run for one in group}) == 1:
        text = f"{images}; no other run was measured on them in this way."
    return ComparedFigures(f"on {first.data[0]}", Matrix(("", *names), tuple(rows), frozenset(best)), text)


def surely_lower(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    gap = other - one
    return float(gap.mean()) > SURE * standard_error(gap)


def standard_error(values: NDArray[np.float64]) -> float:
    """The standard error of the mean; infinite for a single value, which says nothing of its own error."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def _words(column: NDArray[np.float64] | None) -> str:
    if column is None:
        return "-"
    error = f" ± {standard_error(column):.4f}" if len(column) > 1 else ""
    return f"{float(column.mean()):.4f}{error}"
