"""Arrays become pictures, and pictures become one picture that shows them all.

A picture is *exact* where a PNG file can hold the values as they are: 8-bit grey and RGB, with or without alpha, and
16-bit grey. Everything else (floats, 16-bit colour, five channels, volumes, signals) is a *view*: made to be looked
at, with the values themselves in an ``.npz`` beside it. `Modality.exact` says which of the two `to_image` gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from undiffuse.data.info import DataInfo
from undiffuse.modalities.registry import modality_of

GRAY: dict[str, int | tuple[int, ...]] = {"L": 128, "LA": (128, 255), "RGB": (128,) * 3, "RGBA": (128, 128, 128, 255)}
SMALL = 64
"""Tiles with a longer side below this are enlarged by a whole factor until they reach it."""


def to_image(array: NDArray[np.generic], info: DataInfo) -> Image.Image:
    """One sample, (channels, *spatial) of the data's own type and range, as a picture.

    Returns:
        Modes L, LA, RGB, RGBA or I;16 with the exact values where `Modality.exact`; else an 8-bit view.
    """
    return modality_of(info).preview(array, info)


def viewable(image: Image.Image) -> Image.Image:
    """The picture with 8 bits a channel, for grids and animations: 16-bit grey is scaled down, not clipped."""
    if image.mode.startswith("I"):
        return Image.fromarray(np.rint(np.asarray(image, dtype=np.float64) / 257).astype(np.uint8))
    return image


def default_scale(width: int, height: int) -> int:
    """Whole factor that brings a tile's longer side to at least `SMALL` pixels."""
    return max(1, math.ceil(SMALL / max(width, height)))


def enlarge(image: Image.Image, scale: int) -> Image.Image:
    """Every pixel becomes a square of ``scale`` x ``scale`` pixels."""
    return image if scale == 1 else image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def grid(
    images: Sequence[Image.Image], columns: int | None = None, padding: int = 2, scale: int | None = None
) -> Image.Image:
    """Pictures of one size in rows, 8 bits a channel, on mid grey.

    Args:
        images: at least one, all of one size and mode.
        columns: pictures a row; the default makes the grid about square.
        padding: pixels between pictures and around them.
        scale: whole factor of enlargement (nearest neighbour); by default small pictures are enlarged to be visible.
    """
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    scale = scale or default_scale(*images[0].size)
    tiles = [enlarge(viewable(image), scale) for image in images]
    width, height = tiles[0].width + padding, tiles[0].height + padding
    rows = math.ceil(len(tiles) / columns)
    sheet = Image.new(tiles[0].mode, (columns * width + padding, rows * height + padding), GRAY[tiles[0].mode])
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (padding + k % columns * width, padding + k // columns * height))
    return sheet
