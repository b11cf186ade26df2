"""Moments of a process as pictures with captions: frames of a film, or side by side on a strip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from undiffuse.visualization.strip import evenly, flatten, strip

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
    """The frames of a moving picture, all of one size, with their captions below: on one line where there is room."""
    if not any(frame.caption for frame in frames):
        return [frame.image for frame in frames]
    width = frames[0].image.width - 8
    captions = [frame.caption.replace("\n", "    ") for frame in frames]
    if _fitting_size(captions, width) < 9:  # letters that cannot be read
        captions = [frame.caption for frame in frames]
    font = ImageFont.load_default(_fitting_size(captions, width))
    return [_captioned(frame.image, caption, font) for frame, caption in zip(frames, captions, strict=True)]


def film_strip(frames: Sequence[Frame], count: int = 8) -> Image.Image:
    chosen = [frames[k] for k in evenly(len(frames), count)]
    captions = [frame.caption for frame in chosen]
    return strip([frame.image for frame in chosen], captions if any(captions) else ())


def _fitting_size(captions: Sequence[str], width: int) -> float:
    """The size of letters, at most `CAPTION_SIZE`, at which the longest line fits."""
    font = ImageFont.load_default(CAPTION_SIZE)
    longest = max(font.getlength(line) for caption in captions for line in caption.splitlines())
    return min(CAPTION_SIZE, CAPTION_SIZE * width / longest)


def _captioned(image: Image.Image, caption: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> Image.Image:
    height = (caption.count("\n") + 1) * (CAPTION_SIZE + 4) + 8
    sheet = Image.new("RGB", (image.width, image.height + height), PAPER)
    sheet.paste(flatten(image), (0, 0))
    draw = ImageDraw.Draw(sheet)
    draw.multiline_text((image.width / 2, image.height + height / 2), caption, INK, font, "mm", align="center")
    return sheet
