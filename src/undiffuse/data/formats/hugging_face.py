"""Hugging Face's data sets: ``hf:ORG/NAME``, ``hf:ORG/NAME:train``, and folders that ``save_to_disk`` wrote.

The package ``datasets`` finds and fetches; images come out of it as the bytes that were put in, never decoded and
encoded again. No code of a data set is run. With ``--stream`` nothing is fetched beforehand where the set's own
files are parquet or tar: those are then read in place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from undiffuse.data.files.decode import UnreadableError, too_large
from undiffuse.data.formats.format import Format, NamedPath
from undiffuse.data.formats.parquet import class_name, encoded_image, find_columns
from undiffuse.data.formats.records import RUN, Index, Item, Records, cut_runs
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.runtime.durable_files import expanded
from undiffuse.runtime.installing import need

PREFIX = "hf:"
_AT_ONCE = 1 << 12


@dataclass(frozen=True)
class HuggingFaceShard:
    """A table of Hugging Face's, one split of one data set."""

    table: Any
    name: str

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(Path(file["filename"]) for file in self.table.cache_files)

    @cached_property
    def _raw(self) -> tuple[Any, Any]:
        """The table with its images left encoded, and its columns."""
        columns = find_columns(self.table.features.arrow_schema, self.name)
        return self.table.with_format("arrow"), columns

    def index(self) -> Index:
        _, columns = self._raw
        feature = self.table.features.get(columns.label)
        names = tuple(getattr(feature, "names", None) or ())
        labels = [class_name(label, names) for label in self._column(columns.label)]
        texts = [text or "" for text in self._column(columns.text)]
        items = (Item(f"{self.name}/{row}", *said) for row, said in enumerate(zip(labels, texts, strict=True)))
        return Index(tuple(items), ignored=columns.said(self.name))

    def _column(self, name: str) -> list[Any]:
        raw, _ = self._raw
        if not name:
            return [None] * len(raw)
        chosen = raw.select_columns(name)
        return [v for k in range(0, len(chosen), _AT_ONCE) for v in chosen[k : k + _AT_ONCE].column(0).to_pylist()]

    def read(self, numbers: Sequence[int]) -> Iterator[bytes | UnreadableError]:
        raw, columns = self._raw
        chosen = raw.select_columns(columns.image)
        for number in numbers:
            value = chosen[number : number + 1].column(0)[0].as_py()
            yield _fetched(value)

    def runs(self, longest: int) -> list[range]:
        return cut_runs([range(len(self.table))], min(longest, RUN))


def _fetched(value: Any) -> bytes | UnreadableError:
    """The bytes of an image, from the file that an image folder's table points at where it holds none itself."""
    path = value.get("path") if isinstance(value, dict) and value.get("bytes") is None else None
    if path and Path(path).is_absolute() and Path(path).is_file():
        why = too_large(Path(path).stat().st_size)
        return UnreadableError(why) if why else Path(path).read_bytes()
    return encoded_image(value)


def open_hugging_face(source: str) -> Records:
    """The split that ``hf:NAME`` or ``hf:NAME:SPLIT`` names, 'train' by default."""
    name, _, split = source.removeprefix(PREFIX).partition(":")
    with _datasets(name) as datasets:
        folder = expanded(name)
        if is_saved(folder):
            found = datasets.load_from_disk(str(folder))
            found = found if isinstance(found, datasets.DatasetDict) else {split or "train": found}
        else:
            found = datasets.load_dataset(str(folder) if folder.is_dir() else name)
    table = found[_split(name, split, list(found))]
    title = f"{name.rstrip('/').rpartition('/')[2]}-{split}" if split else name.rstrip("/").rpartition("/")[2]
    return Records(title, (HuggingFaceShard(table, split or "train"),))


def _open_word(word: str) -> Records | None:
    return open_hugging_face(word) if word.startswith(PREFIX) else None


def _open_folder(found: NamedPath) -> Records | None:
    return open_hugging_face(f"{PREFIX}{found.path}") if is_saved(found.path) else None


FORMAT = Format(word=_open_word, folder=_open_folder)


def files_of(source: str) -> list[str]:
    """Files of ``hf:NAME:SPLIT``, for a stream: paths, or addresses on the hub."""
    name, _, split = source.removeprefix(PREFIX).partition(":")
    with _datasets(name) as datasets:
        files = datasets.load_dataset_builder(name).config.data_files or {}
    return list(files[_split(name, split, list(files))])


def is_saved(folder: Path) -> bool:
    """True for a folder that ``save_to_disk`` wrote."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def _split(name: str, split: str, there: list[str]) -> str:
    if not split and (len(there) == 1 or "train" in there):
        return there[0] if len(there) == 1 else "train"
    if split not in there:
        close = perhaps(split, there) if split else f"; choose from {', '.join(there)}"
        raise UndiffuseError(f"expected a split after hf:{name}:, got '{split}'{close}")
    return split


@contextmanager
def _datasets(name: str) -> Iterator[Any]:
    if not name:
        raise UndiffuseError("expected a data set's name after 'hf:', got none; type hf:ORG/NAME or hf:ORG/NAME:train")
    need("datasets", f"hf:{name} needs the package datasets, which is not installed", "datasets")
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        yield datasets
    except UndiffuseError:
        raise
    except Exception as error:  # of the network, of the hub, of the file's format: it raises all sorts
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UndiffuseError(
            f"expected a data set hf:{name} that can be reached and needs no code of its own, got: {said}"
        ) from error
