"""Volumes: (channels, depth, height, width), seen by their middle slices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from undiffuse.data.info import DataInfo
from undiffuse.modalities.modality import Modality, eight_bit, to_unit


class Volumes(Modality):
    """The three middle slices side by side; from left to right they cut depth, height and width."""

    noun, axes = "volume", "depth x height x width"
    tile_shows = "the middle slice of each volume"

    def preview(self, values: NDArray[Any], info: DataInfo) -> Image.Image:
        volume = to_unit(values, info)
        _, depth, height, width = volume.shape
        slices = [volume[:, depth // 2], volume[:, :, height // 2], volume[:, :, :, width // 2]]
        tallest = max(plane.shape[1] for plane in slices)  # shorter ones are padded with 0 below
        padded = [np.pad(plane, ((0, 0), (0, tallest - plane.shape[1]), (0, 0))) for plane in slices]
        return eight_bit(np.concatenate(padded, axis=-1))

    def tile(self, values: NDArray[Any]) -> NDArray[Any]:
        return values[:, values.shape[1] // 2]


VOLUMES = Volumes()
