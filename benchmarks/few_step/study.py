"""What a table of few evaluations is about: a model, the judge of its images, and how many are measured.

Both scripts take it from the same options. Without any it is the shipped digits; with

    --model runs/cifar --data cifar10/train --held-out cifar10/test

it is a model of other labelled data, which are prepared for the judge as they were for the model. A table has the rows
of one model by one judge. All that a folder of results keeps is named by what made it, but for the runs of students:
students of another model need another folder.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.few_step.drawing import classes_by_turns, draw, fidelity
from benchmarks.few_step.judges import digit_judge, labelled_judge
from benchmarks.few_step.judging import SavedJudge
from benchmarks.few_step.table import SHORT, Table
from undiffuse.config.sampling import SampleConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model, load_model

MODEL = "builtin:digits"
FOLDER = Path("benchmarks/results/few-step")
"""For what is kept and not committed: the judge, students' runs and drawn samples."""
PATH = SampleConfig.of(sampler="ddim", steps=256)
"""The walk of the model that other images are compared with, from the same noise."""


@dataclass(frozen=True)
class Study:
    """What is measured.

    Args:
        name: of the model, as `undiffuse.load` takes it.
        model: the bar of students, and their teacher.
        judge: of the model's images.
        data: what students learn from; None for what the model's settings say.
        results: folder for what is kept.
        n: samples of a row.
        faithful: samples of seed 0 that are compared with the model's along `PATH`; 0 for none.
    """

    name: str
    model: Model
    judge: SavedJudge
    data: str | None = None
    results: Path = FOLDER
    n: int = 5000
    faithful: int = 1000

    @classmethod
    def of(cls, args: argparse.Namespace) -> Study:
        """The study that the options of `add_options` ask for; a judge that is not there is trained.

        Raises:
            UndiffuseError: a model or data that are not there, or a judge that does not know the model's images.
        """
        torch.set_num_threads(args.threads)
        if bool(args.data) != bool(args.held_out):
            raise UndiffuseError("`--data` and `--held-out` go together: what the judge learns, and what it does not")
        model = load_model(args.model)
        if args.data:
            data, others = (prepare(model.config.data.of_others(source)) for source in (args.data, args.held_out))
            judge = labelled_judge(args.results, data, others, args.n)
        else:
            judge = digit_judge(args.results, args.n)
        judge.check_knows(model, args.model)
        return cls(args.model, model, judge, args.data, args.results, args.n, args.faithful)

    @property
    def sha256(self) -> str:
        """Of the model's weights."""
        return str(self.model.provenance["sha256"])

    def open_table(self, path: Path) -> Table:
        """The table of the model in a file, or a new one where there is none.

        Raises:
            UndiffuseError: its rows are another judge's or another model's.
        """
        table = Table.open(path, self.judge.sha256, self.judge.name)
        if (found := table.about.get("model_sha256", self.sha256)) != self.sha256:
            raise UndiffuseError(
                f"{path} holds rows of {table.about['model']} ({found[:SHORT]}), and this model is {self.name} "
                f"({self.sha256[:SHORT]}): take another file"
            )
        table.about |= {"model": self.name, "model_sha256": self.sha256}
        return table

    def measure(self, model: Model, settings: SampleConfig, seed: int) -> dict[str, Any]:
        """The figures of the model or a student by some settings: evaluations, seconds, the judge's, and the fidelity.

        The fidelity is that of seed 0 alone, since the walk to compare with costs most of all.
        """
        samples = self.results / "samples"
        drawn = draw(model, settings, self.n, seed, samples)
        x = model.codec.encode(drawn.images)
        row = {"evaluations": round(drawn.evaluations, 3), "seconds": round(drawn.seconds, 1)}
        row |= self.judge.judge_images(x, classes_by_turns(model, self.n))
        if seed == 0 and self.faithful:
            count = min(self.n, self.faithful)
            path = draw(self.model, PATH, count, seed, samples)
            row |= fidelity(x[:count], self.model.codec.encode(path.images))
        return row


def add_options(parser: argparse.ArgumentParser, threads: int) -> None:
    """The options of a study.

    Args:
        threads: by default.
    """
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of the rows, made or added to")
    parser.add_argument("--model", default=MODEL, help=f"a run or a model's file (default {MODEL})")
    parser.add_argument("--data", help="labelled data that the model learned, for its judge: a file or a folder")
    parser.add_argument("--held-out", help="real images that nobody learned: the reference, and the least distance")
    parser.add_argument("-n", type=int, default=Study.n, help=f"samples of each row (default {Study.n})")
    parser.add_argument(
        "--faithful", type=int, default=Study.faithful, help="samples compared with DDIM's in 256 steps"
    )
    parser.add_argument("--threads", type=int, default=threads, help=f"(default {threads})")
    parser.add_argument("--results", type=Path, default=FOLDER, help=f"where all is kept (default {FOLDER})")
