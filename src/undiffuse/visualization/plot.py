"""Line plots as SVG text: for loss curves and schedules, to stand inside a page.

The text takes the colour of the page around it (``currentColor``), so one plot reads on light and on dark ground. No
scripts, no fonts, nothing from outside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from undiffuse.provenance.own_pictures import SVG_MARK

COLORS = ("#3b82f6", "#f2793a", "#18a77b", "#c657c9", "#c99a10", "#e0526b")
"""Told apart on white and on near-black ground, and in the order of their use by most colour-blind readers. Where there
are more curves, the colours begin again, dashed."""
DASHES = ("", ' stroke-dasharray="6 3"', ' stroke-dasharray="2 2"')
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 30, 42
LEGEND_ROW = 16
"""Height of each row of the legend after the first."""
NARROW, WIDE = frozenset("fijlrtI.,:;'|()[] "), frozenset("mwMW@%+=")
MAX_POINTS = 600


@dataclass(frozen=True)
class Series:
    """One curve. Points that are not finite, or not positive on a logarithmic axis, are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    faint: bool = False
    """Drawn thin and pale in the colour of the series after it, outside the legend: raw values below their mean."""


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis; without limits it fits the data."""

    label: str = ""
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: Sequence[float] | None = None
    """Where to put numbers, of those within the limits; round numbers by default."""


def line_plot(
    series: Sequence[Series],
    x: Axis = Axis(),
    y: Axis = Axis(),
    title: str = "",
    width: int = 560,
    height: int = 300,
    legend: bool = True,
) -> str:
    """The curves as one ``<svg>`` element; without its legend where the page around it has one for several plots."""
    curves = [_points(one, x, y) for one in series]
    drawn = [curve for curve in curves if len(curve)]
    if not drawn:
        return _frame(title, width, height, [_text(width / 2, height / 2, "nothing to draw yet", "middle")])
    everything = np.concatenate(drawn)
    names = [one.name for one in series if not one.faint]
    rows = _legend_rows(names, width) if legend and len(names) > 1 else []
    top = TOP + LEGEND_ROW * max(0, len(rows) - 1)
    x_scale = _Scale(x, everything[:, 0], LEFT, width - RIGHT)
    y_scale = _Scale(y, everything[:, 1], height - BOTTOM, top)
    parts = [*_x_axis(x_scale, x, width, height, top), *_y_axis(y_scale, y, width, height, top)]
    color = 0
    for one, curve in zip(series, curves, strict=True):
        if len(curve):
            parts.append(_curve(curve, x_scale, y_scale, color, one.faint))
        color += not one.faint
    return _frame(title, width, height, [*parts, *_legend(rows, width)])


def smooth(y: Sequence[float], window: int) -> list[float]:
    """Mean of the last ``window`` values (fewer at the start): a curve to lay over raw ones."""
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(y, dtype=np.float64))])
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - window, 0)
    return [float(value) for value in (sums[ends] - sums[starts]) / (ends - starts)]


def linear_ticks(low: float, high: float, wanted: int = 7) -> list[float]:
    """Round numbers, 1, 2 or 5 times a power of ten apart, within [low, high]."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def log_ticks(low: float, high: float, wanted: int = 7) -> list[float]:
    """Powers of ten within [low, high]; with 2 and 5 times them where those alone would be few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1.0,) if last - first > 3 else (1.0, 2.0, 5.0)
    every = max(1, math.ceil((last - first) / wanted))
    ticks = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    return [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


class _Scale:
    """Numbers to pixels along one axis."""

    def __init__(self, axis: Axis, values: np.ndarray, start: float, end: float) -> None:
        self.log, self.start, self.end = axis.log, start, end
        low = float(values.min()) if axis.low is None else axis.low
        high = float(values.max()) if axis.high is None else axis.high
        if high <= low:
            low, high = (low / 2, high * 2) if axis.log else (low - 0.5, high + 0.5)
        if axis.ticks is None:
            self.ticks = log_ticks(low, high) if axis.log else linear_ticks(low, high)
        else:
            self.ticks = [tick for tick in axis.ticks if low <= tick <= high]
        self.low, self.high = (math.log10(low), math.log10(high)) if axis.log else (low, high)

    def __call__(self, value: float) -> float:
        at = math.log10(value) if self.log else value
        return self.start + (at - self.low) / (self.high - self.low) * (self.end - self.start)


def _points(one: Series, x: Axis, y: Axis) -> np.ndarray:
    """(n, 2) points that can be drawn, thinned by averaging neighbours where there are too many to see."""
    points = np.stack([np.asarray(one.x, dtype=np.float64), np.asarray(one.y, dtype=np.float64)], axis=1)
    keep = np.isfinite(points).all(axis=1)
    for column, axis in enumerate((x, y)):
        if axis.log:
            keep &= points[:, column] > 0
    points = points[keep]
    if len(points) <= MAX_POINTS:
        return points
    return np.stack([part.mean(axis=0) for part in np.array_split(points, MAX_POINTS)])


def _look(number: int) -> tuple[str, str]:
    """Color and dashes of the curve of this number."""
    return COLORS[number % len(COLORS)], DASHES[number // len(COLORS) % len(DASHES)]


def _curve(curve: np.ndarray, x: _Scale, y: _Scale, number: int, faint: bool) -> str:
    color, dashes = _look(number)
    if len(curve) == 1:
        return f'<circle cx="{x(float(curve[0, 0])):.1f}" cy="{y(float(curve[0, 1])):.1f}" r="3" fill="{color}"/>'
    points = " ".join(f"{x(float(a)):.1f},{y(float(b)):.1f}" for a, b in curve)
    look = 'stroke-width="1" opacity="0.35"' if faint else 'stroke-width="2"'
    return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-linejoin="round" {look}{dashes}/>'


def _x_axis(scale: _Scale, axis: Axis, width: int, height: int, top: int) -> list[str]:
    bottom = height - BOTTOM
    parts = [_line(LEFT, bottom, width - RIGHT, bottom, 0.5)]
    for tick in scale.ticks:
        parts += [_line(scale(tick), top, scale(tick), bottom, 0.1)]
        parts += [_text(scale(tick), bottom + 16, tick_label(tick), "middle")]
    return [*parts, _text((LEFT + width - RIGHT) / 2, height - 8, axis.label, "middle")]


def _y_axis(scale: _Scale, axis: Axis, width: int, height: int, top: int) -> list[str]:
    parts = []
    for tick in scale.ticks:
        parts += [_line(LEFT, scale(tick), width - RIGHT, scale(tick), 0.1)]
        parts += [_text(LEFT - 7, scale(tick) + 4, tick_label(tick), "end")]
    middle = (top + height - BOTTOM) / 2
    turned = f'transform="rotate(-90 14 {middle:.1f})"'
    return [*parts, _text(14, middle, axis.label, "middle", turned)]


def tick_label(value: float) -> str:
    """The number as short as it can be read: 0.002, 5000, 20k, 1e-5."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000 and value % 1000 == 0 and abs(value) < 1e6:
        return f"{value / 1000:g}k"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.6g}"


