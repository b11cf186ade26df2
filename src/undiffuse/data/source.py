"""The seam of data formats: what `prepare` asks of whatever the user named, and the record of what was written.

A format is one file in `formats/` and one line in `formats.registry`. What it has to bring is the least of these:

| the data are | bring | and get by |
|---|---|---|
| one array in a file | `array_source.ArraySource` with a ``load`` | |
| many files, one or more samples in each | `FileKind`, often with a `writing.volumes.SampleReader` | `folder.Folder` |
| many encoded images in one file | `records.Shard`: ``index``, ``read`` and ``runs`` | `records.Records` |
| anything else | `Source` with a ``listing`` and a ``write`` | |
"""

from __future__ import annotations

import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from undiffuse.config.data import DataConfig
from undiffuse.data.files.listing import Files, Listing, Refusal, sort_classes
from undiffuse.data.vectors import Vectors
from undiffuse.runtime.standard_streams import hidden


@dataclass(frozen=True)
class Draft:
    """The folder of the cache that a source is written into, and how.

    Args:
        folder: for ``images.npy``; empty, and on a large disk.
        config: the settings.
        size: height and width that the settings ask for.
        progress: show bars.
    """

    folder: Path
    config: DataConfig
    size: tuple[int, int] | None
    progress: bool

    def bar(self, doing: str, unit: str, total: int) -> tqdm[Any]:
        return tqdm(total=total, desc=doing, unit=unit, disable=hidden(self.progress), leave=False)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        folder = self.folder / "scratch"
        folder.mkdir()
        yield folder
        shutil.rmtree(folder)


@dataclass(frozen=True)
class WrittenSamples:
    """The record of the samples in ``images.npy``, one entry for each."""

    names: list[str] | None = None
    """None where samples are numbered."""
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    """Names of the labels."""
    texts: list[str] | None = None
    """'' for samples without one."""
    vectors: Vectors | None = None
    refused: tuple[Refusal, ...] = ()
    ignored: tuple[Refusal, ...] = ()
    kind: str = ""
    """`DataInfo.kind` of the samples."""

    @classmethod
    def of_files(
        cls,
        listing: Listing,
        columns: tuple[str, ...],
        names: list[str],
        files: Sequence[str],
        refused: Sequence[Refusal],
    ) -> WrittenSamples:
        """The record of samples from ``files``: what the listing says of a file holds for all of its samples."""
        labels, classes = number_classes(listing.classes, files)
        texts = [listing.texts.get(file, "") for file in files] if listing.texts else None
        rows = (listing.numbers.get(file, (math.nan,) * len(columns)) for file in files)
        vectors = Vectors(columns, np.array(list(rows), np.float32)) if columns else None
        return cls(names, labels, classes, texts, vectors, tuple(refused), listing.ignored)


class Source(ABC):
    """Data that the user named. Unless a format knows better, they are one file, in which nothing else can be named."""

    name: str
    """The name that the user gave."""
    path: Path
    """The place of the data; digests of the files are remembered under it."""
    inside: str = ""
    """The part of a file that is meant."""
    KIND: ClassVar[str]
    """Name of the format in fingerprints, so it never changes."""
    ROLE: ClassVar[str]
    """Name of the one file in fingerprints."""

    @abstractmethod
    def listing(self, config: DataConfig) -> Listing:
        """The contents, by names and headers alone."""

    def key(self, config: DataConfig) -> dict[str, Any]:
        """Everything that decides about the prepared array beside the files, ``size``, ``crop`` and ``channels``.

        The key is part of fingerprints, so it never changes.

        Raises:
            UndiffuseError: settings that these data cannot have.
        """
        return {"kind": self.KIND, "inside": self.inside}

    def parts(self, listing: Listing) -> Iterator[tuple[str, Path]]:
        """The files whose contents the data consist of, by unique names."""
        yield self.ROLE, self.path

    @abstractmethod
    def write(self, listing: Listing, draft: Draft) -> WrittenSamples:
        """Write ``images.npy``.

        Raises:
            UndiffuseError: the samples do not agree and no option says what to do; too many are bad; none are left.
        """

    def within(self, inside: str) -> Source | None:
        """The part that ``NAME/inside`` means; None where nothing lies inside of these data."""
        return None


@dataclass(frozen=True)
class FileKind:
    """The kind of a folder's files: images, volumes, videos.

    Args:
        named: True for names of such files.
        write: does what `Source.write` does.
        key: adds to `Source.key` of a source of this name.
    """

    named: Callable[[str], bool]
    write: Callable[[Files, Listing, Draft], WrittenSamples]
    key: Callable[[DataConfig, str], dict[str, Any]] = lambda config, source: {}


def number_classes(classes: dict[str, str], files: Sequence[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Labels of the files, and the names of the classes in the order of their labels."""
    if not classes:
        return None, ()
    ordered = sort_classes(classes[file] for file in files)
    number = {name: label for label, name in enumerate(ordered)}
    return np.array([number[classes[file]] for file in files], np.int64), ordered
