"""Data that are one array in a file: what such a format brings, and the source that it is then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

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


class ArrayFile(Protocol):
    """A file that is one array."""

    kind: ClassVar[str]
    """Name of the format in fingerprints, so it never changes."""

    @property
    def name(self) -> str:
        """The name that the user gave."""

    @property
    def path(self) -> Path:
        """The place of the file."""

    def parts(self) -> Iterator[tuple[str, Path]]:
        """The files that it consists of, by role."""

    def load(self, scratch: Path) -> Arrays:
        """Its arrays; ``scratch`` is an empty folder on a large disk."""


@dataclass(frozen=True)
class ArraySource:
    """The source that an `ArrayFile` is.

    Args:
        file: of the data.
        inside: which part of the file is meant.
        within: opens another part of it.
    """

    file: ArrayFile
    inside: str = ""
    within: Callable[[str], Source | None] = lambda inside: None

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def path(self) -> Path:
        return self.file.path

    def listing(self, config: DataConfig) -> Listing:
        if config.vectors:
            raise UndiffuseError(
                "`vectors` names columns of a metadata file, or arrays of an .npz; these data have neither"
            )
        return Listing()

    def key(self, config: DataConfig) -> dict[str, Any]:
        return {"kind": self.file.kind, "inside": self.inside}

    def parts(self, listing: Listing) -> Iterator[tuple[str, Path]]:
        return self.file.parts()

    def write(self, listing: Listing, draft: Draft) -> WrittenSamples:
        with draft.scratch() as scratch:
            arrays = self.file.load(scratch)
            write_array(arrays.images, self.name, draft)
        return WrittenSamples(labels=arrays.labels, classes=arrays.classes)
