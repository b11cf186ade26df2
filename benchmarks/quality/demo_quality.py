"""How good the digits of trained runs are, by the judge of lib/judge.py, which says what the columns are.

    python -m benchmarks.quality.demo_quality runs/demo
    python -m benchmarks.quality.demo_quality runs/demo runs/other --sampler ddim --steps 50

How the demo's recipe compares with a textbook one for the same time is what demo_against_textbook.py measures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import undiffuse
from benchmarks.lib.judge import HEADER, Bench, as_kept, look, make_bench, model_space
from undiffuse.config.sampling import SampleConfig
from undiffuse.model import Model
from undiffuse.recipes import advised_sampling


def main() -> None:
    default = SampleConfig()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders to judge, e.g. runs/demo")
    parser.add_argument("-n", type=int, default=2000, help="samples of each model (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples' noise")
    parser.add_argument("--sampler", default=default.solver.sampler, help="see 'undiffuse samplers'")
    parser.add_argument("--steps", type=int, default=default.solver.steps, help="of the sampler")
    parser.add_argument("--guidance", type=float, help="to each class in turns (default: as the run's recipe advises)")
    args = parser.parse_args()

    models = [(str(run), undiffuse.load(run)) for run in args.runs]
    bench = make_bench(args.n)
    drawing = f"{args.sampler} with {args.steps} steps, x0 clipped, seed {args.seed}, first average of the weights"
    print(f"FD against {len(bench.reference.images)} built-in digits; samples by {drawing}")
    print(f"{HEADER}   asked  black")
    print(bench.row("held-out real digits", bench.held_out.images), f"{'':<13}{black(bench.held_out.images):.3f}")
    for name, model in models:
        guidance = advised_sampling(model.config).guide.guidance if args.guidance is None else args.guidance
        settings = default.changed(sampler=args.sampler, steps=args.steps, guidance=guidance, micro_batch=100)
        images = model_space(model.sample(args.n, seed=args.seed, settings=settings, progress=True).array)
        row = bench.row(f"{name} at {guidance:g}", images)
        print(row, f"  {asked(bench, model, images):<10} {black(images):.3f}", flush=True)


def asked(bench: Bench, model: Model, images: Tensor) -> str:
    """The share that the judge takes for the class that was asked for, each in turns; a dash where none was."""
    classes = len(model.info.classes) if "class" in model.config.conditions.condition else 0
    if not classes:
        return "-"
    seen = look(bench.judge, images)[1].argmax(-1)
    return f"{(seen == torch.arange(len(images)) % classes).float().mean():.3f}"


def black(images: Tensor) -> float:
    """The share of pixels that are 0 of 255: of a ground without grain as many as the data have."""
    return float((as_kept(images) == -1).float().mean())


if __name__ == "__main__":
    main()
