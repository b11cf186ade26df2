"""Examples that lie in shards: each an encoded image with its class and text, many of them in one file.

Webdataset's tar files, parquet files, LMDB and Hugging Face's data sets all are this; what each adds is an `index` and
a way to `read`. Everything else (which images are good, whether they agree, what is refused) is done by the same code
as for folders.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from undiffuse.config.data import DataConfig
from undiffuse.data.files.decode import UnreadableError
from undiffuse.data.files.listing import FileEntry, Listing, Refusal
from undiffuse.data.files.remote_file import Place
from undiffuse.data.source import Draft, Source, WrittenSamples
from undiffuse.data.writing.images import write_images
from undiffuse.errors import UndiffuseError

RUN = 64
"""Examples that are read in one go where the shard can be entered anywhere."""


class Item(NamedTuple):
    """Name, class and text of one example; '' for none."""

    name: str
    label: str = ""
    text: str = ""


@dataclass(frozen=True)
class Index:
    """The contents of a shard, without its images."""

    items: tuple[Item, ...]
    refused: tuple[Refusal, ...] = ()
    ignored: tuple[Refusal, ...] = ()


class Shard(Protocol):
    """One file, or one folder, of examples."""

    @property
    def files(self) -> tuple[Place, ...]:
        """The files that the examples are in."""

    def index(self) -> Index:
        """All examples, in the order in which they lie there."""

    def read(self, numbers: Sequence[int]) -> Iterator[bytes | UnreadableError]:
        """The encoded images of these items, whose numbers rise; a reason in place of one that cannot be had."""

    def runs(self, longest: int) -> list[range]:
        """All items' numbers, cut where the file can be read from; none longer than ``longest``."""


@dataclass(frozen=True)
class Records(Source):
    """Shards, one after another."""

    name: str
    shards: tuple[Shard, ...]
    ignored: tuple[Refusal, ...] = ()
    KIND = "Records"

    @cached_property
    def indices(self) -> tuple[Index, ...]:
        return tuple(shard.index() for shard in self.shards)

    @property
    def path(self) -> Path:  # type: ignore[override]  # no source is changed
        return next(path for _, path in self.parts(Listing()))

    def files(self) -> Iterator[tuple[str, Place]]:
        for number, shard in enumerate(self.shards):
            yield from ((f"{number}/{file.name}", file) for file in shard.files)

    def parts(self, listing: Listing) -> Iterator[tuple[str, Path]]:
        return ((name, place) for name, place in self.files() if isinstance(place, Path))

    def write(self, listing: Listing, draft: Draft) -> WrittenSamples:
        return write_images(self, listing, draft)

    def entries(self) -> Iterator[FileEntry | Refusal]:
        for shard, index in zip(self.shards, self.indices, strict=True):
            for item, data in zip(index.items, shard.read(range(len(index.items))), strict=True):
                size = -1 if isinstance(data, UnreadableError) else len(data)
                yield FileEntry(item.name, size, partial(_open, data))

    def listing(self, config: DataConfig) -> Listing:
        """The examples by name. Where some have a class, those without one are refused."""
        if config.vectors:
            raise UndiffuseError(f"`vectors` is for folders, archives and .npz files; {self.name} is none of these")
        items = {item.name: item for index in self.indices for item in index.items}
        classes = {name: item.label for name, item in items.items() if item.label}
        refused = [refusal for index in self.indices for refusal in index.refused]
        if classes:
            refused += [(name, "has no class, where others have one") for name in items if name not in classes]
            items = {name: item for name, item in items.items() if name in classes}
        ignored = (*self.ignored, *(entry for index in self.indices for entry in index.ignored))
        texts = {name: item.text for name, item in items.items() if item.text}
        return Listing(tuple(items), classes, tuple(refused), ignored, texts=texts)


def _open(data: bytes | UnreadableError) -> BinaryIO:
    if isinstance(data, UnreadableError):
        raise data
    return io.BytesIO(data)


def cut_runs(ranges: Sequence[range], longest: int) -> list[range]:
    return [piece[k : k + longest] for piece in ranges for k in range(0, len(piece), longest)]


def no_label(value: object) -> str:
    """The reason why a label is none although it is there; '' for one, and for nothing."""
    empty = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return "" if empty or as_label(value) else f"a {type(value).__name__}; classes are words or whole numbers"


def as_label(value: object) -> str:
    """A class as a word: texts and whole numbers are; whatever else a label column holds is none."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else ""
