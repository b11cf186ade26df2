"""Shards as the webdataset library writes them: tar files in which files of one name make one example.

    000017.jpg   000017.cls   000017.txt   000017.json

An example's name ends at its first dot, as the library has it; at the last one in shards where only so the notes have
images of their names (``photo.v1.0017.jpg``). Its files need not follow one another: ``tar`` of ``*.jpg *.cls`` has all
images first. The image is the file with an image's suffix. The class is ``.cls``, else ``label``, ``class`` or ``cls``
of ``.json``; the text is ``.txt``, ``.text`` or ``.caption``, else ``text`` or ``caption`` of ``.json``. Whatever else
an example holds is left unread: pickled members (``.pyd``, ``.pkl``, ``.pth``), which the library opens, would run
code.

Read by the package's own tar reader rather than by the webdataset package, for three reasons: its names and sizes are
checked like those of any archive here; every record's place is known after one look at the headers, so that a training
goes on in the middle of a shard without reading what lies before it; and grouping by name is twenty lines.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from undiffuse.data.files.decode import UnreadableError, too_large
from undiffuse.data.files.decompress import decompressor
from undiffuse.data.files.listing import READABLE_SUFFIXES, FileEntry, Refusal
from undiffuse.data.files.metadata import NOT_READ, unread_columns
from undiffuse.data.files.read_errors import intact
from undiffuse.data.formats.archive import TarFile
from undiffuse.data.formats.format import Format, NamedPath, is_tar
from undiffuse.data.formats.records import RUN, Index, Item, Records, as_label, cut_runs, no_label
from undiffuse.errors import UndiffuseError

CLASS_KEYS = ("label", "class", "cls")
TEXT_KEYS = ("text", "caption")
_TEXT_SUFFIXES = ("txt", "text", "caption")
_NOTES = {"cls", "json", *_TEXT_SUFFIXES}
"""Suffixes of what is said of an image."""
_MAX_NOTE = 1 << 20
_LOOK = 32
"""Members that tell a shard from any other tar file."""
_LOOK_FOR_CLASSES, _LOOK_PACKED = 10_000, 2_000
"""Members after which no more classes are sought; of packed files everything before them has to be unpacked."""


@dataclass(frozen=True)
class TarShard:
    path: Path
    _places: list[tuple[int, int]] = field(default_factory=list, init=False, compare=False, repr=False)
    """Offset and size of each item's image; filled by `index`."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def index(self) -> Index:
        tar = TarFile(self.path, self.path.name)
        items, images, refused = list[Item](), list[str](), list[Refusal]()
        seen: set[str] = set()
        unread = ""
        examples = _joined(_examples(tar.entries(), refused, _ends_at_last_dot(self.path)))
        places = tar.places()
        examples.sort(key=lambda example: places[example.images[0]][0] if example.images else -1)
        for example in examples:
            name = f"{self.path.name}/{example.key}"
            reason = "occurs more than once in its shard" if name in seen else example.fault()
            if reason:
                refused.append((name, reason))
                continue
            seen.add(name)
            items.append(Item(name, *example.said()))
            images.append(example.images[0])
            unread = unread or (example.unread() if not items[-1].label else "")
        self._places[:] = [places[image] for image in images]
        return Index(tuple(items), tuple(refused), ((f"a part of {self.path.name}", unread),) if unread else ())

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
                ".tar first (images hardly shrink), or leave out `stream`"
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
        """The reason why this is no example, or ''."""
        if self.problem:
            return self.problem
        if not self.images:
            return f"holds no image ({', '.join(sorted([*self.notes, *self.others])) or 'nothing'})"
        if len(self.images) > 1:
            return f"holds {len(self.images)} images; which one is meant cannot be told"
        return ""

    @property
    def fields(self) -> dict[str, Any]:
        """The contents of the .json, which is parsed each time."""
        return _fields(self.notes.get("json", b"{}"))

    def lacks(self, other: _Example) -> bool:
        """True where the other one has the image of these notes, or the notes of this image."""
        return bool(self.images) != bool(other.images) and not self.notes.keys() & other.notes.keys()

    def take(self, other: _Example) -> None:
        self.images += other.images
        self.others += other.others
        self.notes |= other.notes
        self.problem = self.problem or other.problem

    def unread(self) -> str:
        """Remark on what the .json has in the place of a class; '' without such."""
        fields = self.fields
        key = next((key for key in CLASS_KEYS if key in fields), "")
        if key and (why := no_label(fields[key])):
            return f"{NOT_READ}'{key}' of its .json, {why}"
        return unread_columns([*fields], CLASS_KEYS, ()).replace("its column", "the .json's")

    def said(self) -> tuple[str, str]:
        fields = self.fields
        label = self.notes["cls"].decode().strip() if "cls" in self.notes else _first(fields, CLASS_KEYS, as_label)
        written = next((self.notes[kind].decode().strip() for kind in _TEXT_SUFFIXES if kind in self.notes), "")
        return label, written or _first(fields, TEXT_KEYS, lambda value: value if isinstance(value, str) else "")


