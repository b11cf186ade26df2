"""Plots are well-formed SVG whose points lie where their numbers say."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ElementTree

import pytest

from undiffuse.visualization.plot import Axis, Series, line_plot, linear_ticks, log_ticks, smooth, tick_label

SVG = "{http://www.w3.org/2000/svg}"


def lines(svg: str) -> list[list[tuple[float, float]]]:
    found = ElementTree.fromstring(svg).iter(f"{SVG}polyline")
    return [[tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()] for line in found]  # type: ignore[misc]


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_equal_steps_are_equally_far_apart_and_up_is_more() -> None:
    ((a, b, c),) = lines(line_plot([Series("s", [0, 1, 2], [5, 6, 7])]))
    assert b[0] - a[0] == pytest.approx(c[0] - b[0], abs=0.11)
    assert a[1] - b[1] == pytest.approx(b[1] - c[1], abs=0.11)
    assert a[1] > c[1]


def test_equal_factors_are_equally_far_apart_on_a_logarithmic_axis() -> None:
    ((a, b, c),) = lines(line_plot([Series("s", [0, 1, 2], [1, 10, 100])], y=Axis(log=True)))
    assert a[1] - b[1] == pytest.approx(b[1] - c[1], abs=0.11)


def test_what_is_not_finite_or_not_positive_on_a_logarithmic_axis_is_left_out() -> None:
    svg = line_plot([Series("s", [0, 1, 2, 3, 4], [1, math.nan, math.inf, -1, 10])], y=Axis(log=True))
    assert len(lines(svg)[0]) == 2


@pytest.mark.parametrize("y", [[], [math.nan], [0.0, -1.0]])
def test_nothing_to_draw_says_so(y: list[float]) -> None:
    svg = line_plot([Series("s", list(range(len(y))), y)], y=Axis(log=True))
    assert "nothing to draw yet" in words(svg)


def test_one_point_and_a_constant_are_drawn() -> None:
    for log in (False, True):
        assert "<circle" in line_plot([Series("s", [3], [7])], y=Axis(log=log), x=Axis(log=log))
        assert lines(line_plot([Series("s", [1, 2], [7, 7])], y=Axis(log=log)))


def test_long_curves_are_thinned_and_keep_their_mean() -> None:
    ((*points,),) = lines(
        line_plot([Series("s", range(10_000), [k % 2 for k in range(10_000)])], y=Axis(low=0, high=1))
    )
    assert len(points) <= 600
    heights = {round(y) for _, y in points}
    assert len(heights) <= 3


def test_titles_and_names_are_escaped() -> None:
    svg = line_plot([Series("<b>&\"'", [0, 1], [0, 1]), Series("c", [0, 1], [1, 0])], Axis("<x>"), Axis("&y"), "</svg>")
    assert {"<b>&\"'", "<x>", "&y", "</svg>"} <= set(words(svg))


def test_a_faint_series_shares_the_colour_of_the_next_and_has_no_name() -> None:
    svg = line_plot(
        [Series("raw", [0, 1], [0, 1], faint=True), Series("mean", [0, 1], [0, 1]), Series("b", [0, 1], [1, 1])]
    )
    strokes = [line.attrib["stroke"] for line in ElementTree.fromstring(svg).iter(f"{SVG}polyline")]
    assert strokes[0] == strokes[1] != strokes[2]
    assert "raw" not in words(svg)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 1000, [0, 200, 400, 600, 800, 1000]),
        (-90, 5, [-80, -60, -40, -20, 0]),
    ],
)
def test_linear_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert linear_ticks(low, high) == pytest.approx(ticks)


def test_logarithmic_ticks_are_powers_of_ten_with_two_and_five_where_few() -> None:
    assert log_ticks(1e-5, 1) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert log_ticks(0.02, 0.3) == pytest.approx([0.02, 0.05, 0.1, 0.2])


@pytest.mark.parametrize(
    ("value", "label"),
    [(0, "0"), (0.2, "0.2"), (1e-5, "1e-5"), (20_000, "20k"), (1e7, "1e7"), (0.30000000000000004, "0.3")],
)
def test_tick_labels_are_short(value: float, label: str) -> None:
    assert tick_label(value) == label


def test_a_running_mean_of_a_constant_is_the_constant_and_of_one_is_the_curve() -> None:
    assert smooth([2.0] * 5, 3) == pytest.approx([2.0] * 5)
    assert smooth([1.0, 5.0, 3.0], 1) == pytest.approx([1.0, 5.0, 3.0])
    assert smooth([0.0, 3.0, 6.0], 2) == pytest.approx([0.0, 1.5, 4.5])


def _legend(svg: str) -> list[tuple[str, float, float]]:
    """Name, left end and height of each text of the legend, which follows a line of 14 pixels."""
    found = [(text.text or "", float(text.attrib["x"]), float(text.attrib["y"])) for text in texts(svg)]
    marks = {(float(line.attrib["x2"]) + 4, float(line.attrib["y1"]) + 4) for line in thick(svg)}
    return [(name, x, y) for name, x, y in found if (x, y) in marks]


def texts(svg: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}text"))


def thick(svg: str) -> list[ElementTree.Element]:
    return [line for line in ElementTree.fromstring(svg).iter(f"{SVG}line") if "stroke-width" in line.attrib]


def test_a_legend_that_is_wider_than_the_plot_goes_on_below_and_no_name_lies_on_another() -> None:
    names = [f"sampler number {k}" for k in range(14)]
    svg = line_plot([Series(name, [0, 1], [0, k]) for k, name in enumerate(names)], width=560)
    found = _legend(svg)
    assert [name for name, _, _ in found] == names
    heights = sorted({y for _, _, y in found})
    assert len(heights) > 2
    for height in heights:
        lefts = [x for _, x, y in found if y == height]
        assert lefts[0] >= 0
        assert all(later - earlier > 5 * len(names[0]) for earlier, later in itertools.pairwise(lefts))
    assert min(y for curve in lines(svg) for _, y in curve) > heights[-1]


def test_curves_after_the_last_color_are_dashed_like_their_names() -> None:
    svg = line_plot([Series(str(k), [0, 1], [0, k]) for k in range(13)])
    curves = list(ElementTree.fromstring(svg).iter(f"{SVG}polyline"))
    looks = [(curve.attrib["stroke"], curve.attrib.get("stroke-dasharray")) for curve in curves]
    assert len(set(looks)) == 13
    assert [(line.attrib["stroke"], line.attrib.get("stroke-dasharray")) for line in thick(svg)] == looks


def test_an_axis_with_ticks_of_its_own_shows_those_within_its_limits() -> None:
    svg = line_plot([Series("s", [1, 20], [1, 2])], x=Axis(log=True, ticks=[0.5, 1, 4, 16, 64]), y=Axis(ticks=[]))
    assert words(svg) == ["1", "4", "16"]
