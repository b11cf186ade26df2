"""What the user named: a built-in set, a folder, or a file of one of the known kinds, told by its content."""

from __future__ import annotations

import difflib
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from undiffuse.data.archive import TarFile, ZipFile, decompressor
from undiffuse.data.arrays import Arrays, NpyFile, NpzFile
from undiffuse.data.builtin import BUILTIN, Digits
from undiffuse.data.damage import intact
from undiffuse.data.folder import Folder
from undiffuse.data.idx import IdxFile, looks_like_idx
from undiffuse.data.listing import looks_like_image
from undiffuse.errors import UndiffuseError, perhaps

Archive = ZipFile | TarFile


class ArraySource(Protocol):
    """A file that is one array."""

    @property
    def name(self) -> str: ...

    def parts(self) -> Iterator[tuple[str, Path]]:
        """The files that it consists of, by role."""

    def load(self, scratch: Path) -> Arrays:
        """Its arrays; ``scratch`` is an empty folder on a large disk."""


def open_source(source: str) -> Folder | Archive | ArraySource:
    """Find out what ``source`` is. ``FILE/FOLDER`` names a folder inside an archive.

    Raises:
        UndiffuseError: nothing there, or a kind of file that is not known.
    """
    if source in BUILTIN:
        return Digits()
    if not source:  # Path("") would be the current folder
        raise UndiffuseError("expected a folder, a file or a built-in name, got ''; '.' is the current folder")
    path = Path(source).expanduser()
    name = path.name or path.resolve().name
    if path.is_dir():
        return Folder(path, name)
    if path.is_file():
        return _open_file(path, name)
    for above in path.parents:
        if above.is_file():
            inside = path.relative_to(above).as_posix()
            archive = _open_file(above, f"{above.name}/{inside}")
            if isinstance(archive, (ZipFile, TarFile)):
                return type(archive)(above, archive.name, inside)
            break
    raise UndiffuseError(
        f"expected a folder, a file or a built-in name, got '{source}', which does not exist{_near(path)}"
    )


def _near(path: Path) -> str:
    beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    return perhaps(path.name, difflib.get_close_matches(path.name, [*beside, *BUILTIN], n=1) or BUILTIN)


def _open_file(path: Path, name: str) -> Archive | ArraySource:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UndiffuseError(f"expected a file that can be read, got {error.strerror} for {path}") from error
    if not head:
        raise UndiffuseError(f"expected data in {path}, got an empty file")
    if head.startswith(b"\x93NUMPY"):
        return NpyFile(path, name)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return NpzFile(path, name) if _is_npz(path) else ZipFile(path, name)
    with intact("a whole file", str(path)), decompressor(path)(path) as packed:
        unpacked = packed.read(tarfile.BLOCKSIZE)
    if looks_like_idx(unpacked):
        return IdxFile(path, name)
    if unpacked[257:262] == b"ustar" or path.suffix == ".tar":
        return TarFile(path, name)
    if looks_like_image(head):
        raise UndiffuseError(f"expected a data set, got one image, {path}; name the folder that holds your images")
    raise UndiffuseError(f"expected a folder, .zip, .tar, .npz, .npy or idx file, got {path}, which is none of these")


def _is_npz(path: Path) -> bool:
    if path.suffix.lower() == ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except Exception:  # damaged: ZipFile will say how
        return False
