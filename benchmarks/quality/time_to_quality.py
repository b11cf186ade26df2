"""Quality per minute: distance from the data against minutes of training, ours and what people use today.

    python -m benchmarks.quality.time_to_quality                                                # the built-in digits
    python -m benchmarks.quality.time_to_quality --data mnist-train.npz --held-out mnist-test.npz --minutes 10 --seeds 3
    python -m benchmarks.quality.time_to_quality --data cifar10/train --held-out cifar10/test --flip --out runs/colour
    python -m benchmarks.quality.time_to_quality --contenders small 'slow: small lr=1e-3' 'wide: small base=64'

A contender is a name of lib/contenders/others.py, perhaps followed by settings that change it (one factor at a time)
and led by a label for them, and perhaps by ``@MINUTES``, a budget of its own: a learning rate that falls to 0 at the
end of ten minutes makes the point at two minutes that of an unfinished training, and ``small@2`` is finished there.

Contenders train in turn, in slices (lib/alternation.py), each for the same minutes: of processor time on a CPU, which
other programs on the machine hardly change, or of the wall (--clock wall; always on a GPU). Judging is not counted. At
each of some minutes, spread evenly on a logarithmic axis, samples are drawn with the averaged weights, by one sampler
for all and, with --own, at the end by each side's default as well, and judged by lib/feature_judge.py.

Written to --out: results.jsonl, a line a figure (run the same command again to go on where it broke off: contenders
that are not through start anew), results.json, table.md, plot.svg, grids of samples.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.lib.alternation import Trainee, alternate, machine, write_json, write_plot
from benchmarks.lib.contenders.others import CONTENDERS
from benchmarks.lib.contenders.training import Contender, Training
from benchmarks.lib.feature_judge import FeatureJudge, make_judge, some
from undiffuse.config.data import DataConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.visualization.grid import grid, to_image
from undiffuse.visualization.plot import Axis, Series, line_plot

COMMON = SampleConfig()
"""Draws the samples of all contenders: 20 evaluations, so that judging takes less time than training."""
RATIO = 5**0.5
"""Between two points in time; two of them are a factor of five: 10, 4.5, 2 minutes, ..."""


@dataclass(frozen=True)
class Entry:
    """A contender and its own budget in minutes."""

    contender: Contender
    minutes: float

    @staticmethod
    def parse(text: str, minutes: float) -> Entry:
        """'NAME', 'NAME@MINUTES', 'LABEL: NAME setting=value ...' or all of these.

        Raises:
            UndiffuseError: unknown contender, or a word that is no setting.
        """
        label, _, rest = text.rpartition(":")
        name, *words = rest.split()
        name, _, budget = name.partition("@")
        if name not in CONTENDERS:
            raise UndiffuseError(f"there is no contender '{name}'{perhaps(name, CONTENDERS)}")
        if any("=" not in word for word in words):
            raise UndiffuseError(f"expected setting=value after a contender's name, got '{text}'")
        changes = {key: _setting(value) for key, _, value in (word.partition("=") for word in words)}
        contender = CONTENDERS[name].changed(changes)
        return Entry(replace(contender, name=label or text), float(budget or minutes))


def _setting(text: str) -> Any:
    """A number, a list, true, false or null as JSON has them; any other word as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class Plan:
    """What holds for the whole comparison."""

    minutes: float
    points: int
    n: int
    device: str = "cpu"
    clock: str = "processor"
    slice_seconds: float = 15.0
    flip: bool = False
    own: bool = False

    def marks(self, minutes: float) -> list[float]:
        """Seconds of training at which an entry of this budget is judged: those of the longest, and its own last."""
        grid = [self.minutes * RATIO**-k for k in range(self.points)]
        return [60 * mark for mark in sorted({*(m for m in grid if m < 0.999 * minutes), minutes})]

    @property
    def changes(self) -> dict[str, Any]:
        """Settings that every contender gets."""
        return {"device": self.device} | ({"flip": True} if self.flip else {})


