"""Signals: (channels, length), seen as curves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from undiffuse.data.info import DataInfo
from undiffuse.modalities.modality import Modality, to_unit

INK, PAPER, AXIS = (38, 70, 140), (255, 255, 255), (215, 219, 226)


class Signals(Modality):
    """Curves one below the other, one a channel."""

    noun, axes = "signal", "length"
    tile_shows = "signals drawn as bands from black (low) to white (high)"

    def preview(self, values: NDArray[Any], info: DataInfo) -> Image.Image:
        width, height = 256, 64  # of one curve
        signal = to_unit(values, info)
        image = Image.new("RGB", (width, height * len(signal)), PAPER)
        draw = ImageDraw.Draw(image)
        columns = np.linspace(0, width - 1, signal.shape[1])
        for k, channel in enumerate(signal):
            top = k * height
            draw.line([(0, top + height // 2), (width, top + height // 2)], fill=AXIS)
            rows = top + 2 + (1 - channel.clip(0, 1)) * (height - 5)
            draw.line(list(zip(columns.tolist(), rows.tolist(), strict=True)), fill=INK)
        return image

    def tile(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(values[:, None], max(1, values.shape[1] // 8), axis=1)


SIGNALS = Signals()
