"""Images inside a zip or tar file, read in place: nothing is unpacked to disk, so no name in it can lead anywhere.

Against decompression bombs: a member's declared size is checked before it is read, a reader never gets more than it,
and an archive that would unpack to absurd multiples of its own size is refused as a whole.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from undiffuse.config.data import DataConfig
from undiffuse.data.files.decompress import decompressor
from undiffuse.data.files.listing import FileEntry, Listing, Refusal, list_images
from undiffuse.data.files.read_errors import intact
from undiffuse.data.formats.format import ZIP, Format, NamedPath, is_tar
from undiffuse.data.source import Draft, Source, WrittenSamples
from undiffuse.data.writing.images import write_images
from undiffuse.errors import UndiffuseError

MAX_EXPANSION = 1200
"""Unpacked bytes per packed byte; deflate itself cannot exceed 1032, and images hardly shrink at all."""
FREE_EXPANSION = 1 << 30
"""Unpacked bytes that are always allowed."""


@dataclass(frozen=True)
class Archive(Source):
    """Members of a file below the folder ``inside`` ('' for all)."""

    path: Path
    name: str
    inside: str = ""
    ROLE = "archive"

    @abstractmethod
    def entries(self) -> Iterator[FileEntry | Refusal]: ...

    def listing(self, config: DataConfig) -> Listing:
        return list_images(self, columns=config.vectors)

    def write(self, listing: Listing, draft: Draft) -> WrittenSamples:
        return write_images(self, listing, draft)

    def within(self, inside: str) -> Archive:
        return type(self)(self.path, f"{self.name}/{inside}", inside)


class ZipFile(Archive):
    KIND = "ZipFile"

    def entries(self) -> Iterator[FileEntry | Refusal]:
        with intact("a whole archive", self.path.name), zipfile.ZipFile(self.path) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > most_unpacked(self.path.stat().st_size):
                raise _bomb(self.path, unpacked)
            for member in members:
                name = _safe_name(member.filename, self.inside)
                if member.is_dir() or name is None:
                    continue
                if isinstance(name, tuple):
                    yield name
                elif member.flag_bits & 1:
                    yield name, "is encrypted; unpack the archive with its password first"
                else:
                    yield FileEntry(name, member.file_size, cast(Callable[[], BinaryIO], partial(archive.open, member)))


@dataclass(frozen=True)
class TarFile(Archive):
    """A tar file, plain or packed by gzip, bzip2 or xz. Read front to back."""

    KIND = "TarFile"
    _places: list[tuple[str, int, int]] = field(default_factory=list, init=False, compare=False, repr=False)
    """Name, offset and size of the members after the first pass: parsing 60,000 headers again costs seconds."""

    def entries(self) -> Iterator[FileEntry | Refusal]:
        with intact("a whole archive", self.path.name), _BoundedReader(self.path) as stream:
            yield from self._again(stream) if self._places else self._first(stream)

    def places(self) -> dict[str, tuple[int, int]]:
        """Offset and size of every member in the unpacked file, after a whole pass; of a name's first member."""
        return {name: (offset, size) for name, offset, size in reversed(self._places)}

    def _first(self, stream: _BoundedReader) -> Iterator[FileEntry | Refusal]:
        places: list[tuple[str, int, int]] = []
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every header it ever read
                name = _safe_name(member.name, self.inside)
                if member.isdir() or name is None:
                    continue
                if isinstance(name, tuple):
                    yield name
                elif not member.isreg() or member.issparse():
                    yield name, "is a link, a device or a sparse file inside a tar file"
                else:
                    places.append((name, member.offset_data, member.size))
                    yield FileEntry(
                        name, member.size, cast(Callable[[], BinaryIO], partial(archive.extractfile, member))
                    )
        # tarfile takes a damaged header for the end; the true end is a block of zeros
        if stream.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("the end marker is missing: the file is cut short or damaged")
        self._places.extend(places)

    def _again(self, stream: _BoundedReader) -> Iterator[FileEntry]:
        for name, offset, size in self._places:
            yield FileEntry(name, size, partial(stream.member, offset, size))


def _open(found: NamedPath) -> Archive | None:
    if found.head.startswith(ZIP):
        return ZipFile(found.path, found.name)
    return TarFile(found.path, found.name) if is_tar(found) else None


FORMAT = Format(file=_open)


def _safe_name(name: str, inside: str) -> str | Refusal | None:
    """The member's name below ``inside``, a refusal, or None where it lies elsewhere."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        return name, "has a name that leads out of the archive"
    clean = path.as_posix()
    if not inside:
        return clean
    return clean[len(inside) + 1 :] if clean.startswith(f"{inside}/") else None


def most_unpacked(size: int) -> int:
    """Most bytes that a packed file of this size may claim to hold; one that claims more is taken for a bomb."""
    return FREE_EXPANSION + MAX_EXPANSION * size


def _bomb(path: Path, unpacked: int) -> UndiffuseError:
    return UndiffuseError(
        f"expected an archive of images, got {path.name}, which would unpack to {unpacked >> 20:,} MiB, "
        f"more than {MAX_EXPANSION} times its size"
    )


class _BoundedReader(io.RawIOBase):
    """A decompressed stream that remembers its last read and stops where a bomb would go on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.limit = most_unpacked(path.stat().st_size)
        self.file = decompressor(path)(path)
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        if size > 1 << 30:  # a forged header
            raise tarfile.ReadError(f"a header asks for {size} bytes")
        self.last = self.file.read(size)
        return self.last

    def member(self, offset: int, size: int) -> BinaryIO:
        """``size`` bytes from ``offset`` as a file."""
        self.seek(offset)
        return io.BytesIO(self.read(size))

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset > self.limit:  # every member is passed by a seek; this is before the decompressor has to get there
            raise _bomb(self.path, offset)
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        self.file.close()
        super().close()
