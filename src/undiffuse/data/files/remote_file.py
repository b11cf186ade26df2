"""A file that is not on this machine, read in pieces where it lies: ``hf://datasets/...``, and what fsspec knows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast


@dataclass(frozen=True)
class RemoteFile:
    """An address."""

    address: str

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]

    @cached_property
    def _place(self) -> tuple[Any, str]:
        import fsspec  # torch brings it

        system, path = fsspec.core.url_to_fs(self.address)
        return system, path

    @cached_property
    def size(self) -> int:
        system, path = self._place
        return int(system.size(path))

    def open(self) -> BinaryIO:
        system, path = self._place
        return cast(BinaryIO, system.open(path, "rb"))


Place = Path | RemoteFile


def place_of(address: str) -> Place:
    """A path, or an address where ``address`` has a scheme such as 'hf://'."""
    return RemoteFile(address) if "://" in address else Path(address)


def size_of(place: Place) -> int:
    return place.size if isinstance(place, RemoteFile) else place.stat().st_size
