"""How good the digits of trained runs are, by the judge of judge.py, which says what the columns are.

    python benchmarks/demo_quality.py runs/demo
    python benchmarks/demo_quality.py runs/demo runs/other --sampler ddim --steps 50

How the demo's recipe compares with a textbook one for the same time is what demo_against_textbook.py measures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import undiffuse
from judge import HEADER, make_bench, model_space
from undiffuse.config import SampleConfig


def main() -> None:
    default = SampleConfig()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders to judge, e.g. runs/demo")
    parser.add_argument("-n", type=int, default=2000, help="samples of each model (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples' noise")
    parser.add_argument("--sampler", default=default.sampler, help="see 'undiffuse samplers'")
    parser.add_argument("--steps", type=int, default=default.steps, help="of the sampler")
    args = parser.parse_args()

    models = [(str(run), undiffuse.load(run)) for run in args.runs]
    bench = make_bench(args.n)
    drawing = f"{args.sampler} with {args.steps} steps, x0 clipped, seed {args.seed}, first average of the weights"
    print(f"FD against {len(bench.reference.images)} built-in digits; samples by {drawing}")
    print(HEADER)
    print(bench.row("held-out real digits", bench.held_out.images))
    for name, model in models:
        drawn = model.sample(
            args.n, seed=args.seed, sampler=args.sampler, steps=args.steps, micro_batch=100, progress=True
        )
        print(bench.row(name, model_space(drawn.array)), flush=True)


if __name__ == "__main__":
    main()
