"""NIfTI-1 and -2 volumes in one file (``.nii``, ``.nii.gz``): a header of fixed fields, then the values.

https://nifti.nimh.nih.gov/nifti-1 and nifti-2. Read here rather than by nibabel (which the tests compare with): of the
header seven fields matter, and they must be checked before anything is allocated. Values are

    v = slope * raw + inter        where the slope is not 0

Axes stay as they lie in the file, (x, y, z), x first; a fourth axis (time, say) becomes channels. The orientation
in the world is not applied.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from undiffuse.data.files.decode import NOT_FINITE, UnreadableError

MAX_BYTES = 1 << 31
"""Of one volume; larger ones are refused unread."""
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}


@dataclass(frozen=True)
class NiftiHeader:
    """Shape as in the file, type, where the values begin, and their scale."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float

    @property
    def scaled(self) -> bool:
        return self.slope != 0 and math.isfinite(self.slope) and (self.slope, self.inter) != (1.0, 0.0)

    @property
    def size(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


def unpacked(file: BinaryIO) -> BinaryIO:
    """The file, through gzip where it is packed."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[return-value]


def read_nifti_header(file: BinaryIO) -> NiftiHeader:
    """Raises `UnreadableError`: no NIfTI, or one that cannot be used."""
    head = file.read(540)
    for order in "<>":
        (size,) = struct.unpack(f"{order}i", head[:4].ljust(4, b"\0"))
        if size == 348 and len(head) >= 348:
            axes = struct.unpack_from(f"{order}8h", head, 40)
            (code,) = struct.unpack_from(f"{order}h", head, 70)
            offset, *scale = struct.unpack_from(f"{order}3f", head, 108)
            return _checked(head[344:348], axes, order, code, offset, scale)
        if size == 540 and len(head) == 540:
            (code,) = struct.unpack_from(f"{order}h", head, 12)
            axes = struct.unpack_from(f"{order}8q", head, 16)
            (offset,) = struct.unpack_from(f"{order}q", head, 168)
            scale = list(struct.unpack_from(f"{order}2d", head, 176))
            return _checked(head[4:8], axes, order, code, offset, scale)
    raise UnreadableError("has no NIfTI header")


def _checked(
    magic: bytes, axes: Sequence[int], order: str, code: int, offset: float, scale: Sequence[float]
) -> NiftiHeader:
    rank, lengths = axes[0], list(axes[1:])
    if magic in (b"ni1\0", b"ni2\0"):
        raise UnreadableError("keeps its values in another file (.hdr and .img); save it as one .nii")
    if magic not in (b"n+1\0", b"n+2\0"):
        raise UnreadableError("has no NIfTI header")
    if code not in _TYPES:
        raise UnreadableError(f"has values of NIfTI's type {code}; save them as 8- or 16-bit integers or as floats")
    shape = lengths[:rank] if 1 <= rank <= 7 else []
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise UnreadableError(f"has axes {tuple(lengths[: max(0, min(rank, 7))])}; 2 to 4 are expected")
    if not (math.isfinite(offset) and 348 <= offset <= 1 << 20):
        raise UnreadableError(f"says that its values begin at byte {offset}")
    header = NiftiHeader(tuple(shape), np.dtype(order + _TYPES[code]), int(offset), *scale)
    if header.size > MAX_BYTES:
        raise UnreadableError(f"claims {header.size >> 20:,} MiB of values; more than {MAX_BYTES >> 20:,} are refused")
    return header


def look_at_nifti(file: BinaryIO) -> tuple[tuple[int, ...], str]:
    """(channels, *spatial) and type of what `decode_nifti` gives."""
    header = read_nifti_header(unpacked(file))
    shape = (header.shape[3], *header.shape[:3]) if len(header.shape) == 4 else (1, *header.shape)
    plain = header.dtype.kind == "u" and header.dtype.itemsize <= 2 and not header.scaled
    return shape, header.dtype.newbyteorder("=").name if plain else "float32"


def decode_nifti(data: bytes) -> NDArray[Any]:
    """(channels, *spatial): uint8 and uint16 as they are, everything else as float32 if that is exact."""
    file = unpacked(io.BytesIO(data))
    header = read_nifti_header(file)
    file.seek(header.offset)
    raw = file.read(header.size)
    if len(raw) != header.size:
        raise UnreadableError(f"is cut short: {len(raw):,} of {header.size:,} bytes of values")
    values = np.frombuffer(raw, header.dtype).reshape(header.shape, order="F")
    values = np.moveaxis(values, -1, 0) if values.ndim == 4 else values[None]
    if header.scaled:
        return _finite((values.astype(np.float64) * header.slope + header.inter).astype(np.float32))
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return values.astype(values.dtype.newbyteorder("="))
    if values.dtype.kind in "iu" and values.dtype.itemsize > 2 and np.abs(values.astype(np.int64)).max() > 1 << 24:
        raise UnreadableError("has integers above 2^24, which float32 cannot hold")
    with np.errstate(over="ignore"):
        return _finite(values.astype(np.float32))


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise UnreadableError(NOT_FINITE)
    return values
