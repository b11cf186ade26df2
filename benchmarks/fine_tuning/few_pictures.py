"""A class that a model of digits never saw, from twenty pictures: what is learned, copied and forgotten.

    python -m benchmarks.fine_tuning.few_pictures --out fine-tuning.json
    python -m benchmarks.fine_tuning.few_pictures lora-8+prior --steps 1000 --training-seeds 0 1 2 --out other.json

The shipped digits are trained on twenty fives, black on white where they know white on black, by each of `WAYS`. MNIST
(``UNDIFFUSE_TEST_DATA``) has thousands of others to measure against, by the judge of few_step/judges.py, to which all
are turned back:

* fd, recall, coverage: of samples of the new class, against 2,000 fives that the training did not see. Real ones, 2,000
  others, are the first row.
* nearest: median distance of the judge's features to the nearest of the twenty, over that of the unseen fives: 1 is as
  far as new ones are, 0 is a copy.
* copies: the share of samples that are nearer to one of the twenty than all but one in a hundred unseen fives are.
* kept_fd, kept_accuracy: of samples of the ten digits, against the built-in ones: what the model has not forgotten.
  None where it has no such classes any more.

A row is one training; rows that are there are not made again, and a training that broke off goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import undiffuse
from benchmarks.few_step.judges import digit_judge
from benchmarks.few_step.judging import SavedJudge
from benchmarks.lib.judge import load_npz, mnist_folder
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.frechet import frechet_distance
from undiffuse.evaluation.metrics.manifold import density_coverage, precision_recall
from undiffuse.evaluation.metrics.moments import Moments
from undiffuse.model import load_model
from undiffuse.runtime.durable_files import replace_file

BASE, FEW, UNSEEN, NEW = "digits", 20, 2000, "black fives"
CLASS = 5
PRIOR = 200
WAYS: Mapping[str, dict[str, Any]] = {
    "weights": {},
    "weights+prior": {"prior": PRIOR},
    "lora-2+prior": {"lora_rank": 2, "prior": PRIOR},
    "lora-8": {"lora_rank": 8},
    "lora-8+prior": {"lora_rank": 8, "prior": PRIOR},
    "lora-32+prior": {"lora_rank": 32, "prior": PRIOR},
}
"""By name, settings beside the recipe's. A way without samples of the old model draws the old classes from that one
with what was learned added, where that can be."""
COLUMNS = ("fd", "recall", "coverage", "nearest", "copies", "kept_fd", "kept_accuracy")


class Fives:
    """The twenty, and others of their kind."""

    def __init__(self, judge: SavedJudge) -> None:
        folder = mnist_folder()
        if folder is None:
            raise UndiffuseError("MNIST is needed: UNDIFFUSE_TEST_DATA names the folder of mnist-train.npz")
        digits = load_npz(folder / "mnist-train.npz")
        fives = digits.images[digits.labels == CLASS]
        self.judge, self.few = judge, fives[:FEW]
        self.others = fives[FEW + UNSEEN : FEW + 2 * UNSEEN]
        self._features = judge.look(fives[FEW : FEW + UNSEEN])[0]
        self._learned = judge.look(self.few)[0]
        self._honest = self._distances(self._features)

    def _distances(self, features: Tensor) -> Tensor:
        return torch.cdist(features, self._learned).min(1).values

    def figures(self, images: Tensor) -> dict[str, float]:
        """Of white fives on black, in [-1, 1]."""
        features = self.judge.look(images)[0]
        distances, near = self._distances(features), self._honest.quantile(0.01)
        return {
            "fd": round(frechet_distance(Moments.of(features), Moments.of(self._features)), 2),
            "recall": round(precision_recall(self._features[: len(features)], features)[1], 4),
            "coverage": round(density_coverage(self._features[: len(features)], features)[1], 4),
            "nearest": round(float(distances.median() / self._honest.median()), 3),
            "copies": round(float((distances < near).double().mean()), 4),
        }


def train(way: str, settings: Mapping[str, Any], seed: int, few: Tensor, folder: Path) -> Path:
    """The run of a way to learn; what is there goes on, or is left as it is if it is done."""
    said = "-".join(f"{name}={value}" for name, value in settings.items())
    run = folder / f"{way}-{said}-seed-{seed}".replace("+", "-and-")
    values = ((1 - few) * 127.5).round().to(torch.uint8).numpy()  # black on white
    data = [(image, NEW) for image in values]
    asked = {"condition": ("class",), "batch": 32, "warmup": 20, "sample_every": 0, **WAYS[way], **settings}
    undiffuse.train(
        data,
        name=run.name,
        runs=folder,
        start_from=BASE,
        seed=seed,
        quiet=True,
        resume=(run / "checkpoints").is_dir(),
        **asked,
    )
    return run


def measure(way: str, run: Path, fives: Fives, n: int, seed: int) -> dict[str, Any]:
    model = load_model(run)
    drawn = _drawn(model.sample(n, seed, classes=(NEW,)).array)
    row: dict[str, Any] = fives.figures(-drawn)
    whole = model
    if CLASSES[0] not in model.info.classes and "lora" in way:
        whole = load_model(f"{BASE}+{run}")
    if CLASSES[0] in whole.info.classes:
        old = _drawn(whole.sample(n, seed, classes=CLASSES).array)
        judged = fives.judge.judge_images(old, torch.arange(n) % len(CLASSES))
        row |= {"kept_fd": judged["fd"], "kept_accuracy": judged["accuracy"]}
    return row


CLASSES = tuple("0123456789")


def _drawn(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).float() / 127.5 - 1


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as Markdown."""
    names = ["way", "steps", "lr", "training_seed", "n", *COLUMNS, "minutes"]
    cells = [names, ["---"] * len(names), *([row.get(name, "") for name in names] for row in rows)]
    return "\n".join("| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in cells)


def minutes_of(run: Path) -> float:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return round(sum(float(line.get("time", {}).get("seconds", 0)) for line in lines) / 60, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"all without any: {', '.join(WAYS)}")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of rows, which are added to it")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/fine-tuning"), help="folder of runs")
    parser.add_argument("--steps", type=int, nargs="+", default=[500])
    parser.add_argument("--lr", type=float, nargs="+", default=[None], help="(default: what undiffuse train takes)")
    parser.add_argument("--training-seeds", type=int, nargs="+", default=[0])
    parser.add_argument("-n", type=int, default=1000, help="samples of the new class, and of the old ones together")
    args = parser.parse_args()
    if unknown := set(args.ways) - WAYS.keys():
        parser.error(f"there is no way {min(unknown)}, but {', '.join(WAYS)}")

    rows: list[dict[str, Any]] = json.loads(args.out.read_text()) if args.out.exists() else []
    fives = Fives(digit_judge(args.results))

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        rows.sort(
            key=lambda row: (row["way"] != "real", row["way"], row["steps"], row["lr"] or 0.0, row["training_seed"])
        )
        replace_file(args.out, "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
        print(json.dumps(row), flush=True)

    def missing(key: Mapping[str, Any]) -> bool:
        return not any(key.items() <= row.items() for row in rows)

    real = {"way": "real", "steps": 0, "lr": None, "training_seed": 0, "n": UNSEEN}
    if missing(real):
        add(real | fives.figures(fives.others))
    for seed in args.training_seeds:
        for way in args.ways or WAYS:
            for steps in args.steps:
                for lr in args.lr:
                    key = {"way": way, "steps": steps, "lr": lr, "training_seed": seed, "n": args.n}
                    if missing(key):
                        run = train(way, {"steps": steps} | ({"lr": lr} if lr else {}), seed, fives.few, args.results)
                        add(key | measure(way, run, fives, args.n, seed) | {"minutes": minutes_of(run)})
    print(table(rows))


if __name__ == "__main__":
    main()