class Book:
    """Results line by line in a file, so that nothing measured is lost.

    Raises:
        UndiffuseError: the file is of another comparison.
    """

    def __init__(self, path: Path, terms: dict[str, Any]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        if not lines:
            path.write_text(json.dumps({"terms": terms}) + "\n")
        elif lines[0]["terms"] != terms:
            raise UndiffuseError(f"{path} holds results of another comparison: {lines[0]['terms']}; give another --out")
        self.points: list[dict[str, Any]] = lines[1:]

    def add(self, point: dict[str, Any]) -> None:
        self.points.append(point)
        with self.path.open("a") as file:
            file.write(json.dumps(point) + "\n")

    def has(self, name: str, seed: int, mark: float) -> bool:
        return any((p["name"], p["seed"], p["mark"]) == (name, seed, mark) for p in self.points)

    def latest(self) -> list[dict[str, Any]]:
        """The newest of the points that stand for the same thing."""
        return list({(p["name"], p["seed"], p["mark"], p["sampler"]): p for p in self.points}.values())


def compare(
    data: Dataset, judge: FeatureJudge, entries: Sequence[Entry], seeds: Iterable[int], plan: Plan, book: Book
) -> None:
    """Train and judge whatever the book does not have."""
    for seed in seeds:
        for minutes in sorted({entry.minutes for entry in entries}):
            marks = plan.marks(minutes)
            chosen = [e.contender for e in entries if e.minutes == minutes]
            chosen = [c for c in chosen if not book.has(c.name, seed, marks[-1])]
            # Each seed begins with another contender, so that none is always the first of a turn.
            chosen = chosen[seed % len(chosen) :] + chosen[: seed % len(chosen)] if chosen else []
            trainees = [Training(contender, data, seed, plan.device, plan.changes) for contender in chosen]

            def look(trainee: Trainee, mark: float, spent: float, seed: int = seed, last: float = marks[-1]) -> None:
                assert isinstance(trainee, Training)
                examine(trainee, judge, plan, book, {"seed": seed, "mark": mark, "spent": spent}, mark == last)

            clock = time.process_time if plan.clock == "processor" else time.perf_counter
            load = alternate(trainees, marks, look, plan.slice_seconds, clock)
            if trainees:
                print(f"seed {seed}, {minutes:g} minutes: {load}", flush=True)


def examine(trainee: Training, judge: FeatureJudge, plan: Plan, book: Book, point: dict[str, Any], last: bool) -> None:
    """Draw, judge, write down."""
    samplings = {"common": COMMON} | ({"own": trainee.contender.sampling} if plan.own and last else {})
    for sampler, settings in samplings.items():
        begun = time.process_time()
        images = trainee.samples(plan.n, settings).array
        row = {
            "name": trainee.name,
            "ours": trainee.contender.ours,
            **point,
            "sampler": sampler,
            "fd": judge.distance(images),
        }
        row |= {"steps": trainee.steps, "parameters": trainee.parameters, "batch": trainee.config.loop.batch}
        book.add(row | {"judging": time.process_time() - begun})
        print(
            f"{trainee.name:<40}{point['seed']:>3}{point['spent']:>8.0f} s{trainee.steps:>8}{row['fd']:>9.2f}",
            flush=True,
        )
        if last:
            tiles = [to_image(image, judge.info) for image in images[:64]]
            name = "".join(c if c.isalnum() else "-" for c in trainee.name)
            grid(tiles).save(book.path.parent / f"{name}-{point['seed']}-{sampler}.png")


def curves(points: Sequence[dict[str, Any]], sampler: str = "common") -> dict[str, dict[float, list[float]]]:
    """name -> mark -> distances over the seeds."""
    found: dict[str, dict[float, list[float]]] = {}
    for p in sorted(points, key=lambda p: float(p["mark"])):
        if p["sampler"] == sampler:
            found.setdefault(p["name"], {}).setdefault(p["mark"], []).append(p["fd"])
    return found


def table(points: Sequence[dict[str, Any]], floor: float | None) -> str:
    """Markdown: a row a contender, a column a minute; the median over seeds, and the extremes where they differ."""
    found, own = curves(points), curves(points, "own")
    marks = sorted({mark for curve in found.values() for mark in curve})
    titles = [
        "contender",
        "parameters",
        "images",
        *(f"{mark / 60:.2g} min" for mark in marks),
        *(["own sampler"] if own else []),
    ]
    lines = ["| " + " | ".join(titles) + " |", "|---" + "|---:" * (len(titles) - 1) + "|"]
    for name, curve in found.items():
        ends = [p for p in points if p["name"] == name and p["mark"] == max(curve)]
        seen = median(p["steps"] * p["batch"] for p in ends)
        cells = [
            f"{ends[0]['parameters'] / 1e6:.2f} M",
            f"{seen:,.0f}",
            *(_cell(curve.get(mark, [])) for mark in marks),
        ]
        cells += [_cell([d for ds in own.get(name, {}).values() for d in ds])] if own else []
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines) + "\n" + (f"\nheld-out images: {floor:.2f}\n" if floor is not None else "")


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ({min(values):.1f}-{max(values):.1f})" if len(values) > 1 else ""
    return f"{median(values):.1f}{spread}"


