"""How good the demo's digits are: a Frechet distance and a confidence, by a digit classifier trained on the spot.

    python benchmarks/demo_quality.py runs/demo                      # judge the samples of a run
    python benchmarks/demo_quality.py runs/demo --trial --textbook   # and train two reference recipes for as long

The judge is a small CNN. With ``UNDIFFUSE_TEST_DATA`` naming a folder that holds MNIST as ``mnist-train.npz`` and
``mnist-test.npz`` (arrays ``x``, ``y``) it learns the 60,000 training digits, and held-out digits are test digits;
otherwise it learns 4,000 of the built-in digits, shifted and turned at random, and the other 1,000 are held out.
A distance depends on its judge: compare rows of one table, not of two.

* FD: Frechet distance between Gaussians fitted to the judge's 64 features of the samples and of the reference,
  |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2)   (Heusel et al. 2017, https://arxiv.org/abs/1706.08500; another network).
* confidence: the judge's largest probability, on average; and the share of samples where it is above 0.9.
* nearest: median Euclidean distance to the nearest reference digit, over that of held-out digits. Far below 1 would
  mean copies.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import undiffuse
from undiffuse.config import DataConfig
from undiffuse.data.prepare import prepare


@dataclass(frozen=True)
class Digits:
    """Digits in [-1, 1], (N, 1, 28, 28), and their classes."""

    images: Tensor
    labels: Tensor

    @staticmethod
    def of(images: np.ndarray, labels: np.ndarray) -> Digits:
        x = torch.from_numpy(np.array(images, dtype=np.float32)).reshape(-1, 1, 28, 28)
        return Digits(x / 127.5 - 1, torch.from_numpy(np.array(labels, dtype=np.int64)))

    def __getitem__(self, index: Tensor | slice) -> Digits:
        return Digits(self.images[index], self.labels[index])


class Judge(nn.Module):
    """Three convolutions and two linear layers; ``forward`` gives 64 features and 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, pool in ((1, 16, True), (16, 32, True), (32, 64, False)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pool else []
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 49, 64), nn.ReLU())
        self.classes = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return features, self.classes(features)


