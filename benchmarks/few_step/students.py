"""Students of a model by each method, with several training seeds, beside the bar of teacher.py.

    python -m benchmarks.few_step.students --out docs/measure/few-step.json --training-seeds 0 1 2
    python -m benchmarks.few_step.students --out other.json distribution
    python -m benchmarks.few_step.students --out c.json --model runs/cifar --data cifar10/train --held-out cifar10/test

The model is the shipped one of digits, or one of other labelled data (study.py); a folder of results keeps students of
one model. A row is one student at one number of steps; students that are trained and rows that are there are not made
again, and a training that broke off goes on. `minutes` are those of all stages that lead to the student, as the runs'
metrics have them, without previews, in as many threads as ``--threads`` says: one where nobody does. The updates are
fixed, so a busy machine changes the minutes alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import undiffuse
from benchmarks.few_step.study import Study, add_options
from benchmarks.few_step.table import Table, describe, key_of
from undiffuse.config.distillation import StudentConfig, student_of
from undiffuse.config.files import read_config
from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.model import load_model
from undiffuse.training.distillation.stages import PLANS
from undiffuse.training.run.folder import RunFolder

STUDENTS: Mapping[str, dict[str, Any]] = {
    "distribution": {"method": "distribution", "steps": (4, 2, 1), "updates": 500},
    "progressive": {"method": "progressive", "steps": 1, "updates": 750},
    "jump": {"method": "jump", "steps": (4, 2, 1), "updates": 1500},
    "consistency": {"method": "consistency", "steps": (4, 2, 1), "updates": 1750},
    "regression-4": {"method": "regression", "steps": 4, "updates": 750},
    "regression-1": {"method": "regression", "steps": 1, "teacher_steps": 8, "updates": 750},
}
"""By the name of a training, what is asked of `undiffuse.distill`: on digits about half an hour of one core for each. A
student in one stage takes four steps for each of the `updates`, as a student of distributions does after its start."""


def train(study: Study, name: str, seed: int) -> Path:
    """The run of a student by one training seed; what is there goes on, or is left as it is if it is done."""
    asked = {"quiet": True, "resume": True, "sample_every": 0} | STUDENTS[name]
    folder = study.results / "runs" / f"{name}-seed-{seed}"
    undiffuse.distill(study.name, study.data, name=folder.name, runs=folder.parent, seed=seed, **asked)
    return folder


def minutes_of(folder: Path, teacher_sha256: str) -> float:
    """Minutes of the steps of a student's run and of the runs that it started from, its first teacher left out.

    Raises:
        UndiffuseError: the student is another teacher's.
    """
    return sum(_seconds(run) for run in _chain(folder, teacher_sha256)) / 60


def _chain(student: Path, teacher_sha256: str) -> Iterator[Path]:
    """A student's run and those that it started from, which lie beside it, back to its teacher's weights."""
    run = student
    while RunFolder(run).config.is_file():
        yield run
        start = read_config(RunFolder(run).config).start
        if start.start_sha256 == teacher_sha256:
            return
        run = student.parent / Path(start.start_from).name
    raise UndiffuseError(f"{student} has another teacher: give the students of each model their own `--results`")


def _seconds(folder: Path) -> float:
    lines = RunFolder(folder).metrics.read_text().splitlines()
    return sum((float(json.loads(line).get("time", {}).get("seconds", 0)) for line in lines), start=0.0)


def keys(
    method: str, student: StudentConfig, seed: int, n: int, noise_seeds: Sequence[int] = (0,)
) -> list[dict[str, Any]]:
    """The keys of a student's rows, the most steps first."""
    return [
        key_of(method=method, training_seed=seed, sampler=student.sampler, steps=steps, n=n, seed=noise)
        for steps in sorted(student.student_steps, reverse=True)
        for noise in noise_seeds
    ]


def fill(table: Table, study: Study, names: list[str], seeds: list[int], noise_seeds: Sequence[int] = (0,)) -> None:
    """Train what is not there, and add the rows that the table lacks; each stage of a chain of halvings has its own.

    Args:
        seeds: of training.
        noise_seeds: of the samples' noise.
    """
    for seed in seeds:
        for name in names:
            method = STUDENTS[name]["method"]
            for run in _chain(train(study, name, seed), study.sha256):
                student = student_of(read_config(RunFolder(run).config).distillation)
                if not isinstance(student, PLANS[method].student):
                    continue
                if missing := table.missing(keys(method, student, seed, study.n, noise_seeds)):
                    measure(table, study, run, student, missing)


def measure(table: Table, study: Study, run: Path, student: StudentConfig, missing: list[dict[str, Any]]) -> None:
    """Add the rows of one student whose keys are these."""
    minutes, model = round(minutes_of(run, study.sha256), 1), load_model(run)
    for key in missing:
        row = study.measure(model, SampleConfig.of(**student.walk(key["steps"])), key["seed"])
        table.add(key | row | {"minutes": minutes}, study.judge.sha256)
        print(f"{describe(key)}: FD {row['fd']:g}, recall {row['recall']:.3f}, {minutes:g} min", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all without any: {', '.join(STUDENTS)}")
    add_options(parser, threads=1)
    parser.add_argument("--training-seeds", type=int, nargs="+", default=[0], help="(default 0)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the samples' noise (default 0)")
    args = parser.parse_args()

    if unknown := set(args.names) - STUDENTS.keys():
        parser.error(f"there is no student {min(unknown)}, but {', '.join(STUDENTS)}")
    study = Study.of(args)
    table = study.open_table(args.out)
    fill(table, study, args.names or list(STUDENTS), args.training_seeds, args.seeds)
    print(table.markdown())


if __name__ == "__main__":
    main()
