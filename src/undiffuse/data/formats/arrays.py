"""Data that already are one array: ``.npy`` and ``.npz``.

Which axis is what:

| array | read as |
|---|---|
| (N, L) | N signals of length L, one channel |
| (N, H, W) | N grey images |
| (N, H, W, C) or (N, C, H, W) | images; the channel axis is the one of the two that is shorter than both others |
| (N, D, H, W, C) or (N, C, D, H, W) | volumes, by the same rule |

Four axes are never volumes: those of one channel are (N, 1, D, H, W). `report.describe` asks where many channels look
like slices.

Where the rule does not decide, an ``.npz`` may say it by the array's name, ``channels_first`` or ``channels_last``;
so may signals of several channels, which (N, C, L) alone cannot be told from.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from undiffuse.data.files.listing import Refusal, sort_classes
from undiffuse.data.files.read_errors import intact
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


@dataclass(frozen=True)
class Arrays:
    """Samples of one shape in one array."""

    images: NDArray[Any]
    """(N, C, *spatial), any numeric type; may be memory-mapped."""
    labels: NDArray[np.int64] | None = None
    """(N,), indices into `classes`."""
    classes: tuple[str, ...] = ()
    ignored: tuple[Refusal, ...] = ()
    """Arrays of the same file that are not used."""


@dataclass(frozen=True)
class Roles:
    """What the arrays of an .npz file are taken for."""

    images: str
    labels: str | None
    ignored: tuple[Refusal, ...]


@dataclass(frozen=True)
class NpyFile:
    """One array, without labels."""

    path: Path
    name: str

    def parts(self) -> Iterator[tuple[str, Path]]:
        yield "array", self.path

    def load(self, scratch: Path) -> Arrays:
        return Arrays(channels_first(_map(self.path, self.name), "infer", self.name))


@dataclass(frozen=True)
class NpzFile:
    """An array ``x``, ``images`` or ``arr_0`` (or with its layout for a name), and optionally ``y`` or ``labels``.

    Without these, ``label`` says the classes, and ``arr_1`` beside ``arr_0``, if it holds one value for each image.
    """

    path: Path
    name: str

    def parts(self) -> Iterator[tuple[str, Path]]:
        yield "arrays", self.path

    def load(self, scratch: Path) -> Arrays:
        """Unpacked into the folder ``scratch`` and mapped from there: an array may be larger than memory."""
        with intact("an .npz file", self.name):
            archive = zipfile.ZipFile(self.path)
        with archive:
            members = _members(archive)
            roles = self._roles(archive, members)
            images, labels = roles.images, roles.labels
            for key in filter(None, (images, labels)):
                with intact("an .npz file", self.name):
                    packed = archive.open(members[key])
                with packed:
                    unpack(packed, archive.getinfo(members[key]).file_size, scratch / f"{key}.npy", self.name)
        array = channels_first(_map(scratch / f"{images}.npy", self.name), _IMAGE_KEYS[images], self.name)
        if labels is None:
            return Arrays(array, ignored=roles.ignored)
        found = index_labels(_map(scratch / f"{labels}.npy", self.name), len(array), self.name)
        return Arrays(array, *found, ignored=roles.ignored)

    def roles(self) -> Roles:
        """What its arrays are taken for, by their names and headers."""
        with intact("an .npz file", self.name):
            archive = zipfile.ZipFile(self.path)
        with archive:
            return self._roles(archive, _members(archive))

    def _roles(self, archive: zipfile.ZipFile, members: dict[str, str]) -> Roles:
        images = _one_of(members, tuple(_IMAGE_KEYS), self.name)
        if images is None:
            raise UndiffuseError(
                f"expected an array named x, images or arr_0 in {self.name}, got {', '.join(members) or 'none'}"
            )
        labels = _one_of(members, _LABEL_KEYS, self.name)
        for key, of in _LATE_LABEL_KEYS.items():
            if labels is None and key in members and images in of and _may_label(archive, members, key, images):
                labels = key
        others = [key for key in members if key not in (images, labels)]
        why = "an array that is not used; call it y where it says the classes, or name it by --vectors"
        return Roles(images, labels, tuple((key, why) for key in others))

    def arrays(self, names: Sequence[str], scratch: Path) -> dict[str, NDArray[Any]]:
        """Its arrays of these names, unpacked into the folder ``scratch``.

        Raises:
            UndiffuseError: there is no such array.
        """
        with intact("an .npz file", self.name):
            archive = zipfile.ZipFile(self.path)
        found = {}
        with archive:
            members = _members(archive)
            for name in names:
                if name not in members:
                    raise UndiffuseError(f"{self.name} has no array '{name}'{perhaps(name, members)}")
                with intact("an .npz file", self.name):
                    packed = archive.open(members[name])
                with packed:
                    unpack(packed, archive.getinfo(members[name]).file_size, scratch / f"{name}.npy", self.name)
                found[name] = _map(scratch / f"{name}.npy", self.name)
        return found


def _members(archive: zipfile.ZipFile) -> dict[str, str]:
    return {Path(name).stem: name for name in archive.namelist() if name.endswith(".npy")}


def _may_label(archive: zipfile.ZipFile, members: dict[str, str], key: str, images: str) -> bool:
    """Whether an array has one integer, truth value or text for each image."""
    try:
        (shape, dtype), (of, _) = (_header(archive, members[name]) for name in (key, images))
    except Exception:  # damaged: whoever reads it says how
        return False
    return dtype.kind in "iubU" and len(of) > 0 and shape in ((of[0],), (of[0], 1))


def _header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(member) as file:
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
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return bool(read(file)[2].hasobject)
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
