"""The bar that few-step students have to pass: a model by its samplers at 1 to 256 evaluations.

    python -m benchmarks.few_step.teacher --out docs/measure/few-step.json
    python -m benchmarks.few_step.teacher --out other.json ddim:trailing:4 unipc2:learned:4:1.5 ddim:trailing:64:1:none
    python -m benchmarks.few_step.teacher --out c.json --model runs/cifar --data cifar10/train --held-out cifar10/test

The model is the shipped one of digits, or one of other labelled data (study.py).

A case is SAMPLER:SPACING:STEPS, then perhaps the guidance and the threshold of x0; without any they are `CASES`. Each
is a row for each seed, and rows that are there are skipped. Evaluations are counted, and guidance asks the network
twice. The distance of the default at 20 evaluations is the unit. 'learned' times are chosen by the error of DDIM steps
(docs/measure/samplers.md), where a case asks for them, and stand in the file. A model that knows classes draws them by
turns. The samples are kept in results/, so that another figure need not draw again. FD is explained in judging.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.few_step.study import Study, add_options
from benchmarks.few_step.table import TEACHER, Table, describe, key_of
from undiffuse.config.sampling import SampleConfig
from undiffuse.evaluation.samplers.optimal_timesteps import learn, measure_error
from undiffuse.model import Model

LEARNED = "learned"
"""The spacing of times that were learned, and their name in the file."""
LEARNED_STEPS = (1, 2, 4, 8, 16, 20)
LEARNED_ON = 64
"""Samples that the errors of steps are measured on."""
AMONG = 200
"""Times to choose from."""


@dataclass(frozen=True)
class Case:
    """How to draw."""

    sampler: str
    spacing: str
    steps: int
    guidance: float = 1.0
    threshold: str = "clip"

    @classmethod
    def parse(cls, text: str) -> Case:
        sampler, spacing, steps, guidance, threshold, *_ = [*text.split(":"), *("", "")]
        return cls(sampler, spacing, int(steps), float(guidance or cls.guidance), threshold or cls.threshold)

    def key(self, n: int, seed: int) -> dict[str, Any]:
        return key_of(method=TEACHER, **vars(self), n=n, seed=seed)

    def settings(self, learned: dict[str, list[float]]) -> SampleConfig:
        times = {"times": learned[str(self.steps)]} if self.spacing == LEARNED else {"spacing": self.spacing}
        settings = SampleConfig.of(sampler=self.sampler, guidance=self.guidance, threshold=self.threshold)
        return settings.changed(steps=self.steps, **times)


def learned_times(model: Model) -> dict[str, list[float]]:
    """By number of steps, the times with the least sum of errors of DDIM steps."""
    costs = measure_error(model, LEARNED_ON, LEARNED_STEPS, count=AMONG)
    chosen = learn(model, costs, "error", LEARNED_STEPS, LEARNED_ON)
    return {str(len(one.times)): list(one.times) for one in chosen}


PLAN = {
    "dpm++2m-sde:trailing:{}": (20, 2, 4, 8),
    "ddim:trailing:{}": (1, 2, 4, 8),
    "unipc1-bh1:trailing:{}": (4,),
    "unipc2-bh1:trailing:{}": (4,),
    "unipc2:trailing:{}": (4, 8),
    "dpm++2m:trailing:{}": (4, 8),
    "ddim:learned:{}": (1, 2, 4),
    "unipc1-bh1:learned:{}": (4,),
    "dpm++2m:log-snr:{}": (4,),
    "ddim:trailing:{}:1.5": (1, 2),
    "ddim:trailing:{}:2": (1, 2),
    "unipc1-bh1:trailing:{}:1.5": (4,),
    "ddim:trailing:{}::none": (4,),
    "ddim:trailing:{}::clip": (64,),
}
"""Cases and their steps, in the order in which they are measured. At two steps every solver of the ODE is DDIM, since
the first step has no history and the step to data is of first order, and at one step all samplers are the same. What
costs more was measured with fewer samples: -n 1000 with ddim:trailing:256, say."""
CASES = [Case.parse(case.format(steps)) for case, numbers in PLAN.items() for steps in numbers]


def fill(table: Table, study: Study, cases: list[Case], seeds: Sequence[int] = (0,), again: bool = False) -> None:
    """Measure what the table lacks, row after row.

    Args:
        seeds: of the samples' noise, a row for each.
        again: measure the rows that are there, too: from kept samples, where a figure is new.
    """
    judge = study.judge
    floor = key_of(method=judge.floor, n=len(judge.held_out), threshold="")
    for key in [floor] if again else table.missing([floor]):
        table.add(key | {"evaluations": 0} | judge.judge_held_out(), judge.sha256, again)
    if LEARNED not in table.about and any(case.spacing == LEARNED for case in cases):
        table.about |= {LEARNED: learned_times(study.model)}
        table.write()
    wanted = [(case, case.key(study.n, seed)) for seed in seeds for case in cases]
    todo = [(case, key) for case, key in wanted if again or not table.has(key)]
    print(f"{len(todo)} of {len(wanted)} rows are to be measured", flush=True)
    for case, key in todo:
        settings = case.settings(table.about.get(LEARNED, {}))
        row = study.measure(study.model, settings, key["seed"])
        table.add(key | row, judge.sha256, again)
        print(f"{describe(key)}: FD {row['fd']:g}, recall {row['recall']:.3f}, {row['seconds']:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", type=Case.parse, help="SAMPLER:SPACING:STEPS[:GUIDANCE[:THRESHOLD]]")
    add_options(parser, threads=torch.get_num_threads())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the samples' noise (default 0)")
    parser.add_argument("--again", action="store_true", help="measure rows that are there again, from kept samples")
    args = parser.parse_args()

    study = Study.of(args)
    table = study.open_table(args.out)
    fill(table, study, args.cases or CASES, args.seeds, args.again)
    print(table.markdown())


if __name__ == "__main__":
    main()