def jitter(x: Tensor) -> Tensor:
    """Turn each image by up to 10 degrees, scale it by up to 10 % and shift it by up to 2 pixels."""
    n = len(x)
    angle = (torch.rand(n) - 0.5) * (np.pi / 9)
    scale = 1 + (torch.rand(n) - 0.5) * 0.2
    shift = (torch.rand(n, 2) - 0.5) * (8 / 28)
    rotation = (
        torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).reshape(n, 2, 2) * scale[:, None, None]
    )
    grid = F.affine_grid(torch.cat([rotation, shift[:, :, None]], 2), list(x.shape), align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1


def train_judge(data: Digits, epochs: int, augment: bool, batch: int = 128, seed: int = 0) -> Judge:
    """A judge that learned ``data``, from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = Judge().to(memory_format=torch.channels_last)
        steps = epochs * (len(data.images) // batch)
        optimizer = torch.optim.AdamW(judge.parameters(), lr=4e-3, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
        for _ in range(epochs):
            order = torch.randperm(len(data.images))
            for k in range(len(order) // batch):
                part = data[order[k * batch : (k + 1) * batch]]
                logits = judge(jitter(part.images) if augment else part.images)[1]
                loss = F.cross_entropy(logits, part.labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return judge.eval()


@torch.no_grad()
def look(judge: Judge, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features (float64) and class probabilities of images."""
    features, logits = zip(*(judge(part) for part in images.split(500)), strict=True)
    return torch.cat(features).double(), torch.cat(logits).softmax(-1)


def frechet(a: Tensor, b: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2) of two sets of features."""
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


def nearest(x: Tensor, reference: Tensor) -> float:
    """Median over x of the Euclidean distance to the nearest reference image."""
    return float(torch.cdist(x.flatten(1), reference.flatten(1)).min(1).values.median())


@dataclass(frozen=True)
class Bench:
    """The judge, the reference it measures against and digits that neither it nor a model saw."""

    judge: Judge
    reference: Digits
    held_out: Digits

    def row(self, name: str, images: Tensor) -> str:
        """One line of the table."""
        features, probabilities = look(self.judge, images)
        fd = frechet(features, look(self.judge, self.reference.images)[0])
        confidence, classes = probabilities.max(-1)
        ratio = nearest(images, self.reference.images) / nearest(self.held_out.images, self.reference.images)
        share = (confidence > 0.9).float().mean()
        histogram = " ".join(str(int(k)) for k in torch.bincount(classes, minlength=10))
        return f"{name:<34}{len(images):>6}{fd:>9.1f}{confidence.mean():>8.3f}{share:>8.3f}{ratio:>9.2f}   {histogram}"


def make_bench(n: int) -> Bench:
    """Train the judge on MNIST where it is at hand, else on most of the built-in digits."""
    dataset = prepare(DataConfig(source="digits"))
    assert dataset.labels is not None
    built_in = Digits.of(dataset.images, dataset.labels)
    order = torch.from_numpy(np.random.Generator(np.random.PCG64(0)).permutation(len(built_in.images)))
    folder = os.environ.get("UNDIFFUSE_TEST_DATA")
    if folder and (Path(folder) / "mnist-train.npz").exists():
        learned, test = (load_npz(Path(folder) / f"mnist-{part}.npz") for part in ("train", "test"))
        judge, reference = train_judge(learned, epochs=4, augment=False), built_in
        held_out, name = test, "60,000 MNIST training digits"
        chosen = torch.from_numpy(np.random.Generator(np.random.PCG64(1)).permutation(len(test.images)))
        held_out = test[chosen[:n]]
    else:
        reference, test = built_in[order[1000:]], built_in[order[:1000]]
        judge, held_out, name = (
            train_judge(reference, epochs=40, augment=True),
            test[slice(0, n)],
            "4,000 built-in digits",
        )
    accuracy = (look(judge, test.images)[1].argmax(-1) == test.labels).float().mean()
    print(f"judge: learned {name}, right on {accuracy:.2%} of {len(test.images)} others")
    return Bench(judge, reference, held_out)


def load_npz(path: Path) -> Digits:
    with np.load(path, allow_pickle=False) as arrays:
        return Digits.of(arrays["x"], arrays["y"])


TRIAL: dict[str, Any] = (
    {"base": 16, "multipliers": (1, 2, 2), "blocks": 1, "attention_levels": (), "patch": 1}
    | {"schedule": "cosine", "parameterization": "v", "weighting": "min-snr", "gamma": 5.0, "time_law": "uniform"}
    | {"optimizer": "adam", "lr": 2e-3, "warmup": 100, "decay": "linear", "ema": (0.995,), "batch": 32}
)
"""Where the search for the demo's recipe began: 0.27 M parameters at full resolution."""

TEXTBOOK: dict[str, Any] = (
    {"base": 32, "multipliers": (1, 2, 2), "blocks": 1, "attention_levels": (), "patch": 1}
    | {"schedule": "linear", "parameterization": "epsilon", "weighting": "uniform", "time_law": "uniform"}
    | {"optimizer": "adam", "lr": 2e-4, "warmup": 0, "decay": "constant", "ema": (0.9999,), "batch": 128}
)
"""eps with linear beta, a constant learning rate of 2e-4 and batch 128, in 1.07 M parameters."""


def train_references(args: argparse.Namespace) -> list[tuple[str, undiffuse.Model]]:
    """Train what was asked for, one after another, every repeat in turn: none has the idle hours to itself."""
    wanted: dict[str, dict[str, Any]] = {
        **({"demo": {}} if args.demo else {}),
        **({"trial": TRIAL} if args.trial else {}),
        **({"textbook": TEXTBOOK} if args.textbook else {}),
    }
    models = []
    for seed in range(args.repeats):
        for name, settings in wanted.items():
            budget = {"minutes": args.minutes, "seed": seed, "sample_every": 0, "checkpoint_every": 0}
            run = f"{name}-{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
            model = undiffuse.train("digits", recipe="digits", name=run, runs=args.out, **settings, **budget)
            models.append((run, model))
    return models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="run folders to judge, e.g. runs/demo")
    parser.add_argument("--demo", action="store_true", help="train the recipe 'digits' first, and judge it")
    parser.add_argument("--trial", action="store_true", help="train the trial's recipe for as long, and judge it")
    parser.add_argument("--textbook", action="store_true", help="train the textbook's recipe for as long, and judge it")
    parser.add_argument("--minutes", type=float, default=4.0, help="of each of these trainings (default 4)")
    parser.add_argument("--repeats", type=int, default=1, help="of these trainings, in alternation, seeds 0, 1, ...")
    parser.add_argument("--out", type=Path, default=Path("runs/demo-quality"), help="where these trainings go")
    parser.add_argument("-n", type=int, default=2000, help="samples of each model (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples' noise")
    parser.add_argument("--sampler", default="ddim", help="see 'undiffuse samplers'")
    parser.add_argument("--steps", type=int, default=50, help="of the sampler")
    args = parser.parse_args()

    models = [(str(run), undiffuse.load(run)) for run in args.runs] + train_references(args)
    bench = make_bench(args.n)
    drawing = f"{args.sampler} with {args.steps} steps, x0 clipped, seed {args.seed}, first average of the weights"
    print(f"FD against {len(bench.reference.images)} built-in digits; samples by {drawing}")
    if len(models) > len(args.runs):
        print(f"trainings of {args.minutes:g} minutes on {torch.get_num_threads()} threads, in alternation")
    print(f"{'':<34}{'N':>6}{'FD':>9}{'conf.':>8}{'>0.9':>8}{'nearest':>9}   classes 0-9")
    print(bench.row("held-out real digits", bench.held_out.images))
    for name, model in models:
        drawn = model.sample(
            args.n, seed=args.seed, sampler=args.sampler, steps=args.steps, micro_batch=100, progress=True
        )
        print(bench.row(name, torch.from_numpy(drawn.array).float() / 127.5 - 1), flush=True)


if __name__ == "__main__":
    main()
