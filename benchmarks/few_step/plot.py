"""The figure of few evaluations: the Frechet distance against evaluations, of the teacher's samplers and of students.

    python -m benchmarks.few_step.plot docs/measure/few-step.json --out docs/pictures/few-step.svg

Both axes are logarithmic. A curve is a sampler of the teacher without guidance, on one spacing (`CURVES`), or a
student's method, over its numbers of evaluations; each point is the mean of all seeds of one number of samples. The
lowest line is that of real images.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.few_step.table import TEACHER, Row, is_real
from benchmarks.lib.alternation import write_plot
from undiffuse.visualization.plot import Axis, Series, line_plot

CURVES = (("ddim", "trailing"), ("unipc2", "trailing"), ("dpm++2m-sde", "trailing"))
"""Of the teacher's, those that are drawn; the `bh1` solvers are left out, whose bold strokes flatter them."""


def curves(rows: Sequence[Row], n: int) -> dict[str, dict[float, float]]:
    """By name of a curve, the mean distance of the rows of ``n`` samples at each number of evaluations."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        how, usual = (row["sampler"], row["spacing"]), row["guidance"] == 1 and row["threshold"] == "clip"
        if row["n"] != n or is_real(row):
            continue
        if row["method"] != TEACHER:
            found[row["method"]][row["evaluations"]].append(row["fd"])
        elif usual and how in CURVES:
            found[row["sampler"]][row["evaluations"]].append(row["fd"])
    return {
        name: {evaluations: statistics.fmean(values) for evaluations, values in sorted(points.items())}
        for name, points in found.items()
    }


def plot(rows: Sequence[Row], n: int = 5000) -> str:
    """The figure as SVG."""
    drawn = curves(rows, n)
    series = [Series(name, list(points), list(points.values())) for name, points in drawn.items()]
    ends = [evaluations for points in drawn.values() for evaluations in points]
    floor = next((row for row in rows if is_real(row) and row["n"] == n), None)
    if floor and ends:
        name = floor["method"].replace("held-out", "real")
        series.append(Series(name, [min(ends), max(ends)], [floor["fd"]] * 2))
    ticks = [2**power for power in range(11)]
    x, y = Axis("evaluations of the network", log=True, ticks=ticks), Axis(f"Frechet distance, N = {n:,}", log=True)
    return line_plot(series, x, y, width=720, height=380)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="the JSON file of the rows")
    parser.add_argument("-n", type=int, default=5000, help="samples of the rows that are drawn (default 5000)")
    parser.add_argument("--out", type=Path, required=True, help="the SVG file")
    args = parser.parse_args()

    write_plot(args.out, plot(json.loads(args.rows.read_text())["rows"], args.n))


if __name__ == "__main__":
    main()
