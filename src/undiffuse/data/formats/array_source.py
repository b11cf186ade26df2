"""Data that are one array in a file."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.config.data import DataConfig
from undiffuse.data.files.listing import Listing
from undiffuse.data.source import Draft, Source, WrittenSamples
from undiffuse.data.writing.arrays import write_array
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class Arrays:
    """Samples of one shape in one array."""

    images: NDArray[Any]
    """(N, C, *spatial), any numeric type; may be memory-mapped."""
    labels: NDArray[np.int64] | None = None
    """(N,), indices into `classes`."""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArraySource(Source):
    """A file that is one array."""

    path: Path
    name: str
    inside: str = ""

    @abstractmethod
    def load(self, scratch: Path) -> Arrays:
        """The arrays of the file; ``scratch`` is an empty folder on a large disk."""

    def listing(self, config: DataConfig) -> Listing:
        if config.vectors:
            raise UndiffuseError(
                "`vectors` names columns of a metadata file, or arrays of an .npz; these data have neither"
            )
        return Listing()

    def write(self, listing: Listing, draft: Draft) -> WrittenSamples:
        with draft.scratch() as scratch:
            arrays = self.load(scratch)
            write_array(arrays.images, self.name, draft)
        return WrittenSamples(labels=arrays.labels, classes=arrays.classes)
