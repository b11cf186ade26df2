"""Parquet files with a column of encoded images, as Hugging Face, img2dataset and pandas write them.

The image column is the one called ``image``, ``img``, ``jpg``, ``png`` or ``bytes``, or else the only one of a fitting
type: Hugging Face's ``{bytes, path}``, or plain binary values. Classes are in ``label``, ``class``, ``cls`` or
``fine_label`` (numbers get their names where Hugging Face's schema has them), texts in ``text`` or ``caption``. Files
with several rows of images at once are read piece by piece, never as a whole.

A file's footer says how many rows and bytes there are. It is checked against the file before anything is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from undiffuse.data.files.decode import UnreadableError, too_large
from undiffuse.data.files.listing import Refusal
from undiffuse.data.files.metadata import NOT_READ, unread_columns
from undiffuse.data.files.read_errors import intact
from undiffuse.data.files.remote_file import Place, RemoteFile, size_of
from undiffuse.data.formats.archive import most_unpacked
from undiffuse.data.formats.format import Format, NamedPath
from undiffuse.data.formats.records import Index, Item, Records, as_label, cut_runs
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.installing import need

IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes")
LABEL_COLUMNS = ("label", "class", "cls", "fine_label", "labels")
TEXT_COLUMNS = ("text", "caption")
_BINARY = ("binary", "large_binary", "binary_view")


@dataclass(frozen=True)
class Columns:
    """Names of the columns by what they hold; '' for none."""

    image: str
    label: str
    text: str
    class_names: tuple[str, ...] = ()
    """Names of the classes, of a label column of numbers."""
    unread: str = ""
    """Remark on what looks like classes or texts and is not read; '' without such."""

    def said(self, name: str) -> tuple[Refusal, ...]:
        """The remark, as something left out of the file ``name``."""
        return ((f"a part of {name}", self.unread),) if self.unread else ()


@dataclass(frozen=True)
class ParquetShard:
    path: Place

    @property
    def files(self) -> tuple[Place, ...]:
        return (self.path,)

    @cached_property
    def _groups(self) -> list[range]:
        with self._open() as file:
            ends = [0]
            for number in range(file.num_row_groups):
                ends.append(ends[-1] + file.metadata.row_group(number).num_rows)
        return [range(a, b) for a, b in pairwise(ends)]

    def index(self) -> Index:
        with self._open() as file:
            columns = find_columns(file.schema_arrow, self.path.name)
            wanted = [name for name in (columns.label, columns.text) if name]
            rows = file.metadata.num_rows
            said = columns.said(self.path.name)
            if not wanted:
                return Index(tuple(Item(f"{self.path.name}/{row}") for row in range(rows)), ignored=said)
            items = list[Item]()
            for batch in file.iter_batches(batch_size=1 << 12, columns=wanted):
                values = {name: batch.column(name).to_pylist() for name in wanted}
                labels, texts = values.get(columns.label), values.get(columns.text)
                for row in range(batch.num_rows):
                    label = class_name(labels[row], columns.class_names) if labels else ""
                    text = texts[row] if texts and isinstance(texts[row], str) else ""
                    items.append(Item(f"{self.path.name}/{len(items)}", label, text))
        return Index(tuple(items), ignored=said)

    def read(self, numbers: Sequence[int]) -> Iterator[bytes | UnreadableError]:
        wanted, groups = list(numbers), self._groups
        with self._open() as file:
            column = find_columns(file.schema_arrow, self.path.name).image
            for number, rows in enumerate(groups):
                mine = [k for k in wanted if k in rows]
                if mine:
                    yield from self._group(file, number, column, [k - rows.start for k in mine])

    def _group(self, file: Any, group: int, column: str, rows: list[int]) -> Iterator[bytes | UnreadableError]:
        start, place = 0, 0
        for batch in file.iter_batches(batch_size=16, row_groups=[group], columns=[column]):
            values = batch.column(0)
            while place < len(rows) and rows[place] < start + batch.num_rows:
                yield encoded_image(values[rows[place] - start].as_py())
                place += 1
            start += batch.num_rows
            if place == len(rows):
                return

    def runs(self, longest: int) -> list[range]:
        return cut_runs(self._groups, longest)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        need("pyarrow", "parquet files need pyarrow, which is not installed", "parquet")
        import pyarrow.parquet as parquet

        with (
            intact("a whole parquet file", self.path.name),
            self.path.open() if isinstance(self.path, RemoteFile) else nullcontext(self.path) as source,
            parquet.ParquetFile(source) as file,
        ):
            size, claimed = size_of(self.path), file.metadata
            unpacked = sum(claimed.row_group(k).total_byte_size for k in range(claimed.num_row_groups))
            if claimed.num_rows > size or unpacked > most_unpacked(size):
                raise UndiffuseError(
                    f"expected images in {self.path.name}, got {size:,} bytes that claim to be {claimed.num_rows:,} "
                    f"rows of {unpacked >> 20:,} MiB; leave this file out"
                )
            yield file


def _open_file(found: NamedPath) -> Records | None:
    return Records(found.name, (ParquetShard(found.path),)) if found.head.startswith(b"PAR1") else None


FORMAT = Format(file=_open_file)


def encoded_image(value: Any) -> bytes | UnreadableError:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        where = value.get("path") if isinstance(value, dict) else None
        return UnreadableError(f"has the path '{where}' and no bytes" if where else "is empty")
    why = too_large(len(data))
    return UnreadableError(why) if why else data


def class_name(value: Any, names: tuple[str, ...]) -> str:
    """The class that a cell of a label column means; '' for none, as Hugging Face's -1 does."""
    if names and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else ""
    return as_label(value)


