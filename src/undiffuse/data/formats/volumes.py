"""One volume a file: NIfTI, TIFF of several pages, and ``.npy``.

| file | sample |
|---|---|
| ``.nii``, ``.nii.gz`` | (1, x, y, z), or (t, x, y, z); see `nifti` |
| TIFF with pages | (channels, pages, height, width), of the pages' own depth |
| ``.npy`` of three axes | (1, D, H, W) |
| ``.npy`` of four | channels first or last, whichever is shorter than all others |
| ``.npy`` of two | (1, H, W) |

All files must agree in shape and type.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from undiffuse.config.data import DataConfig
from undiffuse.data.files.decode import MAX_PIXELS, NOT_FINITE, UnreadableError, page_kind, page_pixels, refusing
from undiffuse.data.files.listing import FileEntry, Files, Listing
from undiffuse.data.formats.arrays import channels_first, npy_header
from undiffuse.data.formats.folder import filling
from undiffuse.data.formats.format import Format
from undiffuse.data.formats.nifti import MAX_BYTES, decode_nifti, look_at_nifti
from undiffuse.data.source import Draft, FileKind, WrittenSamples
from undiffuse.data.writing.volumes import SampleLayout, check_uncut, write_samples
from undiffuse.errors import UndiffuseError

SUFFIXES = frozenset({".nii", ".npy", ".tif", ".tiff"})
_FLOATS = {"float16": "float32", "float64": "float32", "bool": "uint8"}


def is_volume(name: str) -> bool:
    return suffix_of(name) in SUFFIXES


def suffix_of(name: str) -> str:
    """'.nii' for '.nii.gz' too."""
    return PurePosixPath(name.lower().removesuffix(".gz")).suffix


def _key(config: DataConfig, source: str) -> dict[str, Any]:
    check_uncut(config, source)
    if config.size is not None or config.channels != "keep":
        raise UndiffuseError(f"expected 2-D images for `size` or `channels`, got the volumes of {source}")
    return {"kind": "Volumes"}


def _write(files: Files, listing: Listing, draft: Draft) -> WrittenSamples:
    return write_samples(files, listing, VolumeReader(), draft)


FORMAT = Format(filling=filling("volume", FileKind(is_volume, _write, _key), lambda count: count - 1))


class VolumeReader:
    noun, several = "volumes", False

    def look(self, entry: FileEntry) -> SampleLayout:
        with refusing(), entry.open() as file:
            match suffix_of(entry.name):
                case ".nii":
                    return SampleLayout(*look_at_nifti(file))
                case ".npy":
                    return _look_at_npy(file, entry)
                case _:
                    return _look_at_pages(file)

    def read(self, entry: FileEntry, form: SampleLayout) -> Iterator[NDArray[Any]]:
        with refusing():
            with entry.open() as file:
                data = file.read(MAX_BYTES)
            match suffix_of(entry.name):
                case ".nii":
                    volume = decode_nifti(data)
                case ".npy":
                    volume = _decode_npy(data, form)
                case _:
                    volume = _decode_pages(data)
        yield volume


def _look_at_pages(file: BinaryIO) -> SampleLayout:
    with Image.open(file, formats=["TIFF"]) as image:
        pages = getattr(image, "n_frames", 1)
        if image.width * image.height * pages > MAX_PIXELS * 8:
            raise UnreadableError(f"claims {pages:,} pages of {image.width} x {image.height} pixels; that is refused")
        channels, dtype = page_kind(image)
        return SampleLayout((channels, pages, image.height, image.width), dtype)


def _decode_pages(data: bytes) -> NDArray[Any]:
    pages = []
    with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            pages.append(page_pixels(image))
    if len({(page.shape, page.dtype) for page in pages}) > 1:
        raise UnreadableError("has pages of different sizes or depths")
    volume = np.moveaxis(np.stack(pages), -1, 0)
    if volume.dtype == np.float32 and not np.isfinite(volume).all():
        raise UnreadableError(NOT_FINITE)
    return volume


def _look_at_npy(file: BinaryIO, entry: FileEntry) -> SampleLayout:
    shape, dtype = npy_header(file)
    if dtype.hasobject:
        raise UnreadableError("holds pickled objects, which are never opened")
    if dtype.itemsize * math.prod(shape) > entry.size - file.tell():
        raise UnreadableError(f"claims shape {shape} of {dtype}, more than its {entry.size:,} bytes")
    name = _FLOATS.get(dtype.name, dtype.newbyteorder("=").name)
    if name not in ("uint8", "uint16", "float32"):
        raise UnreadableError(f"has values of type {dtype}; save them as uint8, uint16 or floats")
    return SampleLayout(_oriented(np.lib.stride_tricks.as_strided(np.empty(1), shape, [0] * len(shape))).shape, name)


def _decode_npy(data: bytes, form: SampleLayout) -> NDArray[Any]:
    array = _oriented(np.load(io.BytesIO(data), allow_pickle=False))
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    with np.errstate(over="ignore"):
        values = array.astype(form.dtype)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnreadableError(NOT_FINITE)
    return values


def _oriented(array: NDArray[Any]) -> NDArray[Any]:
    """One sample, channels first."""
    if array.ndim in (2, 3):
        return array[None]
    try:
        return np.asarray(channels_first(array[None], "infer", "the file")[0])
    except UndiffuseError:
        raise UnreadableError(f"has shape {array.shape}, of which no axis must be the channels") from None
