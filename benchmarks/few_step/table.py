"""Rows of measurements in a JSON file that grows by a row at a time, and the Markdown table of them.

    table = Table.open(path, judge.sha256, judge.name)
    for key in table.missing(keys):
        table.add(key | measured, judge.sha256)
    print(table.markdown())

A row's key is what was measured (`KEY`), the rest what came out. A row that is there is not measured again, so a broken
run goes on where it stopped. In the file a row is a line, in the order of the table, so that a difference between two
versions shows the new rows. Rows by another judge are refused: they do not compare.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.durable_files import replace_file

Row = Mapping[str, Any]

KEY = {
    "method": "",
    "training_seed": None,
    "guidance": 1.0,
    "sampler": "",
    "steps": 0,
    "spacing": "",
    "threshold": "clip",
    "n": 5000,
    "seed": 0,
}
"""What tells rows apart, with what is meant where a key does not say."""
ORDER = ("training_seed", "evaluations", "guidance", "sampler", "spacing", "threshold", "n", "seed")
"""What rows are sorted by, after their method."""
TEACHER = "teacher"
UNIT = {"method": TEACHER, "sampler": "dpm++2m-sde", "spacing": "trailing", "steps": 20}
"""The row whose distance is 1: the model by the default settings."""
SHORT = 12
"""Digits of the judge's sha256 in a row."""
FIGURES = {
    "fd": "FD",
    "ratio": "ratio",
    "fd_infinity": "FD-infinity",
    "fd_pixels": "FD of pixels",
    "accuracy": "accuracy",
    "confidence": "confidence",
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
    "ink": "ink",
    "nearest": "nearest",
    "share_variance": "share variance",
    "rms": "rms to teacher",
    "distance": "distance to teacher",
    "minutes": "minutes",
}
"""Columns of the table behind those of the key, and their heads."""

NARROW = ("fd_pixels", "accuracy", "precision", "recall", "coverage", "ink")
"""Figures of the table for a page, beside the distance."""


def key_of(**given: Any) -> dict[str, Any]:
    """The key of a row, the rest as usual."""
    if unknown := given.keys() - KEY.keys():
        raise UndiffuseError(f"A row is told by {', '.join(KEY)}, and not by {min(unknown)}")
    return KEY | given


def is_real(row: Row) -> bool:
    """Whether a row is that of held-out images, which no network drew."""
    return not row["evaluations"]


