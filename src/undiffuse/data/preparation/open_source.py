"""What the user named: a built-in set, a folder, or a file of one of the known kinds, told by its content."""

from __future__ import annotations

import difflib
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from undiffuse.data.files.archive import TarFile, ZipFile, decompressor
from undiffuse.data.files.folder import Folder
from undiffuse.data.files.listing import is_image, looks_like_image
from undiffuse.data.files.read_errors import intact
from undiffuse.data.files.records import Records
from undiffuse.data.formats.arrays import Arrays, NpyFile, NpzFile
from undiffuse.data.formats.builtin import BUILTIN, Digits
from undiffuse.data.formats.cifar import Cifar, is_cifar_archive, is_cifar_folder
from undiffuse.data.formats.hugging_face import PREFIX, is_saved, open_hugging_face
from undiffuse.data.formats.idx import IdxFile, looks_like_idx
from undiffuse.data.formats.lmdb_file import MAGIC, MAGIC_AT, LmdbShard
from undiffuse.data.formats.parquet import ParquetShard
from undiffuse.data.formats.shards import expand, is_pattern, kind_of, open_shards, training_shards
from undiffuse.data.formats.tiff_pages import TiffPages
from undiffuse.data.formats.video import Videos, is_video
from undiffuse.data.formats.volumes import Volumes, has_pages, is_volume, suffix_of
from undiffuse.data.formats.webdataset import TarShard, looks_like_shard
from undiffuse.data.preparation.named import builtin_name
from undiffuse.errors import UndiffuseError, counted, perhaps, quoted
from undiffuse.provenance.own_pictures import is_run, values_beside
from undiffuse.runtime.durable_files import expanded

_SURELY_IMAGES = 10_000
"""Images above which a folder is one of images, whatever else is in it."""
_IMAGES_OF_A_SHARD = 100
"""Fewer images for each shard beside them are taken for previews."""
_NEVER_OPENED = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
"""Suffixes of pickles, bare or in a zip file."""
Archive = ZipFile | TarFile


class ArraySource(Protocol):
    """A file that is one array."""

    @property
    def name(self) -> str: ...

    def parts(self) -> Iterator[tuple[str, Path]]:
        """The files that it consists of, by role."""

    def load(self, scratch: Path) -> Arrays:
        """Its arrays; ``scratch`` is an empty folder on a large disk."""


def open_source(source: str) -> Folder | Archive | Records | ArraySource:
    """Find out what ``source`` is. ``FILE/FOLDER`` names a folder inside an archive; docs/data.md has all kinds.

    Raises:
        UndiffuseError: nothing there, or a kind of file that is not known.
    """
    if builtin_name(source):
        return Digits()
    if source.startswith(PREFIX):
        return open_hugging_face(source)
    if not source:  # Path("") would be the current folder
        raise UndiffuseError("expected a folder, a file or a built-in name, got ''; '.' is the current folder")
    path = expanded(source)
    name = path.name or path.resolve().name
    if path.is_dir():
        return _open_folder(path, name)
    if path.is_file():
        return _open_file(path, name)
    if is_pattern(source):
        return open_shards(expand(source), name)
    for above in path.parents:
        if above.is_file():
            inside = path.relative_to(above).as_posix()
            archive = _open_file(above, f"{above.name}/{inside}")
            if isinstance(archive, (ZipFile, TarFile)):
                return type(archive)(above, archive.name, inside)
            if isinstance(archive, Cifar) and inside in ("train", "test"):
                return Cifar(above, archive.name, inside)
            break
        if above.is_dir() and path.name in ("train", "test") and is_cifar_folder(path.parent):
            return Cifar(path.parent, f"{path.parent.name}/{path.name}", path.name)
    raise UndiffuseError(
        f"expected a folder, a file or a built-in name, got '{source}', which does not exist{_near(path)}"
    )


def _near(path: Path) -> str:
    beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    return perhaps(path.name, difflib.get_close_matches(path.name, [*beside, *BUILTIN], n=1) or BUILTIN)


