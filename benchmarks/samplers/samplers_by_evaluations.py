"""Our samplers at 5 to 100 evaluations of a trained network, by the judge of lib/judge.py: a table and a plot.

    python -m benchmarks.samplers.samplers_by_evaluations runs/demo
    python -m benchmarks.samplers.samplers_by_evaluations runs/demo --samplers ddim heun:log-snr --evaluations 5 20

A sampler may name its timesteps, SAMPLER:SPACING; without them they are the default's. Each gets as many steps as the
evaluations pay for, which are counted. Written to --out: results.json and plot.svg.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import undiffuse
from benchmarks.lib.alternation import machine, write_json, write_plot
from benchmarks.lib.judge import HEADER, Bench, make_bench, model_space
from undiffuse.config.sampling import SampleConfig
from undiffuse.evaluation.samplers.comparison import steps_within
from undiffuse.model import Model
from undiffuse.visualization.plot import Axis, Series, line_plot

SAMPLERS = ("ddim", "ddpm", "dpm++2m", "dpm++2m-sde", "dpm++2m-sde:log-snr", "unipc3", "deis3", "heun:log-snr")
EVALUATIONS = (5, 10, 20, 50, 100)
MICRO_BATCH = 100


def parse(text: str) -> SampleConfig:
    """SAMPLER or SAMPLER:SPACING."""
    sampler, _, spacing = text.partition(":")
    wanted = {"sampler": sampler} | ({"spacing": spacing} if spacing else {})
    return SampleConfig.of(**wanted)


def measure(
    model: Model, bench: Bench, samplers: Sequence[str], evaluations: Sequence[int], n: int, seed: int, out: Path
) -> dict[str, Any]:
    """Draw and judge every case; the results as they are written to results.json."""
    results: dict[str, Any] = {
        "model": model.provenance,
        "machine": machine(),
        "judge": bench.name,
        "n": n,
        "seed": seed,
        "held out": bench.measure(bench.held_out.images).to_json(),
        "cases": [],
    }
    print(HEADER, bench.row("held-out real digits", bench.held_out.images), sep="\n", flush=True)
    for budget in evaluations:
        for name in samplers:
            settings = parse(name)
            settings = settings.changed(steps=steps_within(settings, budget))
            drawn = list(model.draw(range(n), seed, settings=settings, micro_batch=min(n, MICRO_BATCH)))
            scores = bench.measure(model_space(np.concatenate([samples.array for samples in drawn])))
            used = drawn[0].evaluations
            print(scores.row(f"{name}, {used:g} evaluations"), flush=True)
            case = {"sampler": name, "budget": budget, "evaluations": used, "steps": settings.solver.steps}
            results["cases"].append(case | {"scores": scores.to_json()})
            write_json(out / "results.json", results)
    write_plot(out / "plot.svg", plot(results))
    return results


def plot(results: dict[str, Any]) -> str:
    """FD against evaluations, one curve a sampler."""
    names = dict.fromkeys(case["sampler"] for case in results["cases"])
    curves = {name: [case for case in results["cases"] if case["sampler"] == name] for name in names}
    return line_plot(
        [
            Series(name, [case["evaluations"] for case in cases], [case["scores"]["fd"] for case in cases])
            for name, cases in curves.items()
        ],
        Axis("evaluations of the network", log=True),
        Axis(f"Frechet distance, N = {results['n']:,}", log=True),
        width=720,
        height=380,
    )


def table(results: dict[str, Any], figure: str = "fd") -> str:
    """Markdown: a row a sampler, a column a number of evaluations."""
    budgets = list(dict.fromkeys(case["budget"] for case in results["cases"]))
    lines = ["| sampler | " + " | ".join(map(str, budgets)) + " |", "|---" * (1 + len(budgets)) + "|"]
    for name in dict.fromkeys(case["sampler"] for case in results["cases"]):
        found = {case["budget"]: case["scores"][figure] for case in results["cases"] if case["sampler"] == name}
        lines.append(f"| `{name}` | " + " | ".join(f"{found[budget]:.4g}" for budget in budgets) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder or a checkpoint, e.g. runs/demo")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, metavar="SAMPLER[:SPACING]")
    parser.add_argument("--evaluations", nargs="+", type=int, default=EVALUATIONS)
    parser.add_argument("-n", type=int, default=1000, help="samples of each case (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples' noise")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("runs/samplers-by-evaluations"), help="where results go")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    model = undiffuse.load(args.run)
    results = measure(model, make_bench(args.n), args.samplers, args.evaluations, args.n, args.seed, args.out)
    print("\nFrechet distance\n\n" + table(results) + "\n\nconfidence\n\n" + table(results, "confidence"))
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
