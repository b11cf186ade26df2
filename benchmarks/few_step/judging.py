"""One judge for all rows of a table of few evaluations: trained once, kept in a file, told by its sha256.

Its distances mean nothing beside another judge's, so it is kept, and every row of a table names it; judges.py has those
that there are. The figures of `SavedJudge.judge_images`, in the judge's features unless said, against its reference:

* fd, fd_infinity: Frechet distance, and its limit for infinitely many samples (`evaluation.metrics.frechet`).
* accuracy: the share of images whose class, as the judge sees it, is the one that was asked for.
* confidence: the judge's largest probability, on average.
* precision, recall, coverage: shares of neighbourhoods (`evaluation.metrics.manifold`). A model that forgets a part of
  the data keeps its precision and loses the other two.
* fd_pixels: the same distance of pixels in [0, 1]: no classifier sees it, so it tells where `fd` is flattered.
* ink: mean brightness over that of the reference: of digits, above 1 strokes are too bold.
* nearest: median Euclidean distance of pixels to the nearest of some images that models learned, over that of held-out
  images.
* share_variance: variance of the classes' shares as the judge sees them, in percentage points squared: 0 is even.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from benchmarks.few_step.drawing import tells_class
from benchmarks.lib.judge import nearest
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.frechet import Gaussian, frechet_distance, frechet_infinity
from undiffuse.evaluation.metrics.manifold import density_coverage, precision_recall
from undiffuse.evaluation.metrics.moments import Moments
from undiffuse.model import Model

POINTS = 15
"""Set sizes that FD-infinity is extrapolated from."""

Look = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From images in [-1, 1], (n, C, H, W), to features, (n, D) float64, and class probabilities, (n, classes)."""


@dataclass(frozen=True)
class SavedJudge:
    """A classifier, and the images that it measures others against; all images are in [-1, 1], (N, C, H, W).

    Args:
        look: the classifier.
        classes: names, in the order of its probabilities.
        reference: what distances are to.
        learned: some images that models learned, of which `nearest` looks for copies.
        held_out: images that neither the judge nor a model has learned.
        held_out_labels: their classes, (N,).
        name: what the judge learned and measures against, in words.
        sha256: of its file.
        floor: the name of the held-out images' row.
    """

    look: Look
    classes: tuple[str, ...]
    reference: Tensor
    learned: Tensor
    held_out: Tensor
    held_out_labels: Tensor
    name: str
    sha256: str
    floor: str = "held-out images"

    def check_knows(self, model: Model, name: str) -> None:
        """Check that a model's images are of the judge's kind.

        Raises:
            UndiffuseError: they have another shape or other classes.
        """
        shape, classes = tuple(self.reference.shape[1:]), model.info.classes
        if model.shape != shape or (tells_class(model) and classes != self.classes):
            raise UndiffuseError(
                f"The judge knows images of {shape}, classes {', '.join(self.classes)}, and {name} draws "
                f"{model.shape}, classes {', '.join(classes) or 'none'}: name the data that it learned by `--data`, "
                "and others of their kind by `--held-out`"
            )

    def judge_images(self, images: Tensor, asked: Tensor | None) -> dict[str, Any]:
        """The figures of n images, rounded as tables show them.

        Args:
            asked: the n classes that they were drawn for; None where no class was asked for, and then there is no
                `accuracy`.
        """
        if asked is not None and len(images) != len(asked):
            raise UndiffuseError(f"Each image needs the class that it was drawn for: {len(images)} and {len(asked)}")
        features, probabilities = self.look(images)
        confidence, seen = probabilities.max(-1)
        shares = 100 * torch.bincount(seen, minlength=len(self.classes)).double() / len(seen)
        count = min(len(features), len(self._real))
        real = self._real[_some(len(self._real), count)]
        fake = features[_some(len(features), count)]
        precision, recall = precision_recall(real, fake)
        figures = {
            "fd": (frechet_distance(Moments.of(features), self._real_moments), 2),
            "fd_infinity": (frechet_infinity(features, self._real_moments, points=POINTS).value, 2),
            "fd_pixels": (Gaussian.of(Moments.of(_pixels(images))).distance(self._real_pixels), 3),
            **({} if asked is None else {"accuracy": (float((seen == asked).double().mean()), 4)}),
            "confidence": (float(confidence.mean()), 4),
            "precision": (precision, 4),
            "recall": (recall, 4),
            "coverage": (density_coverage(real, fake)[1], 4),
            "ink": (float(_pixels(images).mean() / _pixels(self.reference).mean()), 3),
            "nearest": (nearest(images, self.learned) / self._held_out_nearest, 3),
            "share_variance": (float(shares.var(correction=0)), 3),
        }
        return {name: round(value, digits) for name, (value, digits) in figures.items()}

    def judge_held_out(self) -> dict[str, Any]:
        """The floor: the figures of real images that neither the judge nor a model has learned."""
        return self.judge_images(self.held_out, self.held_out_labels)

    @cached_property
    def _real(self) -> Tensor:
        return self.look(self.reference)[0]

    @cached_property
    def _real_moments(self) -> Moments:
        return Moments.of(self._real)

    @cached_property
    def _real_pixels(self) -> Gaussian:
        return Gaussian.of(Moments.of(_pixels(self.reference)))

    @cached_property
    def _held_out_nearest(self) -> float:
        return nearest(self.held_out, self.learned)


def _pixels(images: Tensor) -> Tensor:
    """Images in [-1, 1] as rows of values in [0, 1], float64."""
    return (images.flatten(1).double() + 1) / 2


def _some(total: int, count: int) -> Tensor:
    """Rows for a comparison of equally many: all of them, or some drawn from a fixed seed."""
    if count == total:
        return torch.arange(total)
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count]
