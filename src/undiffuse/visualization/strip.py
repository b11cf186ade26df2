"""A film strip: pictures in one row, each with a caption, to be read from left to right."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from undiffuse.visualization.grid import enlarge, viewable

PAPER, INK = (255, 255, 255), (70, 74, 84)
CAPTION_SIZE = 11


def strip(
    images: Sequence[Image.Image], captions: Sequence[str] = (), padding: int = 6, scale: int | None = None
) -> Image.Image:
    """Pictures of one size in one row, RGB on white.

    Args:
        images: at least one, all of one size.
        captions: one for each picture, each of one or more lines; or none at all.
        padding: pixels between pictures and around them.
        scale: whole factor of enlargement (nearest neighbour); by default small pictures are enlarged.
    """
    scale = scale or max(1, math.ceil(80 / images[0].width))  # so wide that a caption fits below
    tiles = [flatten(enlarge(viewable(image), scale)) for image in images]
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    width, height = tiles[0].width + padding, tiles[0].height + 2 * padding + lines * (CAPTION_SIZE + 4)
    sheet = Image.new("RGB", (len(tiles) * width + padding, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(CAPTION_SIZE)
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (padding + k * width, padding))
    for k, caption in enumerate(captions):
        middle = padding + k * width + tiles[0].width / 2
        draw.multiline_text((middle, tiles[0].height + padding + 3), caption, INK, font, "ma", align="center")
    return sheet


def flatten(image: Image.Image) -> Image.Image:
    """The picture as RGB, transparent parts on white."""
    if not image.mode.endswith("A"):
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")


def evenly(count: int, wanted: int) -> list[int]:
    """``wanted`` indices spread evenly over ``range(count)``, first and last among them."""
    wanted = min(wanted, count)
    return [round(k * (count - 1) / max(wanted - 1, 1)) for k in range(wanted)]
