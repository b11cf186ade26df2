"""A folder of files of one kind, any depth, or one such file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from undiffuse.config.data import DataConfig
from undiffuse.data.files.listing import FileEntry, Listing, Refusal, is_image, list_images
from undiffuse.data.formats.format import Filling
from undiffuse.data.source import Draft, FileKind, Source, WrittenSamples
from undiffuse.data.writing.images import write_images
from undiffuse.errors import UndiffuseError

IMAGES = FileKind(is_image, write_images)


@dataclass(frozen=True)
class Folder(Source):
    """Files below ``path``, in the order of their names. Linked folders are followed, once."""

    path: Path
    name: str
    kind: FileKind = IMAGES
    KIND = "Folder"

    def listing(self, config: DataConfig) -> Listing:
        return list_images(self, self.kind.named, config.vectors)

    def key(self, config: DataConfig) -> dict[str, Any]:
        return super().key(config) | self.kind.key(config, self.name)

    def parts(self, listing: Listing) -> Iterator[tuple[str, Path]]:
        return ((name, self._file_of(name)) for name in (*listing.images, *listing.metadata))

    def write(self, listing: Listing, draft: Draft) -> WrittenSamples:
        return self.kind.write(self, listing, draft)

    def entries(self) -> Iterator[FileEntry | Refusal]:
        if self.path.is_file():
            yield FileEntry(self.path.name, self.path.stat().st_size, partial(_open_file, self.path))
            return
        try:
            yield from sorted(self._walk(self.path, "", frozenset()), key=_name)
        except OSError as error:
            raise UndiffuseError(
                f"expected a folder that can be read, got {error.strerror} for {error.filename}"
            ) from error

    def _file_of(self, name: str) -> Path:
        return self.path if self.path.is_file() else self.path / name

    def _walk(self, folder: Path, prefix: str, above: frozenset[str]) -> Iterator[FileEntry | Refusal]:
        real = os.path.realpath(folder)
        if real in above:  # a link to a folder that contains it
            return
        with os.scandir(folder) as items:
            for item in items:
                name = prefix + item.name
                if item.is_dir():
                    yield from self._walk(Path(item.path), f"{name}/", above | {real})
                elif item.is_file():
                    yield FileEntry(name, item.stat().st_size, partial(_open_file, item.path))
                else:
                    yield name, "is no regular file, or a link to nothing"


def filling(noun: str, kind: FileKind, previews: Callable[[int], int]) -> Filling:
    """A folder full of files of one kind; arguments as for `Filling`."""
    return Filling(noun, kind.named, previews, lambda files, found: Folder(found.path, found.name, kind))


def _open_file(path: str | Path) -> BinaryIO:
    return open(path, "rb")


def _name(entry: FileEntry | Refusal) -> str:
    return entry[0] if isinstance(entry, tuple) else entry.name
