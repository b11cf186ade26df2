"""MNIST's own format (http://yann.lecun.com/exdb/mnist): two zero bytes, a type, the number of axes, their lengths,
values.

Everything is big-endian; files are often gzipped. Labels are in a second file, whose name follows from the first one's:
``train-images-idx3-ubyte`` goes with ``train-labels-idx1-ubyte``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.data.files.decompress import decompressor
from undiffuse.data.files.listing import Listing
from undiffuse.data.files.read_errors import intact
from undiffuse.data.formats.array_source import Arrays, ArraySource
from undiffuse.data.formats.arrays import channels_first, index_labels, unpack
from undiffuse.data.formats.format import Format, NamedPath
from undiffuse.errors import UndiffuseError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class IdxFile(ArraySource):
    """Images, with labels where their file lies next to them."""

    KIND, ROLE = "IdxFile", "images"

    @property
    def labels_path(self) -> Path | None:
        plain = self.path.name.removesuffix(".gz")
        other = re.sub(r"idx\d", "idx1", plain.replace("images", "labels"))
        if "images" not in plain:
            return None
        beside = (self.path.with_name(other + suffix) for suffix in (self.path.name[len(plain) :], "", ".gz"))
        return next((path for path in beside if path.is_file()), None)

    def parts(self, listing: Listing) -> Iterator[tuple[str, Path]]:
        yield self.ROLE, self.path
        if self.labels_path:
            yield "labels", self.labels_path

    def load(self, scratch: Path) -> Arrays:
        images = _read(self.path, scratch / "images.idx")
        if images.ndim < 2:
            raise UndiffuseError(f"expected images in {self.name}, got one value each, as in a labels file")
        images = channels_first(images, "infer", self.name)
        if not self.labels_path:
            return Arrays(images)
        labels = _read(self.labels_path, scratch / "labels.idx")
        return Arrays(images, *index_labels(labels, len(images), self.labels_path.name))


def looks_like_idx(head: bytes) -> bool:
    """True where the first four bytes are an idx header's."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in TYPES and 1 <= head[3] <= 5


def _open(found: NamedPath) -> IdxFile | None:
    return IdxFile(found.path, found.name) if looks_like_idx(found.unpacked) else None


FORMAT = Format(file=_open)


def _read(path: Path, target: Path) -> NDArray[Any]:
    """The array, mapped from an unpacked copy."""
    with intact("an idx file", path.name):
        file = decompressor(path)(path)
    with file:
        with intact("an idx file", path.name):
            head = file.read(4)
            axes = file.read(4 * head[3]) if looks_like_idx(head) else b""
        if not axes or len(axes) < 4 * head[3]:
            raise UndiffuseError(
                f"expected an idx file, got {path.name}, which begins with {(head + axes).hex(' ') or 'nothing'}"
            )
        shape = tuple(int(length) for length in np.frombuffer(axes, ">u4"))
        dtype = np.dtype(TYPES[head[2]])
        size = dtype.itemsize * math.prod(shape)
        unpack(file, size, target, path.name)
        with intact("an idx file", path.name):
            longer = file.read(1) != b""
    if longer or target.stat().st_size != size:
        raise UndiffuseError(
            f"expected {path.name} to hold the {size} bytes of shape {shape} that its header claims, got "
            f"{'more' if longer else target.stat().st_size}"
        )
    if size == 0:
        raise UndiffuseError(f"expected at least one value in {path.name}, got shape {shape}")
    return np.memmap(target, dtype, "r", shape=shape)
