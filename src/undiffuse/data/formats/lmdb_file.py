"""LMDB with one encoded image a key, as LSUN, StyleGAN's tools and many others write them.

The class is the part of the key before the first ``/``, where all keys have one; ``label-000012`` beside
``image-000012`` is that image's text. Values that are pickled Python objects are refused: opening them would run code.

The library maps the file and follows its pointers, and a file that is cut short would end the process. So its length is
held against the number of pages it claims. A file made to mislead could still do harm: open none from strangers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from undiffuse.data.files.decode import UnreadableError, too_large
from undiffuse.data.files.listing import Refusal, looks_like_image
from undiffuse.data.files.read_errors import intact
from undiffuse.data.formats.format import Format, NamedPath
from undiffuse.data.formats.records import RUN, Index, Item, Records, cut_runs
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.installing import need

_MAGIC, _MAGIC_AT = b"\xde\xc0\xef\xbe", 16
_COUNTS = {"length", "num-samples", "num_samples", "__len__", "__keys__", "__length__", "__info__"}
"""Keys of what is said of the whole."""
_NO_IMAGE = "is no image that can be read"


@dataclass(frozen=True)
class LmdbShard:
    """One database: a folder with ``data.mdb``, or a file."""

    path: Path
    _keys: list[bytes] = field(default_factory=list, init=False, compare=False, repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path / "data.mdb",) if self.path.is_dir() else (self.path,)

    def index(self) -> Index:
        found, refused, ignored = list[bytes](), list[Refusal](), list[Refusal]()
        texts: dict[str, str] = {}
        with self._reading() as transaction:
            for key, value in transaction.cursor():
                key, name = bytes(key), bytes(key).decode("utf-8", "backslashreplace")
                if name in _COUNTS:
                    ignored.append((name, "says something of the whole"))
                elif name.startswith("label-") and len(value) <= 1 << 16:
                    texts[name.removeprefix("label-")] = bytes(value).decode("utf-8", "replace")
                elif why := too_large(len(value)):
                    refused.append((name, why))
                elif looks_like_image(bytes(value[:16])):
                    found.append(key)
                elif _is_pickled(value):
                    raise UndiffuseError(
                        f"expected encoded images in {self.path.name}, got a pickled Python object under '{name}', "
                        "which is never opened, since it could run any code; write it anew with the images' own bytes "
                        "(PNG, JPEG) as values"
                    )
                else:
                    refused.append((name, _NO_IMAGE))
        if not found and refused and all(why == _NO_IMAGE for _, why in refused):
            raise UndiffuseError(
                f"expected encoded images (PNG, JPEG) as the values of {self.path.name}, got none: '{refused[0][0]}' "
                "and the others hold raw pixels, other records or named databases, which are not read; write "
                "it anew with one encoded image for each key"
            )
        self._keys[:] = found
        names = [key.decode("utf-8", "backslashreplace") for key in found]
        in_classes = bool(names) and all("/" in name for name in names)
        items = tuple(
            Item(name, name.partition("/")[0] if in_classes else "", texts.get(name.removeprefix("image-"), ""))
            for name in names
        )
        return Index(items, tuple(refused), tuple(ignored))

    def read(self, numbers: Sequence[int]) -> Iterator[bytes | UnreadableError]:
        with self._reading() as transaction:
            for number in numbers:
                value = transaction.get(self._keys[number])
                yield UnreadableError("is gone") if value is None else bytes(value)

    def runs(self, longest: int) -> list[range]:
        return cut_runs([range(len(self._keys))], min(longest, RUN))

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        need("lmdb", "LMDB needs the package lmdb, which is not installed", "lmdb")
        import lmdb

        options = {"readonly": True, "lock": False, "readahead": False, "subdir": self.path.is_dir()}
        with intact("a whole LMDB", self.path.name):
            environment = lmdb.open(str(self.path), **options)
            try:
                pages = environment.info()["last_pgno"] + 1
                if pages * environment.stat()["psize"] > self.files[0].stat().st_size:
                    raise ValueError(f"{pages:,} pages are not there: the file is cut short")
                with environment.begin(buffers=True) as transaction:
                    yield transaction
            finally:
                environment.close()


def _open_folder(found: NamedPath) -> Records | None:
    return Records(found.name, (LmdbShard(found.path),)) if (found.path / "data.mdb").is_file() else None


def _open_file(found: NamedPath) -> Records | None:
    magic = found.head[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)]
    return Records(found.name, (LmdbShard(found.path),)) if magic == _MAGIC else None


FORMAT = Format(folder=_open_folder, file=_open_file)


def _is_pickled(value: Any) -> bool:
    """Pickles of protocol 2 and later begin with 0x80 and the protocol, and end with a dot."""
    return len(value) > 2 and value[0] == 0x80 and value[1] in range(2, 6) and bytes(value[-1:]) == b"."