def find_columns(schema: Any, name: str) -> Columns:
    """Images, classes and texts by the columns' names and types."""
    fields = {field.name: field.type for field in schema}
    fitting = [column for column, kind in fields.items() if _holds_images(kind)]
    image = next((column for column in IMAGE_COLUMNS if column in fitting), "")
    if not image and len(fitting) == 1:
        image = fitting[0]
    if not image:
        raise UndiffuseError(
            f"expected a column 'image' of encoded images (binary, or {{bytes, path}}) in {name}, got the columns "
            + ", ".join(f"{column} ({kind})" for column, kind in list(fields.items())[:8])
        )
    label = next((column for column in LABEL_COLUMNS if column in fields and _is_class(fields[column])), "")
    text = next((column for column in TEXT_COLUMNS if column in fields and _is_text(fields[column])), "")
    names = _class_names(schema.metadata, label) if label and _is_a(fields[label], "integer") else ()
    return Columns(image, label, text, names, _unread(fields, label, text))


def _unread(fields: dict[str, Any], label: str, text: str) -> str:
    said = []
    for found, names, what in (
        (label, LABEL_COLUMNS, "classes are words or whole numbers: pandas' astype('Int64') or astype(str) makes such"),
        (text, TEXT_COLUMNS, "a text is one string for each row"),
    ):
        column = next((column for column in names if column in fields), "")
        if not found and column:
            said.append(f"its column '{column}' of {fields[column]!s:.40}; {what}")
    others = [column for column in fields if column not in (*LABEL_COLUMNS, *TEXT_COLUMNS)]
    alike = unread_columns(
        others, LABEL_COLUMNS[:1] if not label else (), TEXT_COLUMNS[:1] if not text else ()
    ).removeprefix(NOT_READ)
    said += [alike] if alike and not said else []
    return f"{NOT_READ}{', and '.join(said)}" if said else ""


def _is_a(kind: Any, *families: str) -> bool:
    """True for a type of one of these families, by pyarrow's names."""
    from pyarrow import types

    return any(getattr(types, f"is_{family}")(kind) for family in families)


def _holds_images(kind: Any) -> bool:
    if _is_a(kind, "struct"):
        fields = [kind.field(k) for k in range(kind.num_fields)]
        return any(field.name == "bytes" and _is_a(field.type, *_BINARY) for field in fields)
    return _is_a(kind, *_BINARY)


def _is_text(kind: Any) -> bool:
    return _is_a(kind.value_type if _is_a(kind, "dictionary") else kind, "string", "large_string", "string_view")


def _is_class(kind: Any) -> bool:
    return _is_text(kind) or _is_a(kind, "integer")


def _class_names(metadata: Any, column: str) -> tuple[str, ...]:
    """Names of Hugging Face's ClassLabel, which it keeps as JSON beside the schema; empty where there are none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (TypeError, KeyError, ValueError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()
