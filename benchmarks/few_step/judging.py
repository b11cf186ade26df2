"""One judge for all rows of a table of few evaluations: trained once, kept in a file, told by its sha256.

The judge is that of lib/judge.py. Its distances mean nothing beside another judge's, so it is saved, and every row of a
table names it. The figures of `SavedJudge.judge_images`, in the judge's 64 features unless said, against the 5,000
built-in digits:

* fd, fd_infinity: Frechet distance, and its limit for infinitely many samples (`evaluation.metrics.frechet`).
* accuracy: the share of images whose class, as the judge sees it, is the one that was asked for.
* confidence: the judge's largest probability, on average.
* precision, recall, coverage: shares of neighbourhoods (`evaluation.metrics.manifold`). A model that forgets a part of
  the data keeps its precision and loses the other two.
* fd_pixels: the same distance of pixels in [0, 1]: no classifier sees it, so it tells where `fd` is flattered.
* ink: mean brightness over that of the 5,000 digits: above 1 strokes are too bold.
* nearest: median Euclidean distance of pixels to the nearest of the 5,000 digits, over that of held-out digits.
* share_variance: variance of the ten classes' shares as the judge sees them, in percentage points squared: 0 is even.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.lib.judge import Bench, Judge, look, make_bench, nearest
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.frechet import Gaussian, frechet_distance, frechet_infinity
from undiffuse.evaluation.metrics.manifold import density_coverage, precision_recall
from undiffuse.evaluation.metrics.moments import Moments
from undiffuse.runtime.durable_files import write_durably
from undiffuse.runtime.safe_tensors import check_tensors, from_bytes, to_bytes

FOLDER = Path("benchmarks/results/few-step")
"""For what is kept and not committed: the judge and drawn samples."""
CLASSES = 10
POINTS = 15
"""Set sizes that FD-infinity is extrapolated from."""


@dataclass(frozen=True)
class SavedJudge:
    """The judge, what it measures against, and the sha256 of its file."""

    bench: Bench
    sha256: str

    @classmethod
    def of(cls, path: Path = FOLDER / "judge.safetensors", n: int = 5000) -> SavedJudge:
        """The judge in a file, which is trained and written where there is none; ``n`` digits are held out.

        Raises:
            UndiffuseError: the file holds something else.
        """
        if path.exists():
            bench = make_bench(n, read_judge(path))
        else:
            bench = make_bench(n)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, to_bytes(bench.judge.state_dict()))
        return cls(bench, hashlib.sha256(path.read_bytes()).hexdigest())

    def judge_images(self, images: Tensor, asked: Tensor) -> dict[str, Any]:
        """The figures of images in [-1, 1], (n, 1, 28, 28), drawn for these n classes, rounded as tables show them."""
        if len(images) != len(asked):
            raise UndiffuseError(f"Each image needs the class that it was drawn for: {len(images)} and {len(asked)}")
        reference, pixels = self.bench.reference.images, self._held_out_nearest
        features, probabilities = look(self.bench.judge, images)
        confidence, seen = probabilities.max(-1)
        shares = 100 * torch.bincount(seen, minlength=CLASSES).double() / len(seen)
        count = min(len(features), len(self._real))
        real = self._real[_some(len(self._real), count)]
        fake = features[_some(len(features), count)]
        precision, recall = precision_recall(real, fake)
        figures = {
            "fd": (frechet_distance(Moments.of(features), self._real_moments), 2),
            "fd_infinity": (frechet_infinity(features, self._real_moments, points=POINTS).value, 2),
            "fd_pixels": (Gaussian.of(Moments.of(_pixels(images))).distance(self._real_pixels), 3),
            "accuracy": (float((seen == asked).double().mean()), 4),
            "confidence": (float(confidence.mean()), 4),
            "precision": (precision, 4),
            "recall": (recall, 4),
            "coverage": (density_coverage(real, fake)[1], 4),
            "ink": (float(_pixels(images).mean() / _pixels(reference).mean()), 3),
            "nearest": (nearest(images, reference) / pixels, 3),
            "share_variance": (float(shares.var(correction=0)), 3),
        }
        return {name: round(value, digits) for name, (value, digits) in figures.items()}

    def judge_held_out(self) -> dict[str, Any]:
        """The floor: the figures of real digits that neither the judge nor a model has learned."""
        return self.judge_images(self.bench.held_out.images, self.bench.held_out.labels)

    @cached_property
    def _real(self) -> Tensor:
        return self.bench.features(self.bench.reference.images)

    @cached_property
    def _real_moments(self) -> Moments:
        return Moments.of(self._real)

    @cached_property
    def _real_pixels(self) -> Gaussian:
        return Gaussian.of(Moments.of(_pixels(self.bench.reference.images)))

    @cached_property
    def _held_out_nearest(self) -> float:
        return nearest(self.bench.held_out.images, self.bench.reference.images)


def read_judge(path: Path) -> Judge:
    """The judge that a file holds."""
    judge = Judge()
    tensors = from_bytes(path.read_bytes(), path)
    check_tensors(tensors, judge.state_dict(), str(path))
    judge.load_state_dict(tensors)
    return judge.eval()


def _pixels(images: Tensor) -> Tensor:
    """Images in [-1, 1] as rows of values in [0, 1], float64."""
    return (images.flatten(1).double() + 1) / 2


def _some(total: int, count: int) -> Tensor:
    """Rows for a comparison of equally many: all of them, or some drawn from a fixed seed."""
    if count == total:
        return torch.arange(total)
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count]
