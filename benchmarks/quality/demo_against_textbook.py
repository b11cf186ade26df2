"""Our demo recipe against a textbook DDPM, trained in alternation within one run: distance against minutes.

    python -m benchmarks.quality.demo_against_textbook                              # two seeds, four minutes a training
    python -m benchmarks.quality.demo_against_textbook --against textbook tuned --repeats 1 --out runs/against-textbook

Both have the same network (patches of 2 x 2 included, which are a choice of ours that the textbook gets as a present),
the same batch, the same average of the weights and the same seconds. The minutes are of processor time on one thread;
lib/alternation.py says why. Written to --out: results.json, plot.svg, a grid of samples and a checkpoint of each
training. The same command again, with more --repeats or after it broke off, goes on with the seeds that are not
through.

Every point is judged by lib/judge.py with samples of one sampler for all; at the end by a second one, too. The demo's
learning rate falls to 0 at the end of the budget, so that its points before the end are of an unfinished training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.lib.alternation import Load, Trainee, alternate, machine, write_json, write_plot
from benchmarks.lib.judge import HEADER, Bench, TrainingData, make_bench
from benchmarks.lib.ours import Ours
from undiffuse.config.files import override
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.codec import codec_of
from undiffuse.errors import UndiffuseError
from undiffuse.recipes import get_recipe
from undiffuse.visualization.grid import grid, to_image
from undiffuse.visualization.plot import Axis, Series, line_plot

TEXTBOOK: dict[str, Any] = {
    "schedule": "linear",
    "parameterization": "epsilon",
    "weighting": "uniform",
    "time_law": "uniform",
} | {"optimizer": "adam", "lr": 2e-4, "warmup": 0, "decay": "constant"}
"""Ho et al. 2020 (https://arxiv.org/abs/2006.11239): eps, linear beta, L_simple, Adam at 2e-4 for smaller images."""

RIVALS: dict[str, dict[str, Any]] = {
    "textbook": TEXTBOOK,
    "tuned": TEXTBOOK | {"lr": 2e-3, "warmup": 100, "decay": "linear"},
    "unpatched": TEXTBOOK | {"patch": 1},
    "trial": TEXTBOOK
    | {"base": 16, "multipliers": (1, 2, 2), "patch": 1, "schedule": "cosine", "parameterization": "v"}
    | {"weighting": "min-snr", "gamma": 5.0, "lr": 2e-3, "warmup": 100, "decay": "linear"},
}
"""The textbook; with the demo's rate and its fall, to tell their share; at full resolution; where our search began."""

SAMPLERS = {"dpm++2m-sde 20": SampleConfig(), "ddim 50": SampleConfig.of(sampler="ddim", steps=50)}
"""The first judges every point, the others the end. x0 is clipped in both."""


def settings(name: str, data: TrainingData, seed: int) -> TrainConfig:
    """The demo's recipe, or a rival's changes to it, with a seed."""
    demo = get_recipe("digits").build(data.info)
    return override(demo, **RIVALS.get(name, {}), seed=seed, device="cpu", precision="float32")


def compare(
    bench: Bench,
    names: Sequence[str],
    seeds: Iterable[int],
    marks: list[float],
    n: int,
    slice_seconds: float,
    out: Path,
) -> dict[str, Any]:
    """Train and judge; the results as they are written to results.json."""
    results: dict[str, Any] = {
        "machine": machine(),
        "judge": bench.name,
        "n": n,
        "seconds": marks[-1],
        "slice": slice_seconds,
        "names": list(names),
        "held out": bench.measure(bench.held_out.images).to_json(),
        "points": [],
        "load": [],
    }
    print(HEADER, bench.row("held-out real digits", bench.held_out.images), sep="\n", flush=True)
    results |= finished(out / "results.json", results)
    for seed in sorted(set(seeds) - {load["seed"] for load in results["load"]}):
        trainees = [Ours(name, settings(name, bench.data, seed), bench.data) for name in names]

        def judge(trainee: Trainee, mark: float, spent: float, seed: int = seed) -> None:
            assert isinstance(trainee, Ours)
            for sampler in SAMPLERS if mark == marks[-1] else list(SAMPLERS)[:1]:
                images = trainee.draw(n, seed=0, settings=SAMPLERS[sampler])
                scores = bench.measure(images)
                print(scores.row(f"{trainee.name}-{seed} {spent:.0f} s, {sampler}"), flush=True)
                point = {"name": trainee.name, "seed": seed, "mark": mark, "spent": spent, "steps": trainee.steps}
                results["points"].append(point | {"sampler": sampler, "scores": scores.to_json()})
                write_json(out / "results.json", results)
                if mark == marks[-1]:
                    picture = grid(
                        [to_image(x, bench.data.info) for x in codec_of(bench.data.info).decode(images[:64])]
                    )
                    picture.save(out / f"{trainee.name}-{seed}-{sampler.replace(' ', '-')}.png")
            if mark == marks[-1]:
                trainee.keep(out / f"{trainee.name}-{seed}")

        out.mkdir(parents=True, exist_ok=True)
        load: Load = alternate(trainees, marks, judge, slice_seconds)
        print(f"seed {seed}: {load}", flush=True)
        results["load"].append({"seed": seed, "processor": load.processor, "wall": load.wall, "share": load.share})
        write_json(out / "results.json", results)
    write_plot(out / "plot.svg", plot(results))
    return results


def finished(path: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Points and loads of the seeds that an earlier call with the same settings brought to their end."""
    if not path.exists():
        return {}
    earlier = json.loads(path.read_text())
    if any(earlier.get(key) != results[key] for key in ("machine", "judge", "n", "seconds", "slice", "names")):
        raise UndiffuseError(f"{path} is of other settings or another machine; choose another --out")
    through = {load["seed"] for load in earlier["load"]}
    return {"points": [p for p in earlier["points"] if p["seed"] in through], "load": earlier["load"]}


def plot(results: dict[str, Any]) -> str:
    """FD by the first sampler against minutes: each training pale, the mean over seeds bold."""
    first = next(iter(SAMPLERS))
    points = [point for point in results["points"] if point["sampler"] == first]
    series = []
    for name in dict.fromkeys(point["name"] for point in points):
        mine = [point for point in points if point["name"] == name]
        for seed in sorted({point["seed"] for point in mine}):
            one = [point for point in mine if point["seed"] == seed]
            series.append(
                Series(f"{name}-{seed}", [p["mark"] / 60 for p in one], [p["scores"]["fd"] for p in one], faint=True)
            )
        marks = sorted({point["mark"] for point in mine})
        means = [mean(p["scores"]["fd"] for p in mine if p["mark"] == mark) for mark in marks]
        series.append(Series(name, [mark / 60 for mark in marks], means))
    floor = results["held out"]["fd"]
    series.append(Series("held-out digits", [0, results["seconds"] / 60], [floor, floor]))
    return line_plot(
        series,
        Axis("minutes of training, processor time of one thread", low=0),
        Axis(f"Frechet distance, N = {results['n']:,}", log=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", nargs="+", default=["textbook"], choices=RIVALS, help="default: textbook")
    parser.add_argument("--minutes", type=float, default=4.0, help="of processor time, each training (default 4)")
    parser.add_argument("--points", type=int, default=4, help="evenly spaced points at which to judge (default 4)")
    parser.add_argument("--repeats", type=int, default=2, help="seeds 0, 1, ... (default 2)")
    parser.add_argument("--slice", type=float, default=15.0, help="seconds of one turn (default 15)")
    parser.add_argument("--threads", type=int, default=1, help="of the trainings (default 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/demo-against-textbook"), help="where results go")
    parser.add_argument("-n", type=int, default=1000, help="samples of each point (default 1000)")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    marks = [60 * args.minutes * (k + 1) / args.points for k in range(args.points)]
    names = ["demo", *args.against]
    compare(make_bench(args.n), names, range(args.repeats), marks, args.n, args.slice, args.out)
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
