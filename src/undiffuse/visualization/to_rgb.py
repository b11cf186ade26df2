"""Views of what is no picture: a volume by its middle slices, a signal by its curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIGNAL_SIZE = (256, 64)
INK, PAPER, AXIS = (38, 70, 140), (255, 255, 255), (215, 219, 226)


def volume_view(volume: NDArray[np.float64]) -> NDArray[np.float64]:
    """The three middle slices of a (channels, depth, height, width) volume side by side, as (channels, height, width).

    From left to right the slices cut depth, height and width in the middle; shorter ones are padded with 0 below.
    """
    _, depth, height, width = volume.shape
    slices = [volume[:, depth // 2], volume[:, :, height // 2], volume[:, :, :, width // 2]]
    tallest = max(plane.shape[1] for plane in slices)
    return np.concatenate([np.pad(p, ((0, 0), (0, tallest - p.shape[1]), (0, 0))) for p in slices], axis=-1)


def signal_view(signal: NDArray[np.float64]) -> Image.Image:
    """The curves of a (channels, length) signal in [0, 1], one below the other."""
    width, height = SIGNAL_SIZE
    image = Image.new("RGB", (width, height * len(signal)), PAPER)
    draw = ImageDraw.Draw(image)
    columns = np.linspace(0, width - 1, signal.shape[1])
    for k, channel in enumerate(signal):
        top = k * height
        draw.line([(0, top + height // 2), (width, top + height // 2)], fill=AXIS)
        rows = top + 2 + (1 - channel.clip(0, 1)) * (height - 5)
        draw.line(list(zip(columns.tolist(), rows.tolist(), strict=True)), fill=INK)
    return image
