"""How good digits are: a Frechet distance and a confidence, by a digit classifier trained on the spot.

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

import os
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from undiffuse.config.data import DataConfig
from undiffuse.data.info import DataInfo
from undiffuse.data.preparation.prepare import prepare
from undiffuse.evaluation.metrics.frechet import frechet_distance
from undiffuse.evaluation.metrics.moments import Moments

HEADER = f"{'':<34}{'N':>6}{'FD':>9}{'conf.':>8}{'>0.9':>8}{'nearest':>9}   classes 0-9"
"""Over the rows of `Bench.row`."""


@dataclass(frozen=True)
class Digits:
    """Digits in [-1, 1], (N, 1, 28, 28), and their classes."""

    images: Tensor
    labels: Tensor

    @staticmethod
    def of(images: NDArray[Any], labels: NDArray[Any]) -> Digits:
        return Digits(model_space(images), torch.from_numpy(np.array(labels, dtype=np.int64)))

    def __getitem__(self, index: Tensor | slice) -> Digits:
        return Digits(self.images[index], self.labels[index])


def model_space(images: NDArray[Any]) -> Tensor:
    """Values 0..255 of N images in [-1, 1], (N, 1, 28, 28)."""
    return torch.from_numpy(np.array(images, dtype=np.float32)).reshape(-1, 1, 28, 28) / 127.5 - 1


def as_kept(x: Tensor) -> Tensor:
    """Images as a file would hold them: clipped to [-1, 1] and rounded to 256 levels."""
    return torch.round((x.clamp(-1, 1) + 1) * 127.5) / 127.5 - 1


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
        judge: Judge = Judge().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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


def nearest(x: Tensor, reference: Tensor) -> float:
    """Median over x of the Euclidean distance to the nearest reference image."""
    return float(torch.cdist(x.flatten(1), reference.flatten(1)).min(1).values.median())


@dataclass(frozen=True)
class Scores:
    """What the judge says of some images; the docstring of this file explains each."""

    n: int
    fd: float
    confidence: float
    sure: float
    nearest: float
    classes: tuple[int, ...]

    def row(self, name: str) -> str:
        """One line of the table below `HEADER`."""
        histogram = " ".join(map(str, self.classes))
        figures = f"{self.n:>6}{self.fd:>9.1f}{self.confidence:>8.3f}{self.sure:>8.3f}{self.nearest:>9.2f}"
        return f"{name:<34}{figures}   {histogram}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"classes": list(self.classes)}


@dataclass(frozen=True)
class TrainingData:
    """What a training is given: the reference digits, as `undiffuse.training` wants them."""

    info: DataInfo
    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    """None: nothing here learns classes."""


@dataclass(frozen=True)
class Bench:
    """The judge, the reference it measures against and digits that neither it nor a training on ``data`` saw."""

    judge: Judge
    reference: Digits
    held_out: Digits
    data: TrainingData
    name: str = "a judge"

    @cached_property
    def _reference_features(self) -> Tensor:
        return look(self.judge, self.reference.images)[0]

    @cached_property
    def _held_out_distance(self) -> float:
        return nearest(self.held_out.images, self.reference.images)

    def measure(self, images: Tensor) -> Scores:
        """Judge images in [-1, 1], (N, 1, 28, 28)."""
        features, probabilities = look(self.judge, images)
        confidence, classes = probabilities.max(-1)
        return Scores(
            n=len(images),
            fd=frechet_distance(Moments.of(features), Moments.of(self._reference_features)),
            confidence=float(confidence.mean()),
            sure=float((confidence > 0.9).float().mean()),
            nearest=nearest(images, self.reference.images) / self._held_out_distance,
            classes=tuple(torch.bincount(classes, minlength=10).tolist()),
        )

    def features(self, images: Tensor) -> Tensor:
        """The judge's features of images, float64, (N, 64)."""
        return look(self.judge, images)[0]

    def row(self, name: str, images: Tensor) -> str:
        """One line of the table."""
        return self.measure(images).row(name)


def make_bench(n: int, judge: Judge | None = None) -> Bench:
    """Train the judge on MNIST where it is at hand, else on most of the built-in digits; ``n`` digits are held out.

    Args:
        judge: one that was trained here before, in place of another training.
    """
    dataset = prepare(DataConfig(source="digits"))
    assert dataset.labels is not None
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(dataset))
    if folder := mnist_folder():
        learned, test = (load_npz(folder / f"mnist-{part}.npz") for part in ("train", "test"))
        known, name = np.sort(order), "60,000 MNIST digits"
        judge = judge or train_judge(learned, epochs=4, augment=False)
        chosen = torch.from_numpy(np.random.Generator(np.random.PCG64(1)).permutation(len(test.images)))
        held_out = test[chosen[:n]]
    else:
        known, name = order[1000:], "4,000 built-in digits"
        judge = judge or train_judge(Digits.of(dataset.images[known], dataset.labels[known]), epochs=40, augment=True)
        test = Digits.of(dataset.images[order[:1000]], dataset.labels[order[:1000]])
        held_out = test[:n]
    images, labels = np.ascontiguousarray(dataset.images[known]), dataset.labels[known]
    accuracy = (look(judge, test.images)[1].argmax(-1) == test.labels).float().mean()
    name = f"{name}, right on {accuracy:.2%} of {len(test.images)} others"
    print(f"judge: learned {name}", flush=True)
    # What has no classes is learned without: so the contenders of a comparison are told the same.
    data = TrainingData(replace(dataset.info, count=len(images), classes=()), images)
    return Bench(judge, Digits.of(images, labels), held_out, data, name)


def mnist_folder() -> Path | None:
    """The folder that ``UNDIFFUSE_TEST_DATA`` names, if it holds MNIST."""
    folder = Path(os.environ.get("UNDIFFUSE_TEST_DATA", ""))
    return folder if (folder / "mnist-train.npz").exists() else None


def load_npz(path: Path) -> Digits:
    with np.load(path, allow_pickle=False) as arrays:
        return Digits.of(arrays["x"], arrays["y"])
