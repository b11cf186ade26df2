"""Moments of a process as pictures with captions: frames of a film, or side by side on a strip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from undiffuse.pictures.strip import evenly, flatten, strip

INK, PAPER = (51, 60, 72), (255, 255, 255)
CAPTION_SIZE = 12


@dataclass(frozen=True)
class Frame:
    """One moment of a process."""

    t: float
    image: Image.Image
    caption: str = ""
    """One or more lines."""


def film(frames: Sequence[Frame]) -> list[Image.Image]:
    """The frames of a moving picture, with their captions below."""
    return [_captioned(frame) for frame in frames]


def film_strip(frames: Sequence[Frame], count: int = 8) -> Image.Image:
    """``count`` of the frames, evenly chosen, in a row."""
    chosen = [frames[k] for k in evenly(len(frames), count)]
    captions = [frame.caption for frame in chosen]
    return strip([frame.image for frame in chosen], captions if any(captions) else ())


def _captioned(frame: Frame) -> Image.Image:
    """The picture with its caption on one line below it, in a smaller size where it would not fit."""
    if not frame.caption:
        return frame.image
    image, words = flatten(frame.image), "    ".join(frame.caption.splitlines())
    font = ImageFont.load_default(CAPTION_SIZE)
    if (needed := font.getlength(words)) > image.width - 8:
        font = ImageFont.load_default(max(6.0, CAPTION_SIZE * (image.width - 8) / needed))
    sheet = Image.new("RGB", (image.width, image.height + 2 * CAPTION_SIZE), PAPER)
    sheet.paste(image, (0, 0))
    ImageDraw.Draw(sheet).text((image.width / 2, image.height + CAPTION_SIZE), words, INK, font, "mm")
    return sheet
