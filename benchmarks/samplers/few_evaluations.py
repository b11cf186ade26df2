"""Which sampler and which timesteps are best at a few evaluations of a trained network, by the judge of lib/judge.py.

    python -m benchmarks.samplers.few_evaluations runs/demo ddim:trailing:20 dpm++2m:log-snr:20 heun:log-snr:10
    python -m benchmarks.samplers.few_evaluations runs/demo ddpm:learned:10     # after: undiffuse timesteps runs/demo

A case is SAMPLER:SPACING:STEPS. The evaluations are counted. FD and confidence are explained in lib/judge.py:
compare rows of one table.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import undiffuse
from benchmarks.lib.judge import HEADER, make_bench, model_space
from undiffuse.config.sampling import SampleConfig


@dataclass(frozen=True)
class Case:
    """How to draw."""

    sampler: str
    spacing: str
    steps: int

    @classmethod
    def parse(cls, text: str) -> Case:
        sampler, spacing, steps = text.rsplit(":", 2)
        return cls(sampler, spacing, int(steps))

    @property
    def settings(self) -> SampleConfig:
        return SampleConfig.of(sampler=self.sampler, spacing=self.spacing, steps=self.steps, micro_batch=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, e.g. runs/demo")
    parser.add_argument("cases", nargs="+", type=Case.parse, help="SAMPLER:SPACING:STEPS")
    parser.add_argument("-n", type=int, default=1000, help="samples of each case (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples' noise")
    args = parser.parse_args()

    model, bench = undiffuse.load(args.run), make_bench(args.n)
    print(f"{args.run}, step {model.provenance['step']}; FD against {len(bench.reference.images)} built-in digits")
    print(HEADER)
    print(bench.row("held-out real digits", bench.held_out.images), flush=True)
    for case in args.cases:
        drawn = list(model.draw(range(args.n), args.seed, settings=case.settings, micro_batch=100))
        x = model_space(np.concatenate([samples.array for samples in drawn]))
        print(bench.row(f"{case.sampler} {case.spacing}, {drawn[0].evaluations} evals", x), flush=True)


if __name__ == "__main__":
    main()