def _width(name: str) -> float:
    """Pixels of a name in the legend, with its line and the gap to the next, by a rough width of each letter."""
    return sum(3.8 if letter in NARROW else 9.8 if letter in WIDE else 6.6 for letter in name) + 32


def _legend_rows(names: Sequence[str], width: int) -> list[list[tuple[int, str]]]:
    """The names with their numbers, cut into rows that fit."""
    rows: list[list[tuple[int, str]]] = []
    left = 0.0
    for number, name in enumerate(names):
        left -= _width(name)
        if left < 0 or not rows:
            rows.append([])
            left = width - RIGHT - _width(name)
        rows[-1].append((number, name))
    return rows


def _legend(rows: Sequence[Sequence[tuple[int, str]]], width: int) -> list[str]:
    """Names at the top right, each after a short line like its curve."""
    parts: list[str] = []
    for row, named in enumerate(rows):
        y, left = 18 + LEGEND_ROW * row, width - RIGHT - sum(_width(name) for _, name in named) + 10
        for number, name in named:
            color, dashes = _look(number)
            ends = f'x1="{left:.1f}" x2="{left + 14:.1f}" y1="{y}" y2="{y}"'
            parts.append(f'<line {ends} stroke="{color}" stroke-width="3"{dashes}/>')
            parts.append(_text(left + 18, y + 4, name, "start"))
            left += _width(name)
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="currentColor" stroke-opacity="{opacity}"/>'


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>' if words else ""


def _frame(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """The element itself; its title is also what a screen reader says."""
    head = f'<text x="{LEFT}" y="22" font-weight="600" font-size="13">{escape(title)}</text>' if title else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {SVG_MARK} role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="11" fill="currentColor">'
        f"{head}{''.join(parts)}</svg>"
    )
