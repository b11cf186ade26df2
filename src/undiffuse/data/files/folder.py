"""A folder of images, any depth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from undiffuse.data.files.listing import Entry, Refusal
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class Folder:
    """Files below ``path``, in the order of their names. Linked folders are followed, once."""

    path: Path
    name: str

    def entries(self) -> Iterator[Entry | Refusal]:
        try:
            yield from sorted(self._walk(self.path, "", frozenset()), key=_name)
        except OSError as error:
            raise UndiffuseError(
                f"expected a folder that can be read, got {error.strerror} for {error.filename}"
            ) from error

    def file_of(self, name: str) -> Path:
        """Where the file of an entry lies."""
        return self.path / name

    def _walk(self, folder: Path, prefix: str, above: frozenset[str]) -> Iterator[Entry | Refusal]:
        real = os.path.realpath(folder)
        if real in above:  # a link to a folder that contains it
            return
        with os.scandir(folder) as items:
            for item in items:
                name = prefix + item.name
                if item.is_dir():
                    yield from self._walk(Path(item.path), f"{name}/", above | {real})
                elif item.is_file():
                    yield Entry(name, item.stat().st_size, partial(open_file, item.path))
                else:
                    yield name, "is no regular file, or a link to nothing"


def open_file(path: str | Path) -> BinaryIO:
    """For `Entry`."""
    return open(path, "rb")


def _name(entry: Entry | Refusal) -> str:
    return entry[0] if isinstance(entry, tuple) else entry.name
