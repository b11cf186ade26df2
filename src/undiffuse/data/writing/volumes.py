"""Files that are arrays of more than two axes (volumes, videos) into the cache, in two passes like images.

The first pass asks every file what it holds; files that do not agree are counted and said before anything is read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from undiffuse.config.data import DataConfig
from undiffuse.data.crops import CUTS
from undiffuse.data.dataset import RowWriter
from undiffuse.data.files.decode import UnreadableError, quiet_pillow
from undiffuse.data.files.listing import FileEntry, Files, Listing, Refusal
from undiffuse.data.source import Draft, WrittenSamples
from undiffuse.data.writing.agreement import check_bad
from undiffuse.data.writing.listed import listed, survey
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.cache import need_space


@dataclass(frozen=True)
class SampleLayout:
    """Shape, type and number of the samples of a file."""

    shape: tuple[int, ...]
    """(channels, *spatial)."""
    dtype: str
    count: int = 1
    """Samples in the file, as its header says."""


class SampleReader(Protocol):
    """A reader of files of one kind."""

    noun: str
    several: bool
    """True where a file may hold several samples."""

    def look(self, entry: FileEntry) -> SampleLayout:
        """The form that the header claims. Raises `UnreadableError`."""

    def read(self, entry: FileEntry, form: SampleLayout) -> Iterator[NDArray[Any]]:
        """The samples, of this form. Raises `UnreadableError`."""


def write_samples(files: Files, listing: Listing, reader: SampleReader, draft: Draft) -> WrittenSamples:
    with quiet_pillow():
        forms, failed = survey(files, listing, reader.look, draft)
        refused = [*listing.refused, *((name, str(error)) for name, error in failed)]
        check_bad(files.name, len(forms), refused, listing, draft.config)
        form = _agree(files.name, forms, reader.noun)
        samples = sum(one.count for one in forms.values())
        need_space(draft.folder, samples * math.prod(form.shape) * np.dtype(form.dtype).itemsize)
        names, owners, broken = _write(files, forms, form, reader, draft)
    refused += broken
    check_bad(files.name, len(set(owners)), refused, listing, draft.config)
    return WrittenSamples.of_files(listing, draft.config.vectors, names, owners, refused)


def check_uncut(config: DataConfig, source: str) -> None:
    """Raises `UndiffuseError` for settings that cut parts out of images."""
    if config.crop in CUTS:
        raise UndiffuseError(f"`crop={config.crop}` is for images, and {source} has none; take `crop=center`")


def _agree(source: str, forms: dict[str, SampleLayout], noun: str) -> SampleLayout:
    kinds = Counter((form.shape, form.dtype) for form in forms.values())
    if len(kinds) > 1:
        found = ", ".join(
            f"{count} of {' x '.join(map(str, shape))} {dtype}" for (shape, dtype), count in kinds.most_common(3)
        )
        more = f" and {len(kinds) - 3} more kinds" if len(kinds) > 3 else ""
        raise UndiffuseError(
            f"expected {noun} of one shape and type in {source}, got {found}{more}; resample or crop them alike, or "
            "keep each kind in its own folder"
        )
    return next(iter(forms.values()))


def _write(
    files: Files, forms: dict[str, SampleLayout], form: SampleLayout, reader: SampleReader, draft: Draft
) -> tuple[list[str], list[str], list[Refusal]]:
    names, owners, refused = list[str](), list[str](), list[Refusal]()
    with (
        RowWriter(draft.folder / "images.npy", form.dtype, form.shape) as rows,
        draft.bar("Preparing", "file", len(forms)) as progress,
    ):
        for entry in listed(files, forms):
            try:
                for number, sample in enumerate(reader.read(entry, forms[entry.name])):
                    if sample.shape != form.shape or sample.dtype != form.dtype:
                        raise UnreadableError(f"gives {sample.shape} of {sample.dtype}, which its header does not say")
                    rows.write(sample[None])
                    names.append(f"{entry.name}#{number}" if reader.several else entry.name)
                    owners.append(entry.name)
            except UnreadableError as error:
                refused.append((entry.name, str(error)))
            progress.update()
    return names, owners, refused
