"""All formats of data, one line for each; they are asked in this order whether something is theirs."""

from __future__ import annotations

from collections.abc import Sequence

from undiffuse.data.formats import (
    archive,
    arrays,
    builtin,
    cifar,
    hugging_face,
    idx,
    lmdb_file,
    parquet,
    pickles,
    shards,
    tiff_pages,
    video,
    volumes,
    webdataset,
)
from undiffuse.data.formats.format import Format, NamedPath
from undiffuse.data.formats.registered import Load, RegisteredFile
from undiffuse.errors import UndiffuseError

FORMATS: list[Format] = [
    builtin.FORMAT,
    arrays.NPY,
    parquet.FORMAT,
    lmdb_file.FORMAT,
    shards.FORMAT,
    video.FORMAT,
    volumes.FORMAT,
    pickles.FORMAT,  # before zip files, which some of them are
    arrays.NPZ,
    idx.FORMAT,
    cifar.FORMAT,  # before other tar files
    hugging_face.FORMAT,
    webdataset.FORMAT,
    archive.FORMAT,
    tiff_pages.FORMAT,
]


def register_format(name: str, suffixes: Sequence[str], load: Load) -> None:
    """Make files of some endings known as data: to `undiffuse.train`, on the command line and in the studio.

    Args:
        name: of the format; part of the fingerprints of such data, so it never changes.
        suffixes: the ends of its files' names, such as ``.blob``; registered formats are asked before the others.
        load: see `registered.RegisteredFile`.

    Raises:
        UndiffuseError: the name is taken, or an ending is none.
    """
    if (before := _registered.get(name)) and before.__qualname__ != load.__qualname__:
        raise UndiffuseError(f"There is a data format '{name}' already: register yours under another name")
    if not suffixes or not all(suffix.startswith(".") and len(suffix) > 1 for suffix in suffixes):
        raise UndiffuseError(f"The endings of a data format begin with a point, such as '.blob'; got {list(suffixes)}")

    def open_file(found: NamedPath) -> RegisteredFile | None:
        known = found.path.name.lower().endswith(tuple(suffixes))
        return RegisteredFile(found.path, found.name, format_name=name, read=load) if known else None

    if name not in _registered:
        FORMATS.insert(0, Format(file=open_file))
    _registered[name] = load


_registered: dict[str, Load] = {}
