"""Data that already are one array: ``.npy`` and ``.npz``.

Which axis is what:

| array | read as |
|---|---|
| (N, L) | N signals of length L, one channel |
| (N, H, W) | N grey images |
| (N, H, W, C) or (N, C, H, W) | images; the channel axis is the one of the two that is shorter than both others |
| (N, D, H, W, C) or (N, C, D, H, W) | volumes, by the same rule |

Four axes are never volumes: those of one channel are (N, 1, D, H, W). `data_summary.describe` asks where many channels
look like slices.

Where the rule does not decide, an ``.npz`` may say it by the array's name, ``channels_first`` or ``channels_last``;
so may signals of several channels, which (N, C, L) alone cannot be told from.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from undiffuse.config.data import DataConfig
from undiffuse.data.files.listing import Listing, sort_classes
from undiffuse.data.files.read_errors import intact
from undiffuse.data.formats.array_source import Arrays, ArraySource
from undiffuse.data.formats.format import ZIP, Format, NamedPath
from undiffuse.data.source import Draft, Source, WrittenSamples
from undiffuse.data.vectors import of_arrays
from undiffuse.data.writing.arrays import write_array
from undiffuse.errors import UndiffuseError, perhaps

Layout = Literal["infer", "first", "last"]

_IMAGE_KEYS: dict[str, Layout] = {
    "x": "infer",
    "images": "infer",
    "arr_0": "infer",
    "channels_first": "first",
    "channels_last": "last",
}
_LABEL_KEYS = ("y", "labels")
_LATE_LABEL_KEYS = {"label": tuple(_IMAGE_KEYS), "arr_1": ("arr_0",)}
"""Names of labels where there is none of the above, and of the images that they are of; only if they can be labels."""


class NpyFile(ArraySource):
    """One array, without labels."""

    KIND, ROLE = "NpyFile", "array"

    def load(self, scratch: Path) -> Arrays:
        return Arrays(channels_first(_map(self.path, self.name), "infer", self.name))


@dataclass(frozen=True)
class NpzFile(Source):
    """An array ``x``, ``images`` or ``arr_0`` (or with its layout for a name), and optionally ``y`` or ``labels``.

    Without these, ``label`` says the classes, and ``arr_1`` beside ``arr_0``, if it holds one value for each image.
    """

    path: Path
    name: str
    KIND, ROLE = "NpzFile", "arrays"

    def listing(self, config: DataConfig) -> Listing:
        with self._opened() as archive:
            members = _members(archive)
            images = _one_of(members, tuple(_IMAGE_KEYS), self.name)
            if images is None:
                raise UndiffuseError(
                    f"expected an array named x, images or arr_0 in {self.name}, got {', '.join(members) or 'none'}"
                )
            labels = _one_of(members, _LABEL_KEYS, self.name)
            for key, of in _LATE_LABEL_KEYS.items():
                if labels is None and key in members and images in of and _may_label(archive, members, key, images):
                    labels = key
        why = "an array that is not used; call it y where it says the classes, or name it by `vectors`"
        others = [key for key in members if key not in (images, labels, *config.vectors)]
        return Listing((images,), ignored=tuple((key, why) for key in others), labels=labels or "")

    def write(self, listing: Listing, draft: Draft) -> WrittenSamples:
        (images,), key, columns = listing.images, listing.labels, draft.config.vectors
        with draft.scratch() as scratch:
            array = channels_first(self._array(images, scratch), _IMAGE_KEYS[images], self.name)
            found = index_labels(self._array(key, scratch), len(array), self.name) if key else None
            write_array(array, self.name, draft)
            told = {name: self._array(name, scratch) for name in columns}
            vectors = of_arrays(told, len(array), self.name) if columns else None
        labels, classes = found or (None, ())
        return WrittenSamples(labels=labels, classes=classes, vectors=vectors, ignored=listing.ignored)

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        with intact("an .npz file", self.name):
            archive = zipfile.ZipFile(self.path)
        with archive:
            yield archive

    def _array(self, name: str, scratch: Path) -> NDArray[Any]:
        """One array, unpacked into the folder ``scratch`` and mapped from there: it may be larger than memory."""
        target = scratch / f"{name}.npy"
        with self._opened() as archive:
            members = _members(archive)
            if name not in members:
                raise UndiffuseError(f"{self.name} has no array '{name}'{perhaps(name, members)}")
            with intact("an .npz file", self.name):
                packed = archive.open(members[name])
            with packed:
                unpack(packed, archive.getinfo(members[name]).file_size, target, self.name)
        return _map(target, self.name)


def _open_npy(found: NamedPath) -> NpyFile | None:
    return NpyFile(found.path, found.name) if found.head.startswith(b"\x93NUMPY") else None


def _open_npz(found: NamedPath) -> NpzFile | None:
    npz = found.head.startswith(ZIP) and _is_npz(found.path)
    return NpzFile(found.path, found.name) if npz else None


def _is_npz(path: Path) -> bool:
    if path.suffix.lower() == ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            return bool(names) and all(name.endswith(".npy") for name in names)
    except Exception:  # damaged: ZipFile will say how
        return False


NPY, NPZ = Format(file=_open_npy), Format(file=_open_npz)


def _members(archive: zipfile.ZipFile) -> dict[str, str]:
    return {Path(name).stem: name for name in archive.namelist() if name.endswith(".npy")}


def _may_label(archive: zipfile.ZipFile, members: dict[str, str], key: str, images: str) -> bool:
    """True for an array of one integer, truth value or text for each image."""
    try:
        with archive.open(members[key]) as labels, archive.open(members[images]) as samples:
            (shape, dtype), (of, _) = npy_header(labels), npy_header(samples)
    except Exception:  # damaged: whoever reads it says how
        return False
    return dtype.kind in "iubU" and len(of) > 0 and shape in ((of[0],), (of[0], 1))


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array in an .npy file, which is then read up to its values."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def unpack(packed: IO[bytes], size: int, target: Path, name: str) -> None:
    """Copy at most ``size`` bytes, after a look at whether they fit on the disk."""
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise UndiffuseError(
            f"expected {size >> 20:,} MiB of free disk to unpack {name}, got {free >> 20:,}; "
            "set UNDIFFUSE_CACHE to a folder on a larger disk"
        )
    with open(target, "wb") as out:
        while size:
            with intact("a whole file", name):
                block = packed.read(min(size, 1 << 20))
            if not block:
                break
            out.write(block)
            size -= len(block)


def _one_of(members: dict[str, str], keys: tuple[str, ...], name: str) -> str | None:
    present = [key for key in keys if key in members]
    if len(present) > 1:
        raise UndiffuseError(f"expected one of the arrays {', '.join(present)} in {name}, got {len(present)} of them")
    return present[0] if present else None


def _map(path: Path, name: str) -> NDArray[Any]:
    """A .npy file as an array on disk, never unpickled; what it claims beyond its length is an error."""
    if _has_objects(path):
        raise UndiffuseError(
            f"expected a numeric array, not a pickled one, got Python objects in {name}, which are never opened; save "
            "an array of one type, such as np.array(list, dtype='float32'), or astype(str) of labels"
        )
    with intact("a numeric array, not a pickled one", name):
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _has_objects(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return npy_header(file)[1].hasobject
    except Exception:  # damaged: whoever maps it says how
        return False


def channels_first(array: NDArray[Any], layout: Layout, name: str) -> NDArray[Any]:
    """View an array as (N, C, *spatial), by the table at the top of this file.

    Raises:
        UndiffuseError: nothing in the array, not 2 to 5 axes, or a channel axis that the shape does not tell.
    """
    shape = array.shape
    if not 2 <= array.ndim <= 5 or (layout != "infer" and array.ndim < 3):
        raise UndiffuseError(f"expected an array of shape (N, H, W) or (N, H, W, C) in {name}, got shape {shape}")
    if min(shape) < 1:
        raise UndiffuseError(f"expected at least one sample and one value in {name}, got an array of shape {shape}")
    if layout == "infer" and array.ndim <= 3:
        return array[:, None]
    if layout == "infer":
        layout = _infer(shape, name)
    return array if layout == "first" else np.moveaxis(array, -1, 1)


def _infer(shape: tuple[int, ...], name: str) -> Literal["first", "last"]:
    if shape[-1] < min(shape[1:-1]):
        return "last"
    if shape[1] < min(shape[2:]):
        return "first"
    volumes = "; volumes have five axes, channels_first=array[:, None] makes such" if len(shape) == 4 else ""
    raise UndiffuseError(
        f"expected a channel axis shorter than the others in {name}, got shape {shape}; save the array in an .npz "
        f"under the name channels_first or channels_last: np.savez('data.npz', channels_last=array){volumes}"
    )


def index_labels(labels: NDArray[Any], count: int, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class indices and names from one integer, boolean or text label per sample."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,):
        several = labels.ndim == 2 and len(labels) == count
        do = "; of one column for each class, labels.argmax(1) makes such" if several else ""
        raise UndiffuseError(
            f"expected {count} labels for {count} samples in {name}, got an array of shape {labels.shape}{do}"
        )
    if labels.dtype.kind not in "iubU":
        do = {"f": "astype('int64')", "S": "astype(str)"}.get(labels.dtype.kind, "astype('int64') or astype(str)")
        raise UndiffuseError(
            f"expected labels that are integers or text in {name}, got {labels.dtype}; labels.{do} makes such"
        )
    values, inverse = np.unique(labels, return_inverse=True)
    if labels.dtype.kind == "U":
        ordered = sort_classes(str(value) for value in values)
        places = np.array([ordered.index(str(value)) for value in values])
        return places[inverse].astype(np.int64), ordered
    return inverse.astype(np.int64), tuple(str(value) for value in values)