def verdict(points: Sequence[dict[str, Any]]) -> str:
    """The best of the others at the end, and when ours were as good; and whether ours were ahead at every mark."""
    found = curves(points)
    mine = {p["name"] for p in points if p["ours"]}
    ours = {name: curve for name, curve in found.items() if name in mine}
    others = {name: curve for name, curve in found.items() if name not in ours}
    if not ours or not others:
        return ""
    end = max(mark for curve in others.values() for mark in curve)
    best, name = min((median(curve[end]), name) for name, curve in others.items() if end in curve)
    reached = sorted((mark, name) for name, curve in ours.items() for mark, ds in curve.items() if median(ds) <= best)
    when = f"{reached[0][1]} at {reached[0][0] / 60:.2g} min" if reached else "none of ours"
    marks = sorted({mark for curve in others.values() for mark in curve})
    lines = [f"best of the others after {end / 60:.2g} min: {name}, {best:.1f}; as good: {when}"]
    for mark in marks:
        own = min((median(c[mark]) for c in ours.values() if mark in c), default=float("nan"))
        theirs = min(median(c[mark]) for c in others.values() if mark in c)
        lines.append(f"  {mark / 60:.2g} min: ours {own:.1f}, others {theirs:.1f}")
    return "\n".join(lines)


def plot(points: Sequence[dict[str, Any]], floor: float | None, plan: Plan) -> str:
    """Each training pale, the median over seeds bold."""
    series = []
    for name, curve in curves(points).items():
        mine = [p for p in points if p["name"] == name and p["sampler"] == "common"]
        for seed in sorted({p["seed"] for p in mine}) if len({p["seed"] for p in mine}) > 1 else []:
            one = sorted((p for p in mine if p["seed"] == seed), key=lambda p: float(p["mark"]))
            series.append(Series(f"{name}-{seed}", [p["mark"] / 60 for p in one], [p["fd"] for p in one], faint=True))
        series.append(Series(name, [mark / 60 for mark in curve], [median(ds) for ds in curve.values()]))
    if floor is not None:
        marks = [p["mark"] / 60 for p in points]
        series.append(Series("held-out images", [min(marks), max(marks)], [floor, floor]))
    words = {"processor": "processor time of one process", "wall": f"of the wall, {plan.device}"}[plan.clock]
    return line_plot(
        series,
        Axis(f"minutes of training, {words}", log=True),
        Axis(f"Frechet distance, N = {plan.n:,}", log=True),
        width=760,
        height=420,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="labelled data: digits, a file or a folder (default digits)")
    parser.add_argument("--held-out", help="real images that nobody learned, for the least distance to expect")
    parser.add_argument(
        "--contenders", nargs="+", metavar="NAME", help="default: small, small@MINUTES/5 and the others"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, each contender (default 10)")
    parser.add_argument("--points", type=int, default=6, help="at which to judge (default 6)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... (default 3)")
    parser.add_argument("-n", type=int, default=1000, help="samples of each point (default 1000)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default cpu)")
    parser.add_argument("--clock", choices=["processor", "wall"], help="default: processor on a CPU, wall elsewhere")
    parser.add_argument("--slice", type=float, default=15.0, help="seconds of one turn (default 15)")
    parser.add_argument("--threads", type=int, default=1, help="of everything (default 1)")
    parser.add_argument("--flip", action="store_true", help="every contender mirrors images at random")
    parser.add_argument("--own", action="store_true", help="at the end, each side's default sampler as well: slow")
    parser.add_argument("--out", type=Path, default=Path("runs/time-to-quality"), help="where results go")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    clock = args.clock or ("processor" if args.device == "cpu" else "wall")
    plan = Plan(args.minutes, args.points, args.n, args.device, clock, args.slice, args.flip, args.own)
    others = [name for name, contender in CONTENDERS.items() if not contender.ours]
    names = args.contenders or ["small", f"small@{args.minutes / 5:g}", *others]
    entries = [Entry.parse(name, args.minutes) for name in names]
    data = prepare(DataConfig(source=args.data))
    for entry in entries:
        entry.contender.settings(data.info)  # a setting that is none is refused now, not in an hour
    judge = make_judge(data)
    floor = None
    if args.held_out:
        real = prepare(DataConfig(source=args.held_out))
        floor = judge.distance(real.images[some(len(real), args.n)])
    terms = {"data": data.info.fingerprint, "judge": judge.extractor.sha256, "n": args.n, "clock": clock}
    terms |= {"device": args.device, "threads": args.threads, "flip": args.flip}
    book = Book(args.out / "results.jsonl", terms)
    print(f"judge: {judge}", f"held-out images: {floor}", sep="\n", flush=True)
    compare(data, judge, entries, range(args.seeds), plan, book)

    points = book.latest()
    write_json(
        args.out / "results.json",
        {"machine": machine(), "judge": str(judge), "floor": floor, **terms, "points": points},
    )
    (args.out / "table.md").write_text(table(points, floor))
    write_plot(args.out / "plot.svg", plot(points, floor, plan))
    print(table(points, floor), verdict(points), f"written: {args.out}", sep="\n")


if __name__ == "__main__":
    main()
