"""Ways to recognise a format: by a word, a folder, the first bytes of a file, or the names of a folder's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tarfile import BLOCKSIZE

from undiffuse.data.files.decompress import decompressor
from undiffuse.data.files.read_errors import intact
from undiffuse.data.source import Source
from undiffuse.errors import UndiffuseError

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""The first bytes of zip files, .npz files among them."""


@dataclass(frozen=True)
class NamedPath:
    """A file or folder that somebody named."""

    path: Path
    name: str

    @cached_property
    def head(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                head = file.read(32)
        except OSError as error:
            raise UndiffuseError(f"expected a file that can be read, got {error.strerror} for {self.path}") from error
        if not head:
            raise UndiffuseError(f"expected data in {self.path}, got an empty file")
        return head

    @cached_property
    def unpacked(self) -> bytes:
        """The first bytes of a file once gzip, bzip2 or xz is taken off, as many as a tar file's header has."""
        with intact("a whole file", str(self.path)), decompressor(self.path)(self.path) as packed:
            return packed.read(BLOCKSIZE)


def is_tar(found: NamedPath) -> bool:
    return found.unpacked[257:262] == b"ustar" or found.path.suffix == ".tar"


@dataclass(frozen=True)
class Filling:
    """Files of one kind that a folder may be full of.

    Args:
        noun: for one of them.
        named: True for names of such files.
        previews: how many images beside so many of these files are still taken for previews of them.
        open: the source that such files make of a folder of this name.
    """

    noun: str
    named: Callable[[str], bool]
    previews: Callable[[int], int]
    open: Callable[[Sequence[Path], NamedPath], Source]


def _nothing(asked: object) -> None:
    """Nothing is recognised so."""


@dataclass(frozen=True)
class Format:
    """The ways in which a format is recognised; each gives None for what is not of this format.

    Args:
        word: data that are no file here.
        folder: a folder as a whole, by what must be in it.
        file: a file, by its first bytes or its name.
        filling: the files of a folder.
    """

    word: Callable[[str], Source | None] = _nothing
    folder: Callable[[NamedPath], Source | None] = _nothing
    file: Callable[[NamedPath], Source | None] = _nothing
    filling: Filling | None = None
