"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) as they are published, https://www.cs.toronto.edu/~kriz/cifar.html.

Both versions, packed as downloaded or unpacked: the Python one, whose batches are pickles (read by `safe_pickle`,
which runs no code), and the binary one, of rows of

    CIFAR-10    label, 3072 pixels            CIFAR-100    coarse label, fine label, 3072 pixels

Pixels are 32 x 32, all red ones first, then green, then blue. The training images are meant; FILE/test names the
others. Classes of CIFAR-100 are the hundred fine ones.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from undiffuse.data.files.listing import FileEntry, Files, Listing
from undiffuse.data.files.safe_pickle import read_plain_pickle
from undiffuse.data.formats.archive import TarFile
from undiffuse.data.formats.array_source import Arrays, ArraySource
from undiffuse.data.formats.folder import Folder
from undiffuse.data.formats.format import Format, NamedPath, is_tar
from undiffuse.errors import UndiffuseError

PIXELS = 3 * 32 * 32
_MAX_FILE = 1 << 29
_FOLDERS = {"cifar-10-batches-py", "cifar-10-batches-bin", "cifar-100-python", "cifar-100-binary"}
_TRAIN = {"python": r"data_batch_\d+|train", "binary": r"(data_batch_\d+|train)\.bin"}
_TEST = {"python": r"test_batch|test", "binary": r"(test_batch|test)\.bin"}
_NAMES = {"python": r"batches\.meta|meta", "binary": r"(batches\.meta|fine_label_names)\.txt"}


@dataclass(frozen=True)
class Cifar(ArraySource):
    """A split, 'train' or 'test', of one of the four downloads: the archive, or the folder that was in it."""

    inside: str = "train"
    KIND, ROLE = "Cifar", "archive"

    def parts(self, listing: Listing) -> Iterator[tuple[str, Path]]:
        if self.path.is_dir():
            return ((file.name, file) for file in sorted(self.path.iterdir()) if file.is_file())
        return super().parts(listing)

    def within(self, inside: str) -> Cifar | None:
        return Cifar(self.path, f"{self.name}/{inside}", inside) if inside in ("train", "test") else None

    def load(self, scratch: Path) -> Arrays:
        files = _read_all(Folder(self.path, self.name) if self.path.is_dir() else TarFile(self.path, self.name))
        version = "binary" if any(name.endswith(".bin") for name in files) else "python"
        pattern = _TEST[version] if self.inside == "test" else _TRAIN[version]
        batches = sorted(name for name in files if re.fullmatch(pattern, name))
        if not batches:
            raise UndiffuseError(f"expected the {self.inside} batches of CIFAR in {self.name}, got none")
        hundred = not any("batch" in name for name in batches)
        read = _binary if version == "binary" else _python
        pairs = [read(files[name], f"{self.name}/{name}", hundred) for name in batches]
        images = np.concatenate([images for images, _ in pairs])
        labels = np.concatenate([labels for _, labels in pairs]).astype(np.int64)
        described = next((name for name in files if re.fullmatch(_NAMES[version], name)), None)
        classes = _class_names(files[described], described, hundred) if described else ()
        count = 100 if hundred else 10
        if labels.min() < 0 or labels.max() >= count:
            raise UndiffuseError(f"expected labels from 0 to {count - 1} in {self.name}, got {labels.max()}")
        classes = classes if len(classes) == count else tuple(map(str, range(count)))
        return Arrays(images.reshape(-1, 3, 32, 32), labels, classes)


def _read_all(files: Files) -> dict[str, bytes]:
    """The files that matter, by their names alone."""
    wanted = re.compile("|".join([*_TRAIN.values(), *_TEST.values(), *_NAMES.values()]))
    found = {}
    for entry in files.entries():
        if isinstance(entry, FileEntry) and wanted.fullmatch(name := PurePosixPath(entry.name).name):
            if entry.size > _MAX_FILE:
                raise UndiffuseError(f"expected batches of CIFAR, got {name} of {entry.size >> 20:,} MiB")
            with entry.open() as file:
                found[name] = file.read(_MAX_FILE)
    return found


def _python(data: bytes, name: str, hundred: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batch = read_plain_pickle(data, name)
    fields = {_text(key): value for key, value in batch.items()} if isinstance(batch, dict) else {}
    images, labels = fields.get("data"), fields.get("fine_labels" if hundred else "labels")
    good = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == (PIXELS,)
    if not good or not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise UndiffuseError(f"expected 'data' of rows of {PIXELS} bytes and labels in {name}, got {sorted(fields)}")
    rows = np.asarray(images)
    if len(rows) != len(labels) or not labels:
        raise UndiffuseError(f"expected a label for each image in {name}, got {len(rows)} images, {len(labels)} labels")
    return rows, np.array(labels, np.int64)


def _binary(data: bytes, name: str, hundred: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    labels = 2 if hundred else 1
    if not data or len(data) % (labels + PIXELS):
        raise UndiffuseError(
            f"expected rows of {labels + PIXELS} bytes in {name}, got {len(data):,} bytes; fetch it anew"
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, labels + PIXELS)
    return rows[:, labels:], rows[:, labels - 1].astype(np.int64)


def _class_names(data: bytes, name: str, hundred: bool) -> tuple[str, ...]:
    if name.endswith(".txt"):
        return tuple(data.decode("utf-8", "replace").split())
    fields = read_plain_pickle(data, name)
    named = {_text(key): value for key, value in fields.items()} if isinstance(fields, dict) else {}
    return tuple(map(_text, named.get("fine_label_names" if hundred else "label_names", ())))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _open_folder(found: NamedPath) -> Cifar | None:
    marks = ("data_batch_1", "data_batch_1.bin", "batches.meta")
    known = found.path.name in _FOLDERS or any((found.path / name).is_file() for name in marks)
    return Cifar(found.path, found.name) if known else None


def _open_file(found: NamedPath) -> Cifar | None:
    return Cifar(found.path, found.name) if is_tar(found) and _holds_batches(found.path) else None


FORMAT = Format(folder=_open_folder, file=_open_file)


def _holds_batches(path: Path) -> bool:
    """True for a tar file that holds the folder of a download."""
    try:
        first = islice(TarFile(path, path.name).entries(), 3)
        return any(isinstance(entry, FileEntry) and _FOLDERS & set(PurePosixPath(entry.name).parts) for entry in first)
    except (UndiffuseError, tarfile.TarError):  # damaged: whoever reads it will say how
        return False
