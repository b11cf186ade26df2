"""Arrays of one image, (height, width, channels): channels converted and sizes changed, at the data's own depth."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CHANNELS = {"grey": 1, "rgb": 3, "rgba": 4}
"""Number of channels by the names of DataConfig.channels."""

_LUMA = (19595, 38470, 7471)
"""ITU-R BT.601 luma times 2^16: 0.299, 0.587, 0.114, the integers that Pillow uses."""


def convert_channels(image: NDArray[Any], channels: int) -> NDArray[Any]:
    """Grey (1), grey + alpha (2), RGB (3) or RGBA (4) to grey, RGB or RGBA. Alpha goes onto white, or is opaque where
    new.

        grey = 0.299 R + 0.587 G + 0.114 B        over white: v a + white (1 - a)

    Args:
        image: (height, width, 1..4), uint8 or uint16; float32 too where no alpha is involved.
        channels: 1, 3 or 4.
    """
    if image.shape[2] == channels:
        return image
    if image.shape[2] in (2, 4):
        color, alpha = image[..., :-1], image[..., -1:]
        if channels != 4:
            color = _over_white(color, alpha)
    else:
        color, alpha = image, None
    if channels == 1:
        return color if color.shape[2] == 1 else _luma(color)
    if color.shape[2] == 1:
        color = np.repeat(color, 3, axis=2)
    if channels == 3:
        return color
    if alpha is None:
        alpha = np.full_like(color[..., :1], np.iinfo(image.dtype).max)
    return np.concatenate([color, alpha], axis=2)


def _over_white(color: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    white = int(np.iinfo(color.dtype).max)
    weight = alpha.astype(np.int64)
    blend = color.astype(np.int64) * weight + white * (white - weight)
    return ((blend + white // 2) // white).astype(color.dtype)


def _luma(color: NDArray[Any]) -> NDArray[Any]:
    if color.dtype == np.float32:
        weighted: NDArray[Any] = (color @ (np.array(_LUMA) / 65536)).astype(np.float32)
        return weighted[..., None]
    gray: NDArray[Any] = color.astype(np.int64) @ np.array(_LUMA) + (1 << 15)
    return (gray >> 16)[..., None].astype(color.dtype)


def keeps_aspect(height: int, width: int, size: tuple[int, int]) -> bool:
    """True where (height, width) scaled to one side of ``size`` gives the other, to the nearest pixel."""
    return round(height * size[1] / width) == size[0] or round(width * size[0] / height) == size[1]


def resize(
    image: NDArray[Any], size: tuple[int, int], crop: Literal["none", "center", "random", "tiles"], alpha: bool
) -> NDArray[Any]:
    """Scale to ``size`` by Pillow's bicubic filter, which widens with the scale and so is antialiased.

    8-bit images are scaled as they are; 16-bit and float ones in float32, so that no depth is lost. Values never
    leave the range of their type (integers) or of the image (floats): the filter's overshoot is clipped.

    Args:
        image: (height, width, channels).
        size: height and width wanted.
        crop: 'center' scales the largest middle part with the wanted aspect ratio; all others scale all of it.
        alpha: the last channel is alpha (integers only): colours are weighted by it, or invisible ones would bleed
            into the edges.
    """
    height, width, channels = image.shape
    box = _middle(height, width, size) if crop == "center" else (0.0, 0.0, float(width), float(height))
    if (height, width) == size and box == (0.0, 0.0, width, height):
        return image
    target = (size[1], size[0])
    if image.dtype == np.uint8 and channels in (1, 3):
        picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if channels == 1 else image))
        return np.asarray(picture.resize(target, Image.Resampling.BICUBIC, box)).reshape(*size, channels)

    planes = image.astype(np.float32)
    if alpha:
        planes[..., :-1] *= planes[..., -1:]
    scaled = np.stack([_resize_plane(planes[..., c], target, box) for c in range(channels)], axis=2)
    if alpha:
        visible = np.broadcast_to(scaled[..., -1:] > 0.5, scaled[..., :-1].shape)  # else alpha is rounded to 0 below
        scaled[..., :-1] = np.divide(
            scaled[..., :-1], scaled[..., -1:], out=np.zeros_like(scaled[..., :-1]), where=visible
        )
    if image.dtype == np.float32:
        return np.clip(scaled, image.min(axis=(0, 1)), image.max(axis=(0, 1)))
    return np.rint(np.clip(scaled, 0, np.iinfo(image.dtype).max)).astype(image.dtype)


def _resize_plane(
    plane: NDArray[np.float32], target: tuple[int, int], box: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(target, Image.Resampling.BICUBIC, box))


def _middle(height: int, width: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the largest centred box with the aspect ratio of ``size``."""
    scale = min(height / size[0], width / size[1])
    box_height, box_width = size[0] * scale, size[1] * scale
    left, top = max(0.0, (width - box_width) / 2), max(0.0, (height - box_height) / 2)
    return left, top, min(left + box_width, float(width)), min(top + box_height, float(height))