def _identity(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _place(row: Row) -> tuple[Any, ...]:
    """Real images first, then the teacher, then students; None before every number."""
    first = (not is_real(row), row["method"] != TEACHER, row["method"])
    return first, *((row[name] is not None, row[name] or type(KEY.get(name) or 0)()) for name in ORDER)


@dataclass
class Table:
    """The rows of one judge.

    Args:
        path: of the JSON file.
        judge: sha256 of the judge's file.
        about: what else the file says, beside its rows: the judge's name, the model, learned times.
        rows: in the order in which they are shown.
    """

    path: Path
    judge: str
    about: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, judge: str, name: str) -> Table:
        """The table in a file, or a new one where there is none.

        Args:
            judge: sha256 of the judge's file.
            name: what the judge learned, which says what it measures against.

        Raises:
            UndiffuseError: the file's rows are another judge's, or against other digits.
        """
        if not path.exists():
            return cls(path, judge, {"judge": name})
        about = json.loads(path.read_text())
        rows, found = about.pop("rows"), about.pop("judge_sha256")
        if (found, about["judge"]) != (judge, name):
            raise UndiffuseError(
                f"{path} holds rows of the judge {found[:SHORT]} ({about['judge']}), and this one is {judge[:SHORT]} "
                f"({name}), whose distances do not compare: take the same judge, or another file"
            )
        return cls(path, judge, about, rows)

    def has(self, key: Row) -> bool:
        return any(_identity(row) == _identity(key) for row in self.rows)

    def missing(self, keys: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the keys that have no row yet, each once."""
        once = {_identity(key): key for key in keys}
        return [key for key in once.values() if not self.has(key)]

    def add(self, row: Row, judge: str, again: bool = False) -> None:
        """Add a row and write the file, what others have added since kept.

        Args:
            row: a key (`key_of`) and what was measured.
            judge: sha256 of the judge that measured it.
            again: replace a row that is there: a figure is new.

        Raises:
            UndiffuseError: there is such a row, or another judge measured it.
        """
        if judge != self.judge:
            raise UndiffuseError(f"{self.path} takes rows of the judge {self.judge[:SHORT]}, not of {judge[:SHORT]}")
        if self.path.exists():
            there = Table.open(self.path, self.judge, self.about["judge"])
            self.rows, self.about = there.rows, there.about | self.about
        if self.has(row) and not again:
            raise UndiffuseError(f"{self.path} has a row of {describe(row)} already")
        others = [other for other in self.rows if _identity(other) != _identity(row)]
        self.rows = sorted([*others, dict(row) | {"judge": judge[:SHORT]}], key=_place)
        self.write()

    def write(self) -> None:
        """The file at once or not at all, a row a line."""
        about = self.about | {"judge_sha256": self.judge}
        head = "\n".join(f' "{name}": {json.dumps(value)},' for name, value in about.items())
        rows = ",\n".join("  " + json.dumps(row) for row in self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, f'{{\n{head}\n "rows": [\n{rows}\n ]\n}}\n')

    def markdown(self) -> str:
        """All rows; the same measured with several sampling seeds stands in one, its figures with commas between."""
        shown = [name for name in ORDER if name != "seed" and any(row[name] is not None for row in self.rows)]
        figures = [name for name in FIGURES if name == "ratio" or any(row.get(name) is not None for row in self.rows)]
        cells = [["method", *shown, "seeds", *(FIGURES[name] for name in figures)]]
        for _, same in groupby(self.rows, key=lambda row: [row[name] for name in KEY if name != "seed"]):
            group = list(same)
            words = [_word(group[0][name]) for name in ("method", *shown)]
            seeds = ", ".join(str(row["seed"]) for row in group)
            cells.append([*words, seeds, *(self._figure(name, group) for name in figures)])
        head, *body = ["| " + " | ".join(row) + " |" for row in cells]
        return "\n".join([head, "|---" * len(cells[0]) + "|", *body])

    def summary(self, n: int = 5000) -> str:
        """The narrow table for a page: a row for each way to draw with all its seeds, the fewest evaluations first."""
        ways = [name for name in KEY if name not in ("training_seed", "seed")]
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in self.rows:
            if row["n"] == n:
                groups[tuple(row[name] for name in ways)].append(row)
        lines = ["| evaluations | drawn by | FD | ratio |" + "".join(f" {FIGURES[name]} |" for name in NARROW)]
        lines.append("|--:|---|--:|--:|" + "--:|" * len(NARROW))
        for group in sorted(groups.values(), key=lambda rows: (rows[0]["evaluations"], _mean(rows, "fd"))):
            first = group[0]
            fd = ", ".join(f"{row['fd']:.1f}" for row in group)
            ratio = self._figure("ratio", group)
            figures = "".join(f" {_rounded(group, name)} |" for name in NARROW)
            lines.append(f"| {first['evaluations']:g} | {_way(first)} | {fd} | {ratio} |{figures}")
        return "\n".join(lines)

    def _figure(self, name: str, group: Sequence[Row]) -> str:
        """A cell: the value of each seed, or the mean of their ratios to the unit of the same number of samples."""
        if name != "ratio":
            return ", ".join(_word(row[name]) for row in group if row.get(name) is not None)
        unit = self.unit(group[0]["n"])
        return f"{statistics.fmean(row['fd'] for row in group) / unit:.2f}" if unit else ""

    def unit(self, n: int) -> float | None:
        """The distance that counts as 1 among rows of ``n`` samples: of `UNIT`, on average over its seeds."""
        wanted = key_of(**UNIT, n=n)
        found = [row["fd"] for row in self.rows if all(row[name] == wanted[name] for name in KEY if name != "seed")]
        return statistics.fmean(found) if found else None


def _mean(rows: Sequence[Row], figure: str) -> float:
    return statistics.fmean(row[figure] for row in rows)


def _rounded(rows: Sequence[Row], figure: str) -> str:
    return f"{_mean(rows, figure):.2f}" if figure in rows[0] else ""


def _way(row: Row) -> str:
    """How samples were drawn, in a few words."""
    if is_real(row):
        return str(row["method"])
    words = [f"`{row['sampler']}`", row["spacing"]] if row["method"] == TEACHER else [f"**{row['method']}**"]
    words += [f"guidance {row['guidance']:g}"] if row["guidance"] != 1 else []
    return " ".join([*words, *(["not clipped"] if row["threshold"] == "none" else [])])


def _word(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float | int) else str(value)


def describe(row: Row) -> str:
    """A key in words."""
    return ", ".join(f"{name} {row[name]}" for name in KEY if row[name] is not None and row[name] != KEY[name])


def main() -> None:
    parser = argparse.ArgumentParser(description="The table of a page.")
    parser.add_argument("rows", type=Path, help="the JSON file of the rows, such as docs/measure/few-step.json")
    given = parser.parse_args().rows
    about = json.loads(given.read_text())
    print(Table.open(given, about["judge_sha256"], about["judge"]).summary())


if __name__ == "__main__":
    main()
