"""Data sets that can be named without having a file: real, small, and there without a network."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undiffuse.data.files.read_errors import intact
from undiffuse.data.formats.array_source import Arrays, ArraySource
from undiffuse.data.formats.arrays import index_labels
from undiffuse.data.formats.format import Format
from undiffuse.data.mnist import FILE
from undiffuse.errors import UndiffuseError

BUILTIN = ("digits",)
"""Names that DataConfig.source may have instead of a path; './digits' is a path."""
BUILTIN_PREFIX = "builtin:"
"""Before a built-in name that is meant as such whatever lies here: 'builtin:digits'."""


@dataclass(frozen=True)
class Digits(ArraySource):
    """5,000 digits of MNIST (LeCun et al. 1998), 500 of each class, 28 x 28, in the package (`undiffuse.data.mnist`).

    The file is comma-separated text: each row 784 pixels, row by row, then the label.
    """

    path: Path = FILE
    name: str = "digits"
    KIND, ROLE = "Digits", "digits"

    def load(self, scratch: Path) -> Arrays:
        with intact("the built-in digits", str(self.path)):
            with gzip.open(self.path, "rb") as file:
                text = file.read(20_000_000)  # 5,000 rows of 785 numbers of up to three figures
            table = np.loadtxt(text.decode("ascii").splitlines(), dtype=np.uint8, delimiter=",")
            images = table[:, :784].reshape(5000, 1, 28, 28)
        return Arrays(images, *index_labels(table[:, 784], len(table), self.name))


def _open(word: str) -> Digits | None:
    if word.removeprefix(BUILTIN_PREFIX) not in BUILTIN:
        return None
    if not FILE.is_file():
        raise UndiffuseError(
            f"expected the built-in data set 'digits' in {FILE}, got an installation without it; "
            "install undiffuse again"
        )
    return Digits(FILE)


FORMAT = Format(word=_open)
