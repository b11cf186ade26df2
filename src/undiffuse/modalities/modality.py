"""The seam of kinds of samples: what everybody asks of images, signals, volumes or clips.

A kind is one file here and one line in `registry`. Where the shape does not tell it, as a clip is told from a volume,
its format says so by `DataInfo.kind`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from undiffuse.data.info import DataInfo
from undiffuse.data.read_image import Picture
from undiffuse.errors import UndiffuseError
from undiffuse.provenance.png import Origin, write_png

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's modes of 8-bit pictures, by channels."""


class Modality(ABC):
    """A kind of sample. Unless a kind knows better, its files are pictures to be looked at, and none are read."""

    noun: ClassVar[str]
    """One sample in a word."""
    axes: ClassVar[str]
    """The spatial axes in words."""
    tile_shows: ClassVar[str] = ""
    """The part of a sample that `tile` shows, in words; '' where it shows all of it."""
    suffix: ClassVar[str] = ".png"
    """Suffix of the file that holds one sample."""

    def exact(self, info: DataInfo) -> bool:
        """True where the file of a sample holds the values as they are; else they need an ``.npz`` beside it."""
        return False

    @abstractmethod
    def preview(self, values: NDArray[Any], info: DataInfo) -> Image.Image:
        """A picture of one sample, (channels, *spatial); its pixels are the values where `exact`."""

    @abstractmethod
    def tile(self, values: NDArray[Any]) -> NDArray[Any]:
        """One plane of a sample, (channels, height, width), to be looked at in small among others."""

    def read(self, path: Path, info: DataInfo, channels: int | None = None, convert: bool = False) -> Picture:
        """A sample out of a file of the user's, as for `read_image.read_picture`.

        Raises:
            UndiffuseError: unreadable, of another kind than the data, or no files of such samples are read.
        """
        raise UndiffuseError(f"Only models of pictures edit files of pictures; this one learned the shape {info.shape}")

    def write(self, path: Path, values: NDArray[Any], info: DataInfo, origin: Origin, overwrite: bool = False) -> None:
        """Write the file of one sample, which says how it was made.

        Raises:
            UndiffuseError: a file is there already and ``overwrite`` is off.
        """
        write_png(path, self.preview(values, info), origin, overwrite)


def to_unit(values: NDArray[Any], info: DataInfo) -> NDArray[np.float64]:
    """The data's range mapped to [0, 1], black to white."""
    return (values.astype(np.float64) - info.low) / ((info.high - info.low) or 1.0)


def eight_bit(planes: NDArray[np.float64]) -> Image.Image:
    """(channels, height, width) in [0, 1] as an 8-bit picture; more than four channels side by side in grey."""
    if planes.shape[0] not in MODES:
        planes = np.concatenate(list(planes), axis=-1)[None]
    pixels = np.rint(np.moveaxis(planes, 0, -1).clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if planes.shape[0] == 1 else pixels))
