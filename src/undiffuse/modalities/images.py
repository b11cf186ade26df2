"""Images: (channels, height, width), written as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from undiffuse.data.info import DataInfo
from undiffuse.data.read_image import Picture, read_picture
from undiffuse.modalities.modality import MODES, Modality, eight_bit, to_unit


class Images(Modality):
    """A PNG holds 8-bit grey and RGB, with or without alpha, and 16-bit grey as they are; all else is mapped for the
    eye: low to black, high to white, and more than four channels side by side in grey."""

    noun, axes = "image", "height x width"

    def exact(self, info: DataInfo) -> bool:
        return (info.dtype == "uint8" and info.channels in MODES) or (info.dtype == "uint16" and info.channels == 1)

    def preview(self, values: NDArray[Any], info: DataInfo) -> Image.Image:
        if not self.exact(info):
            return eight_bit(to_unit(values, info))
        pixels = np.ascontiguousarray(np.moveaxis(values, 0, -1))
        return Image.fromarray(pixels[..., 0] if info.channels == 1 else pixels)

    def tile(self, values: NDArray[Any]) -> NDArray[Any]:
        return values

    def read(self, path: Path, info: DataInfo, channels: int | None = None, convert: bool = False) -> Picture:
        return read_picture(path, info, channels, convert)


IMAGES = Images()
