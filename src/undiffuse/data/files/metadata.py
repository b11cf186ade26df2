"""``metadata.jsonl`` and ``metadata.csv``: which class each file belongs to, and what is said of it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from undiffuse.errors import UndiffuseError, perhaps

METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
LABEL_COLUMNS = ("label", "class")
TEXT_COLUMN = "text"
NAN_CELLS = ("nan", "NaN")
"""Cells of .csv that say nothing: how Python, NumPy and pandas write NaN there."""
NOT_READ = "is not read: "
"""Begins each remark on what data hold and nobody learns: read, it would give old data another fingerprint."""
_LIKE_LABELS = frozenset({"label", "labels", "class", "classes", "cls", "class_name", "category", "fine_label"})
_LIKE_TEXTS = frozenset({"text", "texts", "caption", "captions", "prompt", "description"})
_LIKE_FILES = ("filename", "file", "image", "name", "path", "file_path", "filepath", "image_path", "id")
LARGEST = 3e38
"""The largest number that can be told, of float32."""


def parse_metadata(name: str, content: bytes) -> dict[str, str] | None:
    """Class names by ``file_name``; None where no row has a label column.

    The layout is that of Hugging Face's image folders: one row per file, ``file_name`` relative to the metadata file,
    and the class in ``label`` or else ``class`` (text or a number). Rows with an empty class (null, '' or NaN) are left
    out.
    """
    labels: dict[str, str] = {}
    has_column = False
    try:
        for number, row in _rows(name, content):
            if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
                raise UndiffuseError(
                    f"expected a 'file_name' in every row of {name}, got none in line {number}{_other_columns(row)}"
                )
            column = next((column for column in LABEL_COLUMNS if column in row), None)
            if column is None:
                continue
            has_column = True
            if _empty(row[column]):
                continue
            if isinstance(row[column], (list, dict)):
                raise UndiffuseError(f"expected one class per file in {name}, got {row[column]!r:.60} in line {number}")
            file, label = _normal(row["file_name"]), str(row[column])
            if labels.setdefault(file, label) != label:
                raise UndiffuseError(
                    f"expected one class per file in {name}, got '{labels[file]}' and '{label}' for '{file}'"
                )
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error, RecursionError) as error:
        raise UndiffuseError(f"expected {name} to be UTF-8 text, one record per line, got: {error}") from error
    return labels if has_column else None


def parse_texts(name: str, content: bytes) -> dict[str, str]:
    """The column ``text`` by ``file_name``; files without a text are left out.

    The rows must be those that `parse_metadata` has accepted.
    """
    texts: dict[str, str] = {}
    for number, row in _rows(name, content):
        text = row.get(TEXT_COLUMN)
        if _empty(text):
            continue
        if not isinstance(text, str):
            raise UndiffuseError(f"expected a text for each file in {name}, got {text!r:.60} in line {number}")
        file = _normal(row["file_name"])
        if texts.setdefault(file, text) != text:
            raise UndiffuseError(f"expected one text per file in {name}, got two for '{file}' (line {number})")
    return texts


def unread(name: str, content: bytes) -> str:
    """Remark on columns that are not read, and how they would be; '' without such.

    The rows must be those that `parse_metadata` has accepted.
    """
    there = dict.fromkeys(str(column) for _, row in _rows(name, content) for column in row)
    return unread_columns([*there], LABEL_COLUMNS, (TEXT_COLUMN,))


def unread_columns(there: Sequence[str], labels: Sequence[str], texts: Sequence[str]) -> str:
    """Remark on columns that look like classes or texts where none is read; '' without such.

    Args:
        there: all columns.
        labels, texts: names under which columns would be read, the best one first; none where nothing is missing.
    """
    said = []
    for names, alike in ((labels, _LIKE_LABELS), (texts, _LIKE_TEXTS)):
        like = next((column for column in there if column.strip().lower() in alike), None)
        if names and like is not None and not any(column in names for column in there):
            said.append(f"its column '{like}'; call it '{names[0]}' to learn from it")
    return f"{NOT_READ}{', and '.join(said)}" if said else ""


def parse_numbers(name: str, content: bytes, columns: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """The numbers in some columns of each file, by ``file_name``; files with an empty cell are left out.

    The rows must be those that `parse_metadata` has accepted.
    """
    rows = list(_rows(name, content))
    there = {str(column) for _, row in rows for column in row}
    for column in columns:
        if column not in there:
            raise UndiffuseError(f"{name} has no column '{column}'{perhaps(column, there)}")
    numbers: dict[str, tuple[float, ...]] = {}
    for line, row in rows:
        cells = [row.get(column) for column in columns]
        if any(map(_empty, cells)):
            continue
        values = tuple(_number(cell, name, line) for cell in cells)
        file = _normal(row["file_name"])
        if numbers.setdefault(file, values) != values:
            raise UndiffuseError(f"expected one row of numbers per file in {name}, got two for '{file}' (line {line})")
    return numbers


def _empty(cell: object) -> bool:
    """True for null, an empty cell, and the NaN that tables write for nothing."""
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def _number(cell: object, name: str, line: int) -> float:
    value = math.nan
    if isinstance(cell, str | int | float) and not isinstance(cell, bool):
        with suppress(ValueError, OverflowError):
            value = float(cell)
    if not abs(value) <= LARGEST:
        raise UndiffuseError(f"expected a number for each file in {name}, got {cell!r:.60} in line {line}")
    return value


def _rows(name: str, content: bytes) -> Iterator[tuple[int, Any]]:
    text = content.decode("utf-8-sig")
    if name.endswith(".csv"):
        reader = csv.DictReader(io.StringIO(text, newline=""))
        for row in reader:
            if any(row.get(None, ())):  # None is DictReader's key of what is beyond the columns
                raise UndiffuseError(
                    f"expected {len(reader.fieldnames or ())} cells in line {reader.line_num} of {name}, as its first "
                    f'line has, got more; put a cell that holds a comma into quotes: "cat, tabby"'
                )
            yield reader.line_num, {name: None if cell in NAN_CELLS else cell for name, cell in row.items()}
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, json.loads(line)


def _other_columns(row: Any) -> str:
    """Advice where no column has the files' names."""
    columns = [column for column in row if isinstance(column, str)] if isinstance(row, dict) else []
    if "file_name" in columns or not columns:
        return ""
    if len(columns) == 1 and (mark := next((mark for mark in ";\t|" if mark in columns[0]), "")):
        return f"; its cells are parted by {mark!r}: save it with commas, file_name,label in the first line"
    like = next((column for column in columns if column.strip().lower() in ("file_name", *_LIKE_FILES)), None)
    few = ", ".join(columns[:6])
    return f"; call the column '{like}' file_name" if like else f"; its columns are {few}: call one of them file_name"


def _normal(name: str) -> str:
    """The one name of './a\\b.png' and 'a/b.png'."""
    return PurePosixPath(name.replace("\\", "/")).as_posix()
