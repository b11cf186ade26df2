"""A prepared data set, and the folder it lives in."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.data.crops import PLACES, SAMPLE, Crops, Cut, read_cut
from undiffuse.data.files.listing import Refusal
from undiffuse.data.info import DataInfo
from undiffuse.data.pairs import Pairs
from undiffuse.data.source import WrittenSamples


@dataclass(frozen=True)
class Dataset:
    """Samples of one shape in a memory-mapped array: opening it costs nothing, and processes share its pages."""

    info: DataInfo
    images: np.memmap[Any, np.dtype[Any]]
    """(N, C, *spatial) of ``info.dtype``, read-only; with `crop=random` `Crops`, which give the middles."""
    labels: NDArray[np.int64] | None
    """(N,), indices into ``info.classes``; None without classes."""
    refused: tuple[Refusal, ...]
    """Files that were meant as data and cannot be used: (name, reason)."""
    ignored: tuple[Refusal, ...]
    """Files that are no images, and splits set aside: (name, reason)."""
    path: Path
    """The folder in the cache; its ``refused.txt`` lists both of the above."""
    pairs: Pairs | None = None
    """The pictures that go with the samples."""
    cut: Cut | None = None
    """The cut that made the samples of larger images, if one did."""

    def __len__(self) -> int:
        return self.info.count

    def name_of(self, index: int) -> str:
        """The file that sample ``index`` came from, or its number in an array."""
        return self.names()[index]

    def names(self) -> list[str]:
        """`name_of` all samples."""
        names = self.path / "names.json"
        return list(json.loads(names.read_text())) if names.exists() else [f"sample {k}" for k in range(len(self))]

    def texts(self) -> list[str]:
        """Text of each sample; '' for samples without one."""
        texts = self.path / "texts.json"
        return list(json.loads(texts.read_text(encoding="utf-8"))) if texts.exists() else [""] * len(self)

    def vectors(self) -> NDArray[np.float32] | None:
        """(N, len(info.vectors)), the numbers that are said of each sample, NaN where nothing is; None without them."""
        rows = self.path / "vectors.npy"
        return np.load(rows) if rows.exists() else None


def write_contents(folder: Path, info: DataInfo, written: WrittenSamples) -> None:
    """Write the files of a prepared folder but ``images.npy``."""
    labels, refused, ignored = written.labels, written.refused, written.ignored
    if labels is not None:
        np.save(folder / "labels.npy", labels)
    if written.names is not None:
        (folder / "names.json").write_text(json.dumps(written.names))
    if written.vectors is not None:
        np.save(folder / "vectors.npy", written.vectors.rows)
    if written.texts is not None:
        (folder / "texts.json").write_text(json.dumps(written.texts), encoding="utf-8")
    write_left_out(folder, refused, ignored)
    fields = {"info": info.to_json(), "labels": labels is not None, "refused": refused, "ignored": ignored}
    (folder / "info.json").write_text(json.dumps(fields, indent=1))


def write_left_out(folder: Path, refused: tuple[Refusal, ...], ignored: tuple[Refusal, ...]) -> None:
    """``refused.txt``, the list that a report names."""
    lines = [f"refused\t{name}\t{why}\n" for name, why in refused]
    lines += [f"ignored\t{name}\t{why}\n" for name, why in ignored]
    (folder / "refused.txt").write_text("".join(lines), encoding="utf-8", errors="backslashreplace")


def read_dataset(folder: Path, name: str) -> Dataset | None:
    """Open a prepared folder under the name that the user has for it now; None if it is not there, or not whole."""
    try:
        fields = json.loads((folder / "info.json").read_text())
        info = DataInfo.from_json(fields["info"])
        images, _ = open_images(folder)
        cut = read_cut(folder)
        labels = np.load(folder / "labels.npy") if fields["labels"] else None
        vectors = np.load(folder / "vectors.npy") if info.vectors else None
        refused, ignored = (tuple((str(file), str(why)) for file, why in fields[key]) for key in ("refused", "ignored"))
    except (OSError, ValueError, TypeError, KeyError, EOFError):
        return None
    whole = (
        images.shape == (info.count, *info.shape)
        and images.dtype == info.dtype
        and (labels is None or labels.shape == (info.count,))
        and (vectors is None or (vectors.shape == (info.count, len(info.vectors)) and vectors.dtype == np.float32))
        and (not isinstance(images, Crops) or images.whole)
    )
    if not whole:
        return None
    return Dataset(replace(info, name=name), images, labels, refused, ignored, folder, cut=cut)


def open_images(folder: Path) -> tuple[Any, NDArray[Any]]:
    """The images of a prepared folder, an array or `Crops`, and the array of all values that they are parts of."""
    values = np.load(folder / "images.npy", mmap_mode="r")  # refuses a file shorter than its header says
    if not (folder / PLACES).exists():
        return values, values
    sample = json.loads((folder / SAMPLE).read_text())
    return Crops(values, np.load(folder / PLACES), (int(sample[0]), int(sample[1]), int(sample[2]))), values


class RowWriter:
    """Writes ``images.npy`` row by row, its number of rows being known only at the end.

    By write(), never through a memory map: on a full disk that raises, where a store into a mapped page would kill the
    process.
    """

    _HEADER = 256

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape, self.count = np.dtype(dtype), shape, 0
        self._file = path.open("wb")
        self._file.write(bytes(self._HEADER))

    def write(self, rows: NDArray[Any]) -> None:
        """Append rows of shape (n, C, *spatial)."""
        self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        self.count += len(rows)

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Fill in the header (NumPy's format 1.0, padded), unless something failed, and close."""
        with self._file:
            if error is None:
                fields = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count, *self.shape)}
                text = repr(fields).encode().ljust(self._HEADER - 11) + b"\n"
                self._file.seek(0)
                self._file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
