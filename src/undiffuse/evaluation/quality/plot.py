"""Figures as a drawing: distances over N with their extrapolation, and every figure beside its floor.

One SVG file without scripts and fonts. The curves are `visualization.plot`'s; bars, which it has not, are drawn here.
"""

from __future__ import annotations

from html import escape
from statistics import fmean
from textwrap import shorten

from undiffuse.evaluation.quality.evaluate import Quality
from undiffuse.evaluation.quality.measurement import Measurement
from undiffuse.evaluation.quality.report import number
from undiffuse.provenance.own_pictures import SVG_MARK
from undiffuse.visualization.plot import COLORS, Axis, Series, line_plot

WIDTH, CURVES, ROW = 560, 300, 26
NAMES, VALUES = 200, 150
"""Room for words on the left and for numbers on the right."""


def plot(quality: Quality) -> str:
    curves = [_curve(figure) for figure in quality.figures if figure.points]
    bars = _bars([figure for figure in quality.figures if figure.floor is not None and figure.value >= 0])
    parts, top = [], 0
    for drawing, height in [*((curve, CURVES) for curve in curves), bars]:
        parts.append(drawing.replace("<svg ", f'<svg y="{top}" width="{WIDTH}" height="{height}" ', 1))
        top += height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" {SVG_MARK} role="img" '
        f'aria-label="figures of quality" font-family="system-ui, sans-serif">{"".join(parts)}</svg>\n'
    )


def _curve(figure: Measurement) -> str:
    """Distances against 1/N, where the expectation is a line, and the line's end at N = infinity."""
    series = _measured(figure.points, figure.value, "samples")
    if figure.floor is not None and figure.floor.points:
        series += _measured(figure.floor.points, figure.floor.value, "real images")
    distance = figure.name.removesuffix("-infinity")
    title = f"{distance} ({figure.extractor}) as N grows"
    return line_plot(series, Axis("1 / N; N = infinity is on the left", low=0.0), Axis(distance), title, WIDTH, CURVES)


def _measured(points: tuple[tuple[int, float], ...], end: float, name: str) -> list[Series]:
    """The points and, faint, the fitted line: from its end at 1/N = 0 through the points' mean, as least squares do."""
    inverse = [1 / n for n, _ in points]
    distances = [distance for _, distance in points]
    slope = (fmean(distances) - end) / fmean(inverse)
    far = max(inverse)
    return [Series(name, [0.0, far], [end, end + slope * far], faint=True), Series(name, inverse, distances)]


def _bars(figures: list[Measurement]) -> tuple[str, int]:
    """A bar for the figure and a thin one for its floor, on a scale of their own in every row; and the height."""
    parts = [
        f'<text x="14" y="20" font-weight="600" font-size="13">{escape("each figure, and below it its floor")}</text>'
    ]
    for place, figure in enumerate(figures):
        assert figure.floor is not None
        top = 34 + ROW * place
        scale = (WIDTH - NAMES - VALUES) / (max(figure.value, figure.floor.value) or 1)
        name = shorten(f"{figure.name} ({figure.extractor})", 32, placeholder="...")
        parts.append(f'<text x="{NAMES - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>')
        parts.append(_bar(top + 2, scale * figure.value, 9, COLORS[0]))
        parts.append(_bar(top + 13, scale * max(0.0, figure.floor.value), 4, COLORS[1]))
        words = f"{number(figure.value)} / {number(figure.floor.value)}"
        parts.append(f'<text x="{WIDTH - 4}" y="{top + 12}" text-anchor="end">{words}</text>')
    height = 34 + ROW * len(figures) + 10
    return f'<svg viewBox="0 0 {WIDTH} {height}" font-size="11" fill="currentColor">{"".join(parts)}</svg>', height


def _bar(top: float, width: float, height: float, color: str) -> str:
    return f'<rect x="{NAMES}" y="{top}" width="{width:.1f}" height="{height}" fill="{color}"/>'