def _first(fields: dict[str, Any], keys: Sequence[str], words: Callable[[Any], str]) -> str:
    return next((words(fields[key]) for key in keys if key in fields), "")


def _fields(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    return found if isinstance(found, dict) else {}


def _joined(examples: Iterator[_Example]) -> list[_Example]:
    """Examples whose image and notes lie apart become one."""
    found, by_key = list[_Example](), dict[str, _Example]()
    for example in examples:
        before = by_key.get(example.key)
        if before is not None and before.lacks(example):
            before.take(example)
        else:
            by_key.setdefault(example.key, example)
            found.append(example)
    return found


def _examples(
    entries: Iterator[FileEntry | Refusal], refused: list[Refusal], last_dot: bool = False
) -> Iterator[_Example]:
    """Members that follow one another with one key."""
    example: _Example | None = None
    for entry in entries:
        if isinstance(entry, tuple):
            refused.append(entry)
            continue
        key, kind = _split(entry.name, last_dot)
        if not key:
            continue
        if example is None or example.key != key:
            if example is not None:
                yield example
            example = _Example(key)
        _add(example, kind, entry)
    if example is not None:
        yield example


def _split(name: str, last_dot: bool = False) -> tuple[str, str]:
    """'a/0017.seg.png' is the file 'seg.png' of the example 'a/0017'; ('', '') for hidden files."""
    path = PurePosixPath(name)
    stem, _, kind = (
        path.name.rpartition(".") if last_dot and not path.name.startswith(".") else path.name.partition(".")
    )
    return ((path.parent / stem).as_posix(), kind.lower()) if stem else ("", "")


def _add(example: _Example, kind: str, entry: FileEntry) -> None:
    if f".{kind.rpartition('.')[2]}" in READABLE_SUFFIXES:
        example.images.append(entry.name)
        example.problem = too_large(entry.size) or example.problem
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


def _open(found: NamedPath) -> Records | None:
    shard = is_tar(found) and _look(found.path) is not None
    return Records(found.name, (TarShard(found.path),)) if shard else None


FORMAT = Format(file=_open)


def _ends_at_last_dot(path: Path) -> bool:
    """True where names end at their last dot; quick where the first ones have one dot each."""
    with intact("a whole shard", path.name):
        names = [
            entry.name for entry in islice(TarFile(path, path.name).entries(), _LOOK) if isinstance(entry, FileEntry)
        ]
    return any(PurePosixPath(name).name.count(".") > 1 for name in names) and _look(path) is True


def _look(path: Path) -> bool | None:
    """True where names end at their last dot, False for their first one, None where no notes go with the images.

    Where the first members are images alone, the ones after them are looked at for classes: all images may come first.

    Among the first members any note decides, and so does one of an image in no folder; among later ones in folders a
    class does, for texts may lie beside the images of a class.
    """
    most = _LOOK_FOR_CLASSES if _is_plain(path) else _LOOK_PACKED
    looks = {last: _Look() for last in (False, True)}
    try:
        for number, entry in enumerate(islice(TarFile(path, path.name).entries(), most), start=1):
            for last, look in looks.items():
                if isinstance(entry, FileEntry):
                    look.add(*_split(entry.name, last), entry, early=number <= _LOOK)
            if number >= _LOOK and any(look.fits for look in looks.values()):
                break
    except UndiffuseError:  # damaged: whoever reads it will say how
        return None
    return next((last for last, look in looks.items() if look.fits), None)


@dataclass
class _Look:
    """Names of images and of notes so far, and whether some are of one example."""

    images: Counter[str] = field(default_factory=Counter)
    notes: set[str] = field(default_factory=set)
    both: set[str] = field(default_factory=set)

    @property
    def fits(self) -> bool:
        return any(self.images[key] == 1 for key in self.both)

    def add(self, key: str, kind: str, entry: FileEntry, early: bool) -> None:
        if kind == "cls" or (kind in _NOTES and (early or "/" not in key or (kind == "json" and _says_class(entry)))):
            self.notes.add(key)
            self.both |= {key} & self.images.keys()
        elif f".{kind.rpartition('.')[2]}" in READABLE_SUFFIXES:
            self.images[key] += 1
            self.both |= {key} & self.notes


def _says_class(entry: FileEntry) -> bool:
    """True for a .json that has a class; what lies beside images in folders need not be of them."""
    if entry.size > _MAX_NOTE:
        return False
    try:
        with entry.open() as file:
            return bool(_first(_fields(file.read(_MAX_NOTE)), CLASS_KEYS, as_label))
    except (OSError, ValueError, RecursionError, UndiffuseError):
        return False


def _is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        return not file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"))
