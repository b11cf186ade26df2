"""The drawing of `brownian`: the cloud in the water above, its histogram and the exact density below.

The ink is drawn as light sees it: each particle absorbs (Beer-Lambert), so that a dense drop is dark and a thin cloud
fades into the water. Everything is drawn at twice the size and averaged down, which smooths every edge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from undiffuse.visualization.brownian import Water, walk
from undiffuse.visualization.frame import Frame

Number = TypeVar("Number", float, NDArray[np.float64])

SUPER = 2
WIDTH, CLOUD, PLOT, MARGIN = 480, 400, 170, 14
REACH = 3.2
"""Half the width of the picture, in lengths."""
BINS = 64
SPOT = tuple(zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True))
"""(shift, weight) of the filter that makes a particle a round spot."""
TRAIL = 40
"""Frames for which the path of the one marked particle stays visible."""

WATER_TOP, WATER_BOTTOM = (226, 240, 247), (188, 217, 232)
ABSORBS = np.array([0.30, 0.22, 0.10])
"""How much of red, green and blue a particle takes away: blue-black ink."""
PAPER, AXIS, BAR, CURVE, TEXT, MARK = "#fbfcfd", "#9aa7b2", "#a9c3df", "#1f3f77", "#33404d", "#e2542c"


def ink_frames(water: Water, count: int = 90, duration: float = 1.0) -> Iterator[Frame]:
    """``count`` frames of 480 x 570 pixels from t = 0 to ``duration``.

    Time runs quadratically, slow at the start: a cloud's width grows with sqrt(t), so it then grows evenly.
    """
    times = duration * np.linspace(0, 1, count) ** 2
    peak = float(water.density(np.array([water.mean(times[count // 4])]), times[count // 4])[0])
    path: list[tuple[float, float]] = []
    for t, places in zip(times.tolist(), walk(water, times), strict=True):
        path = [*path, (float(places[0, 0]), float(places[0, 1]))][-TRAIL:]
        yield Frame(t, _frame(water, t, places, path, peak))


def _frame(
    water: Water, t: float, places: NDArray[np.float64], path: list[tuple[float, float]], peak: float
) -> Image.Image:
    canvas = Image.new("RGB", (WIDTH * SUPER, (CLOUD + PLOT) * SUPER), PAPER)
    canvas.paste(_cloud(places), (0, 0))
    draw = ImageDraw.Draw(canvas)
    _mark(draw, path)
    _plot(draw, water, t, places[:, 0], peak)
    _words(draw, water, t, places[:, 0])
    return canvas.reduce(SUPER)


def _pixel(x: Number) -> Number:
    """Horizontal place on the canvas; the same above and below, so that the plot stands under the cloud."""
    return (x / REACH + 1) / 2 * WIDTH * SUPER


def _cloud(places: NDArray[np.float64]) -> Image.Image:
    """Water with ink in it: colour = water exp(-absorption x particles above the pixel)."""
    width, height = WIDTH * SUPER, CLOUD * SUPER
    columns = np.floor(_pixel(places[:, 0])).astype(int)
    rows = np.floor(height / 2 - places[:, 1] / (2 * REACH) * width).astype(int)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    amount = np.zeros((height, width))
    np.add.at(amount, (rows[inside], columns[inside]), 1.0)
    amount = _spread(amount)
    shade = np.linspace(0, 1, height)[:, None, None]
    water = (1 - shade) * np.array(WATER_TOP) + shade * np.array(WATER_BOTTOM)
    return Image.fromarray(np.rint(water * np.exp(-amount[..., None] * ABSORBS)).astype(np.uint8))


def _spread(amount: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each particle becomes a round spot: the filter along both axes."""
    for axis in (0, 1):
        rolled = [weight * np.roll(amount, shift, axis) for shift, weight in SPOT]
        amount = np.asarray(np.sum(rolled, axis=0))
    return amount / 36


def _mark(draw: ImageDraw.ImageDraw, path: list[tuple[float, float]]) -> None:
    points = [(_pixel(x), CLOUD * SUPER / 2 - y / (2 * REACH) * WIDTH * SUPER) for x, y in path]
    draw.line(points, fill=MARK, width=SUPER, joint="curve")
    x, y = points[-1]
    draw.ellipse((x - 3 * SUPER, y - 3 * SUPER, x + 3 * SUPER, y + 3 * SUPER), fill=MARK, outline="white", width=SUPER)


def _plot(draw: ImageDraw.ImageDraw, water: Water, t: float, x: NDArray[np.float64], peak: float) -> None:
    bottom, top = (CLOUD + PLOT - 24) * SUPER, (CLOUD + MARGIN) * SUPER
    draw.rectangle((0, CLOUD * SUPER, WIDTH * SUPER, (CLOUD + PLOT) * SUPER), fill=PAPER)

    def height(p: float) -> float:
        """Linear in the density; a drop taller than the plot is cut at its top."""
        return bottom - min(p / (1.08 * peak), 1) * (bottom - top)

    counts, edges = np.histogram(x, BINS, (-REACH, REACH))
    for count, left, right in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            draw.rectangle(
                (_pixel(left) + 1, height(count / len(x) / (right - left)), _pixel(right) - 1, bottom), fill=BAR
            )
    at = np.linspace(-REACH, REACH, 481)
    curve = [(_pixel(u), height(p)) for u, p in zip(at.tolist(), water.density(at, t).tolist(), strict=True)]
    draw.line(curve, fill=CURVE, width=2 * SUPER, joint="curve")
    draw.line((0, bottom, WIDTH * SUPER, bottom), fill=AXIS, width=SUPER)
    font = ImageFont.load_default(11 * SUPER)
    for tick in range(-math.floor(REACH), math.floor(REACH) + 1):
        draw.line((_pixel(tick), bottom, _pixel(tick), bottom + 4 * SUPER), fill=AXIS, width=SUPER)
        draw.text((_pixel(tick), bottom + 6 * SUPER), str(tick), TEXT, font, "ma")


def _words(draw: ImageDraw.ImageDraw, water: Water, t: float, x: NDArray[np.float64]) -> None:
    font, small = ImageFont.load_default(14 * SUPER), ImageFont.load_default(12 * SUPER)
    equation = "dx = sqrt(2D) dW" if water.theta == 0 else f"dx = -{water.theta:g} x dt + sqrt(2D) dW"
    edge = WIDTH * SUPER - MARGIN * SUPER
    draw.text((MARGIN * SUPER, MARGIN * SUPER), equation, TEXT, font)
    draw.text((edge, MARGIN * SUPER), f"t = {t:.2f}", TEXT, font, "ra")
    top = (CLOUD + MARGIN) * SUPER
    draw.text((MARGIN * SUPER, top), f"{len(x)} particles\nvariance {x.var():.3f}", TEXT, small, spacing=4 * SUPER)
    exact = f"exact density\nvariance {water.variance(t):.3f}"
    draw.text((edge, top), exact, CURVE, small, "ra", spacing=4 * SUPER, align="right")
