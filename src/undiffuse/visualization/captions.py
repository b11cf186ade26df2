"""Pictures in rows and columns, with the names of both written beside them."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from undiffuse.visualization.strip import INK, PAPER, flatten

TITLE, LETTERS = 18, 16
MARGIN, GAP = 14, 10


def labeled(
    cells: Sequence[Sequence[Image.Image]],
    rows: Sequence[str],
    columns: Sequence[str],
    titles: tuple[str, str],
) -> Image.Image:
    """A table of pictures of one size, RGB on white.

    Args:
        cells: one sequence a row, one picture a column.
        rows, columns: the names of the rows, on the left, and of the columns, above.
        titles: of the rows and of the columns.
    """
    title, letters = ImageFont.load_default(TITLE), ImageFont.load_default(LETTERS)
    width, height = cells[0][0].size
    left = MARGIN + int(max(letters.getlength(name) for name in (*rows, titles[0]))) + MARGIN
    top = MARGIN + TITLE + GAP + LETTERS + GAP
    sheet = Image.new(
        "RGB", (left + len(columns) * (width + GAP) + MARGIN, top + len(rows) * (height + GAP) + MARGIN), PAPER
    )
    draw = ImageDraw.Draw(sheet)
    draw.text((left + (len(columns) * (width + GAP) - GAP) / 2, MARGIN), titles[1], INK, title, "ma")
    draw.text((MARGIN, top - GAP), titles[0], INK, letters, "ls")
    for k, name in enumerate(columns):
        draw.text((left + k * (width + GAP) + width / 2, top - GAP), name, INK, letters, "ms")
    for j, (name, row) in enumerate(zip(rows, cells, strict=True)):
        y = top + j * (height + GAP)
        draw.text((left - MARGIN, y + height / 2), name, INK, letters, "rm")
        for k, cell in enumerate(row):
            sheet.paste(flatten(cell), (left + k * (width + GAP), y))
    return sheet
