"""Students of the shipped model by each method, with several training seeds, beside the bar of teacher.py.

    python -m benchmarks.few_step.students --out docs/measure/few-step.json --training-seeds 0 1 2
    python -m benchmarks.few_step.students --out other.json distribution

A row is one student at one number of steps; students that are trained and rows that are there are not made again, and a
training that broke off goes on. `minutes` are those of all stages that lead to the student, as the runs' metrics have
them, without previews, in as many threads as ``--threads`` says: one where nobody does. The updates are fixed, so a
busy machine changes the minutes alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

import undiffuse
from benchmarks.few_step.drawing import FAITHFUL, measure_model
from benchmarks.few_step.judging import FOLDER, SavedJudge
from benchmarks.few_step.table import Table, describe, key_of
from benchmarks.few_step.teacher import MODEL
from undiffuse.config.distillation import StudentConfig, student_of
from undiffuse.config.files import read_config
from undiffuse.config.sampling import SampleConfig
from undiffuse.model import Model
from undiffuse.training.run.folder import RunFolder

STUDENTS: Mapping[str, dict[str, Any]] = {
    "distribution": {"method": "distribution", "steps": (4, 2, 1), "teacher_steps": 8, "updates": 400},
}
"""By the name of a row, what is asked of `undiffuse.distill`."""


def train(name: str, seed: int, runs: Path) -> Model:
    """The student of a name by one training seed; a run that is there goes on, or is read if it is done."""
    asked = {"quiet": True, "resume": True, "sample_every": 0} | STUDENTS[name]
    return undiffuse.distill(MODEL, name=_run(name, seed), runs=runs, seed=seed, **asked)


def minutes_of(folder: Path, runs: Path) -> float:
    """Minutes of the steps of a student's run and of the runs that it started from, its first teacher left out."""
    return sum(_seconds(run) for run in _chain(folder, runs)) / 60


def _chain(folder: Path, runs: Path) -> Iterator[Path]:
    while folder.parent == runs:
        yield folder
        folder = Path(read_config(RunFolder(folder).config).start.start_from)


def _seconds(folder: Path) -> float:
    lines = RunFolder(folder).metrics.read_text().splitlines()
    return sum(json.loads(line).get("time", {}).get("seconds", 0.0) for line in lines)


def _run(name: str, seed: int) -> str:
    return f"{name.replace(' ', '-')}-seed-{seed}"


def keys(name: str, seed: int, student: StudentConfig, n: int) -> list[dict[str, Any]]:
    return [
        key_of(method=name, training_seed=seed, sampler=student.sampler, steps=steps, n=n)
        for steps in sorted(student.student_steps, reverse=True)
    ]


def fill(table: Table, names: list[str], seeds: list[int], n: int, judge: SavedJudge, results: Path) -> None:
    """Train what is not there, and add the rows that the table lacks."""
    runs, teacher = results / "runs", undiffuse.load(MODEL)
    assert isinstance(teacher, Model)
    for seed in seeds:
        for name in names:
            model = train(name, seed, runs)
            student = student_of(model.config.distillation)
            assert student is not None
            minutes = round(minutes_of(runs / _run(name, seed), runs), 1)
            for key in table.missing(keys(name, seed, student, n)):
                settings = SampleConfig.of(**student.walk(key["steps"]))
                row = measure_model(model, settings, n, 0, judge, teacher, FAITHFUL, results / "samples")
                table.add(key | row | {"minutes": minutes}, judge.sha256)
                print(f"{describe(key)}: FD {row['fd']:g}, recall {row['recall']:.3f}, {minutes:g} min", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all without any: {', '.join(STUDENTS)}")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of the rows, made or added to")
    parser.add_argument("-n", type=int, default=5000, help="samples of each row (default 5000)")
    parser.add_argument("--training-seeds", type=int, nargs="+", default=[0], help="(default 0)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=FOLDER, help="where the judge, runs and samples are kept")
    args = parser.parse_args()

    if unknown := set(args.names) - STUDENTS.keys():
        parser.error(f"there is no student {min(unknown)}, but {', '.join(STUDENTS)}")
    torch.set_num_threads(args.threads)
    judge = SavedJudge.of(args.results / "judge.safetensors", args.n)
    table = Table.open(args.out, judge.sha256, judge.bench.name)
    fill(table, args.names or list(STUDENTS), args.training_seeds, args.n, judge, args.results)
    print(table.markdown())


if __name__ == "__main__":
    main()