def _open_folder(path: Path, name: str) -> Folder | Records | Cifar:
    """What a folder is, by the names of its files: any image makes it a folder of images."""
    if values := values_beside(path):
        raise UndiffuseError(
            f"expected the values of samples in {path}, got pictures of them to be looked at; name the file that has "
            f"the values: {values}"
        )
    if is_run(path) and (path / "config.yaml").is_file():
        raise UndiffuseError(
            f"expected data, got {path}, which is a run and holds pictures for the eye alone: draw samples with "
            f"undiffuse sample {quoted(path)}, and name the folder that they are in"
        )
    if is_cifar_folder(path):
        return Cifar(path, name)
    if (path / "data.mdb").is_file():
        return Records(name, (LmdbShard(path),))
    if is_saved(path):
        return open_hugging_face(f"{PREFIX}{path}")
    shards, images, others = list[Path](), list[Path](), Counter[type[Folder]]()
    for file in _files(path):
        if is_image(file.name) and not (suffix_of(file.name) in (".tif", ".tiff") and not images and _has_pages(file)):
            images.append(file)
            if len(images) > _SURELY_IMAGES:
                return Folder(path, name)
        elif kind_of(file):
            shards.append(file)
        elif is_video(file.name):
            others[Videos] += 1
        elif is_volume(file.name):
            others[Volumes] += 1
    if images:
        _check_strays(images, {"shard": len(shards), "video": others[Videos], "volume": others[Volumes]}, path)
        return Folder(path, name)
    if len(others) + bool(shards) > 1:
        raise UndiffuseError(f"expected data of one kind in {name}, got several (shards, videos or volumes); name one")
    if shards:
        chosen, aside = training_shards(sorted(shards), path, name)
        return open_shards(chosen, name, aside)
    return next(iter(others))(path, name) if others else Folder(path, name)


def _check_strays(images: list[Path], others: dict[str, int], path: Path) -> None:
    """A few pictures beside shards, videos or volumes are previews: which are meant, only the user knows.

    Raises:
        UndiffuseError: so it looks.
    """
    least = {"shard": _IMAGES_OF_A_SHARD * others["shard"], "video": others["video"], "volume": others["volume"] - 1}
    noun = next((noun for noun in others if len(images) <= least[noun]), None)
    if noun is None:
        return
    image = images[0].relative_to(path)
    raise UndiffuseError(
        f"expected data of one kind in {path}, got {counted(others[noun], noun)} and "
        f"{counted(len(images), 'image')} ({image}); move the ones or the others away"
    )


def _has_pages(file: Path) -> bool:
    with file.open("rb") as content:
        return has_pages(content)


def _files(path: Path) -> Iterator[Path]:
    """Files below a folder; hidden ones, and those that are no regular ones, left out."""
    for folder, inner, names in os.walk(path):
        inner[:] = [name for name in inner if not name.startswith(".")]
        yield from (file for name in names if not name.startswith(".") and (file := Path(folder, name)).is_file())


def _open_file(path: Path, name: str) -> Folder | Archive | Records | ArraySource:
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise UndiffuseError(f"expected a file that can be read, got {error.strerror} for {path}") from error
    if not head:
        raise UndiffuseError(f"expected data in {path}, got an empty file")
    if head.startswith(b"\x93NUMPY"):
        return NpyFile(path, name)
    if head.startswith(b"PAR1"):
        return Records(name, (ParquetShard(path),))
    if head[MAGIC_AT : MAGIC_AT + 4] == MAGIC:
        return Records(name, (LmdbShard(path),))
    if is_video(name):
        return Videos(path, name)
    if path.suffix.lower() in _NEVER_OPENED:
        raise UndiffuseError(
            f"expected data that hold no code, got {path}, which is never opened; save its array as an .npz: "
            "np.savez('data.npz', x=array)"
        )
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return NpzFile(path, name) if _is_npz(path) else ZipFile(path, name)
    with intact("a whole file", str(path)), decompressor(path)(path) as packed:
        unpacked = packed.read(tarfile.BLOCKSIZE)
    if looks_like_idx(unpacked):
        return IdxFile(path, name)
    if unpacked[257:262] == b"ustar" or path.suffix == ".tar":
        return _open_tar(path, name)
    if looks_like_image(head):
        with path.open("rb") as file:
            if has_pages(file):
                return TiffPages(path, name)
        raise UndiffuseError(f"expected a data set, got one image, {path}; name the folder that holds your images")
    if is_volume(name):
        raise UndiffuseError(f"expected a data set, got one volume, {path}; name the folder that holds your volumes")
    raise UndiffuseError(
        "expected a folder, or a .zip, .tar, .npz, .npy, idx, parquet, LMDB, TIFF or video file, "
        f"got {path}, which is none of these"
    )


def _open_tar(path: Path, name: str) -> TarFile | Records | Cifar:
    if is_cifar_archive(path):
        return Cifar(path, name)
    return Records(name, (TarShard(path),)) if looks_like_shard(path) else TarFile(path, name)


def _is_npz(path: Path) -> bool:
    if path.suffix.lower() == ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            return bool(names) and all(name.endswith(".npy") for name in names)
    except Exception:  # damaged: ZipFile will say how
        return False
