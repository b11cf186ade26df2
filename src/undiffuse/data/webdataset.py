"""Shards as the webdataset library writes them: tar files in which files of one name make one example.

    000017.jpg   000017.cls   000017.txt   000017.json

The image is the file with an image's suffix. The class is ``.cls``, else ``label``, ``class`` or ``cls`` of ``.json``;
the text is ``.txt``, ``.text`` or ``.caption``, else ``text`` or ``caption`` of ``.json``. Whatever else an example
holds is left unread: pickled members (``.pyd``, ``.pkl``, ``.pth``), which the library opens, would run code.

Read by the package's own tar reader rather than by the webdataset package, for three reasons: its names and sizes are
checked like those of any archive here; every record's place is known after one look at the headers, so that a training
goes on in the middle of a shard without reading what lies before it; and grouping by name is twenty lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from undiffuse.data.archive import TarFile, decompressor
from undiffuse.data.damage import intact
from undiffuse.data.decode import UnreadableError
from undiffuse.data.listing import READABLE_SUFFIXES, Entry, Refusal
from undiffuse.data.records import MAX_RECORD, RUN, Index, Item, as_label, cut_runs
from undiffuse.errors import UndiffuseError

CLASS_KEYS = ("label", "class", "cls")
TEXT_KEYS = ("text", "caption")
_TEXT_SUFFIXES = ("txt", "text", "caption")
_NOTES = {"cls", "json", *_TEXT_SUFFIXES}
"""Suffixes of what is said of an image."""
_MAX_NOTE = 1 << 20
_LOOK = 32
"""Members that tell a shard from any other tar file."""


@dataclass(frozen=True)
class TarShard:
    """One tar file of examples, plain or packed."""

    path: Path
    _places: list[tuple[int, int]] = field(default_factory=list, init=False, compare=False, repr=False)
    """Offset and size of each item's image, after `index`."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def index(self) -> Index:
        tar = TarFile(self.path, self.path.name)
        items, images, refused = list[Item](), list[str](), list[Refusal]()
        seen: set[str] = set()
        for example in _examples(tar.entries(), refused):
            name = f"{self.path.name}/{example.key}"
            reason = "occurs more than once in its shard" if name in seen else example.fault()
            if reason:
                refused.append((name, reason))
                continue
            seen.add(name)
            items.append(Item(name, *example.said()))
            images.append(example.images[0])
        places = tar.places()
        self._places[:] = [places[image] for image in images]
        return Index(tuple(items), tuple(refused))

    def read(self, numbers: Sequence[int]) -> Iterator[bytes | UnreadableError]:
        with intact("a whole shard", self.path.name), decompressor(self.path)(self.path) as file:
            for number in numbers:
                offset, size = self._places[number]
                file.seek(offset)
                yield file.read(size)

    def runs(self, longest: int) -> list[range]:
        if not _is_plain(self.path):
            raise UndiffuseError(
                f"expected shards that can be entered in the middle, got the packed {self.path.name}; unpack it to a "
                ".tar first (images hardly shrink), or leave out --stream"
            )
        return cut_runs([range(len(self._places))], min(longest, RUN))


@dataclass
class _Example:
    key: str
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    notes: dict[str, bytes] = field(default_factory=dict)
    problem: str = ""

    def fault(self) -> str:
        """Why this is no example, or ''."""
        if self.problem:
            return self.problem
        if not self.images:
            return f"holds no image ({', '.join(sorted([*self.notes, *self.others])) or 'nothing'})"
        if len(self.images) > 1:
            return f"holds {len(self.images)} images; which one is meant cannot be told"
        return ""

    def said(self) -> tuple[str, str]:
        """Class and text."""
        fields = json.loads(self.notes["json"]) if "json" in self.notes else {}
        label = self.notes["cls"].decode().strip() if "cls" in self.notes else _first(fields, CLASS_KEYS, as_label)
        written = next((self.notes[kind].decode().strip() for kind in _TEXT_SUFFIXES if kind in self.notes), "")
        return label, written or _first(fields, TEXT_KEYS, lambda value: value if isinstance(value, str) else "")


def _first(fields: Any, keys: Sequence[str], words: Any) -> str:
    found = (words(fields[key]) for key in keys if key in fields) if isinstance(fields, dict) else iter(())
    return next(found, "")


def _examples(entries: Iterator[Entry | Refusal], refused: list[Refusal]) -> Iterator[_Example]:
    """Members that follow one another with one key."""
    example: _Example | None = None
    for entry in entries:
        if isinstance(entry, tuple):
            refused.append(entry)
            continue
        key, kind = _split(entry.name)
        if not key:
            continue
        if example is None or example.key != key:
            if example is not None:
                yield example
            example = _Example(key)
        _add(example, kind, entry)
    if example is not None:
        yield example


def _split(name: str) -> tuple[str, str]:
    """'a/0017.seg.png' is the file 'seg.png' of the example 'a/0017'; ('', '') for hidden files."""
    path = PurePosixPath(name)
    stem, _, kind = path.name.partition(".")
    return ((path.parent / stem).as_posix(), kind.lower()) if stem else ("", "")


def _add(example: _Example, kind: str, entry: Entry) -> None:
    if f".{kind.rpartition('.')[2]}" in READABLE_SUFFIXES:
        example.images.append(entry.name)
        if entry.size > MAX_RECORD:
            example.problem = f"has {entry.size >> 20:,} MiB; more than {MAX_RECORD >> 20} are refused"
    elif kind not in _NOTES:
        example.others.append(kind)
    elif entry.size > _MAX_NOTE:
        example.problem = f"has {entry.size:,} bytes of .{kind}; more than {_MAX_NOTE:,} are refused"
    else:
        with entry.open() as file:
            example.notes[kind] = file.read(_MAX_NOTE)
        try:
            text = example.notes[kind].decode()
            if kind == "json":
                json.loads(text)
        except (ValueError, RecursionError) as error:
            example.problem = f"has a .{kind} that cannot be read: {str(error)[:80]}"


def looks_like_shard(path: Path) -> bool:
    """Whether a tar file's first members are images with classes or texts of the same names."""
    images, notes = set[str](), set[str]()
    try:
        for entry in islice(TarFile(path, path.name).entries(), _LOOK):
            key, kind = _split(entry.name) if isinstance(entry, Entry) else ("", "")
            if kind in _NOTES:
                notes.add(key)
            elif f".{kind}" in READABLE_SUFFIXES:
                images.add(key)
    except UndiffuseError:  # damaged: whoever reads it will say how
        return False
    return bool(images & notes)


def _is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        return not file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"))
