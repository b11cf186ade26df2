"""The bar that few-step students have to pass: the shipped model by its samplers at 1 to 256 evaluations.

    python -m benchmarks.few_step.teacher --out docs/measure/few-step.json
    python -m benchmarks.few_step.teacher --out other.json ddim:trailing:4 unipc2:learned:4:1.5 ddim:trailing:64:1:none

A case is SAMPLER:SPACING:STEPS, then perhaps the guidance and the threshold of x0; without any they are `CASES`. Each
is a row for each seed, and rows that are there are skipped. Evaluations are counted, and guidance asks the network
twice. The distance of the default at 20 evaluations is the unit. 'learned' times are chosen by the error of DDIM steps
(docs/measure/samplers.md) and stand in the file. The samples are class-conditional, the ten classes in turns; they are
kept in results/, so that another figure need not draw again. FD is explained in judging.py.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import undiffuse
from benchmarks.few_step.drawing import FAITHFUL, measure_model
from benchmarks.few_step.judging import FOLDER, SavedJudge
from benchmarks.few_step.table import REAL, TEACHER, Table, describe, key_of
from undiffuse.config.sampling import SampleConfig
from undiffuse.evaluation.samplers.optimal_timesteps import learn, measure_error
from undiffuse.model import Model

MODEL = "builtin:digits"
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
        times = {"times": learned[str(self.steps)]} if self.spacing == "learned" else {"spacing": self.spacing}
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


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Args:
        n: samples of a row.
        seeds: of their noise, a row for each.
        faithful: samples of seed 0 whose distance from the walk in 256 steps is measured.
        again: measure the rows that are there, too: from kept samples, where a figure is new.
    """

    n: int = 5000
    seeds: tuple[int, ...] = (0,)
    faithful: int = FAITHFUL
    again: bool = False


def fill(table: Table, model: Model, judge: SavedJudge, cases: list[Case], effort: Effort, folder: Path) -> None:
    """Measure what the table lacks, row after row; samples are read from the folder where they were kept."""
    floor = key_of(method=REAL, n=len(judge.bench.held_out.images), threshold="")
    for key in [floor] if effort.again else table.missing([floor]):
        table.add(key | {"evaluations": 0} | judge.judge_held_out(), judge.sha256, effort.again)
    if "learned" not in table.about:
        table.about |= {"model": MODEL, "model_sha256": model.provenance["sha256"], "learned": learned_times(model)}
        table.write()
    wanted = [(case, case.key(effort.n, seed)) for seed in effort.seeds for case in cases]
    todo = [(case, key) for case, key in wanted if effort.again or not table.has(key)]
    print(f"{len(todo)} of {len(wanted)} rows are to be measured", flush=True)
    for case, key in todo:
        settings = case.settings(table.about["learned"])
        row = measure_model(model, settings, effort.n, key["seed"], judge, model, effort.faithful, folder)
        table.add(key | row, judge.sha256, effort.again)
        print(f"{describe(key)}: FD {row['fd']:g}, accuracy {row['accuracy']:.3f}, {row['seconds']:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", type=Case.parse, help="SAMPLER:SPACING:STEPS[:GUIDANCE[:THRESHOLD]]")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of the rows, made or added to")
    parser.add_argument("-n", type=int, default=Effort.n, help="samples of each row (default 5000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=Effort.seeds, help="of the samples' noise (default 0)")
    parser.add_argument("--faithful", type=int, default=FAITHFUL, help="samples compared with DDIM's in 256 steps")
    parser.add_argument("--again", action="store_true", help="measure rows that are there again, from kept samples")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=FOLDER, help="where the judge and the samples are kept")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    judge = SavedJudge.of(args.results / "judge.safetensors", args.n)
    table = Table.open(args.out, judge.sha256, judge.bench.name)
    model = undiffuse.load(MODEL)
    assert isinstance(model, Model)
    effort = Effort(args.n, tuple(args.seeds), args.faithful, args.again)
    fill(table, model, judge, args.cases or CASES, effort, args.results / "samples")
    print(table.markdown())


if __name__ == "__main__":
    main()
