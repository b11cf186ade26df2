"""An array source into the cache: checked, brought to (N, C, *spatial), and converted or resized only when asked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.config.data import DataConfig
from undiffuse.data.crops import CUTS
from undiffuse.data.dataset import RowWriter
from undiffuse.data.source import Draft
from undiffuse.data.transform import CHANNELS, convert_channels, keeps_aspect, resize
from undiffuse.data.writing.statistics import chunks
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.cache import need_space


def write_array(images: NDArray[Any], name: str, draft: Draft) -> None:
    """Write ``images.npy`` of an array (N, C, *spatial).

    uint8, uint16 and float32 stay. bool becomes 0 and 255, float16 and float64 become float32. Other integers are
    refused: which range they stand for only the user knows.
    """
    config, size = draft.config, draft.size
    dtype = _stored_type(images.dtype, name)
    channels, *spatial = images.shape[1:]
    _check_options(images, config, size, name)
    if config.channels != "keep":
        channels = CHANNELS[config.channels]
    if size:
        spatial = list(size)
    need_space(draft.folder, len(images) * channels * int(np.prod(spatial)) * np.dtype(dtype).itemsize)
    with (
        RowWriter(draft.folder / "images.npy", dtype, (channels, *spatial)) as rows,
        draft.bar("Preparing", "image", len(images)) as progress,
    ):
        for chunk in chunks(images):
            rows.write(_transform(_cast(chunk, dtype, name), config, size))
            progress.update(len(chunk))


def _stored_type(dtype: np.dtype[Any], name: str) -> str:
    if dtype.kind == "b":
        return "uint8"
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return f"uint{8 * dtype.itemsize}"
    if dtype.kind == "f":
        return "float32"
    raise UndiffuseError(
        f"expected uint8, uint16 or floating values in {name}, got {dtype}; "
        "save array.astype('uint8') if they lie in 0..255, array.astype('uint16') or array.astype('float32')"
    )


def _check_options(images: NDArray[Any], config: DataConfig, size: tuple[int, int] | None, name: str) -> None:
    channels, *spatial = images.shape[1:]
    if (size or config.channels != "keep") and len(spatial) != 2:
        raise UndiffuseError(
            f"expected 2-D images for `size` or `channels`, got samples of {len(spatial)} axes in {name}"
        )
    if config.channels != "keep" and CHANNELS[config.channels] != channels:
        alpha = channels in (2, 4) or config.channels == "rgba"
        if channels > 4 or (alpha and images.dtype.kind == "f"):
            raise UndiffuseError(
                f"expected channels that can become {config.channels} in {name}, got {channels} channels of "
                f"{images.dtype}; convert the array yourself, or leave `channels` at keep"
            )
    if size and config.crop in CUTS and (spatial[0], spatial[1]) != size:
        raise UndiffuseError(
            f"`crop={config.crop}` is for images in folders, archives and shards, and {name} is an array of "
            f"{spatial[0]} x {spatial[1]}; cut it yourself, or take `crop=center`"
        )
    if size and config.crop == "none" and not keeps_aspect(spatial[0], spatial[1], size):
        raise UndiffuseError(
            f"expected images with the aspect ratio of {size[0]} x {size[1]} in {name}, got {spatial[0]} x "
            f"{spatial[1]}; add `crop=center` to cut the middle"
        )


def _cast(chunk: NDArray[Any], dtype: str, name: str) -> NDArray[Any]:
    if chunk.dtype.kind == "b":
        return chunk.astype(np.uint8) * np.uint8(255)
    with np.errstate(over="ignore", invalid="ignore"):
        values = chunk.astype(dtype)
    if dtype == "float32" and not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any(axis=tuple(range(1, values.ndim))).sum())
        raise UndiffuseError(
            f"expected finite float32 values in {name}, got NaN or infinity in at least {bad} samples; "
            "remove those samples first"
        )
    return values


def _transform(values: NDArray[Any], config: DataConfig, size: tuple[int, int] | None) -> NDArray[Any]:
    if config.channels == "keep" and size is None:
        return values
    done = []
    for sample in np.moveaxis(values, 1, -1):
        image = sample if config.channels == "keep" else convert_channels(sample, CHANNELS[config.channels])
        # four channels of an array are RGBA only if the user says so
        alpha = config.channels == "rgba" and image.dtype.kind == "u"
        done.append(resize(image, size, config.crop, alpha) if size else image)
    return np.moveaxis(np.stack(done), -1, 1)
