"""Many shards under one name: ``shards/{00000..00009}.tar``, ``data/train-*.parquet``, or a folder of either.

Where names or folders say that some shards are of another split (``test-00000.parquet``, ``val/0000.tar``), those of
the training split are taken and the others are set aside and reported, as for folders of images.
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path, PurePosixPath

from undiffuse.data.files.listing import SPLITS, Refusal
from undiffuse.data.files.remote_file import Place, RemoteFile
from undiffuse.data.formats.format import Filling, Format, NamedPath
from undiffuse.data.formats.parquet import ParquetShard
from undiffuse.data.formats.records import Records, Shard
from undiffuse.data.formats.webdataset import TarShard
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.durable_files import expanded

MAX_SHARDS = 1_000_000
TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")
PARQUET_SUFFIXES = (".parquet", ".pq")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def is_pattern(source: str) -> bool:
    """True for a name of several files."""
    return bool(_BRACES.search(source)) or glob.has_magic(source)


def expand(source: str) -> list[Path]:
    """The files of a pattern: ``{00..12}`` and ``{a,b}`` in order, then ``*``, ``?`` and ``[...]`` by alphabet."""
    files = list[Path]()
    for name in _expand_braces(source):
        path = expanded(name)
        found = [path] if path.is_file() else [Path(file) for file in sorted(glob.glob(str(path), recursive=True))]
        if not found:
            raise UndiffuseError(f"expected files named {source}, got none called {name}")
        files += [file for file in found if file.is_file()]
    return files


def _expand_braces(source: str) -> Iterator[str]:
    pieces = _BRACES.split(source)  # text, inside, text, inside, ..., text
    choices = [[piece] if k % 2 == 0 else _choices(piece) for k, piece in enumerate(pieces)]
    count = math.prod(map(len, choices))
    if count > MAX_SHARDS:
        raise UndiffuseError(f"expected at most {MAX_SHARDS:,} shards, got {source}, which names {count:,}")
    return map("".join, product(*choices))


def _choices(inside: str) -> Sequence[str]:
    span = _RANGE.fullmatch(inside)
    if not span:
        return inside.split(",")
    first, last = int(span[1]), int(span[2])
    width = len(span[1]) if span[1].startswith("0") or span[2].startswith("0") else 0
    if not first <= last <= first + MAX_SHARDS:
        raise UndiffuseError(f"expected a range that rises, such as {{00..09}}, got {{{inside}}}")
    return [f"{number:0{width}}" for number in range(first, last + 1)]


def open_shards(files: Sequence[Place], name: str, aside: Sequence[Refusal] = ()) -> Records:
    """Tar or parquet files of one kind as one data set; shards set ``aside`` are reported."""
    kinds = {kind_of(file.name) for file in files}
    if len(kinds) != 1 or None in kinds:
        others = [file.name for file in files if kind_of(file.name) is None]
        got = others[0] if others else " and ".join(sorted(map(str, kinds))) or "nothing"
        raise UndiffuseError(
            f"expected shards of one kind, .tar or .parquet, in {name}, got {got}; name them by a pattern"
        )
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise UndiffuseError(f"expected shards of different names in {name}, got {max(names, key=names.count)} twice")
    return Records(name, tuple(map(_shard, files)), tuple(aside))


def _shard(file: Place) -> Shard:
    if kind_of(file.name) == "parquet":
        return ParquetShard(file)
    if isinstance(file, RemoteFile):
        raise UndiffuseError(
            f"expected parquet files to stream from afar, got {file.name}; leave out `stream`, and it is fetched once"
        )
    return TarShard(file)


def kind_of(name: str) -> str | None:
    """'tar', 'parquet', or None for what is no shard, by the name."""
    lower = name.lower()
    if lower.endswith(TAR_SUFFIXES):
        return "tar"
    return "parquet" if lower.endswith(PARQUET_SUFFIXES) else None


def _open_folder(files: Sequence[Path], found: NamedPath) -> Records:
    """The shards of the training split, by their names below the folder; the others are set aside."""
    names = {file: file.relative_to(found.path) for file in sorted(files)}
    splits = {file: split_of(name) for file, name in names.items()}
    there = sorted(set(splits.values()))
    trains = there if len(there) == 1 else [split for split in there if split in ("train", "training")]
    if len(trains) != 1:
        raise UndiffuseError(
            f"expected one of the splits {', '.join(split or 'none' for split in there)} in {found.name} to be "
            f"'train'; name the shards to learn from by a pattern, such as '{there[-1]}-*{min(files).suffix}'"
        )
    aside = [(str(names[file]), "of another split, set aside") for file in names if splits[file] != trains[0]]
    return open_shards([file for file in names if splits[file] == trains[0]], found.name, aside)


FORMAT = Format(filling=Filling("shard", lambda name: bool(kind_of(name)), lambda count: 100 * count, _open_folder))


def split_of(file: Path | PurePosixPath) -> str:
    """The split that a shard's folders or the beginning of its name speak of; '' where they do not."""
    words = [*(part.lower() for part in file.parts[:-1]), re.split(r"[-_.\d]", file.name.lower())[0]]
    return next((word for word in words if word in SPLITS), "")
