"""A fixed judge of samples of any labelled data: the Frechet distance in the features of the data's own classifier.

The classifier is the extractor 'classifier' of undiffuse, trained once on the labels and kept in the cache; its hash is
part of every result, because distances by two judges do not compare. The reference is 10,000 of the data's images (all
where there are fewer), which stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.evaluation.features.classifier import ClassifierExtractor, load_classifier
from undiffuse.evaluation.features.extract import batches, extract
from undiffuse.evaluation.metrics.frechet import frechet_distance
from undiffuse.evaluation.metrics.moments import Moments

REFERENCE = 10_000


@dataclass(frozen=True)
class FeatureJudge:
    """The extractor and what the reference looks like to it."""

    extractor: ClassifierExtractor
    info: DataInfo
    reference: Moments

    def distance(self, images: NDArray[Any]) -> float:
        """Frechet distance of (N, C, *spatial) images of the data's own type."""
        return frechet_distance(self._moments(images), self.reference)

    def _moments(self, images: NDArray[Any]) -> Moments:
        found = extract(self.extractor, batches(images, self.info), len(images), progress=False)
        return found.moments

    def __str__(self) -> str:
        found = self.extractor
        return (
            f"classifier {found.sha256[:12]}, right on {found.accuracy:.1%} of {found.held_out:,} held-out images; "
            f"reference: {self.reference.count:,} of '{self.info.name}'"
        )


def make_judge(data: Dataset) -> FeatureJudge:
    """The judge of a data set; trains the classifier where the cache has none.

    Raises:
        UndiffuseError: the data has no labels.
    """
    extractor, info = load_classifier(data, progress=True), data.info
    chosen = np.sort(some(len(data), REFERENCE))
    features = extract(extractor, batches(data.images[chosen], info), len(chosen), progress=False)
    return FeatureJudge(extractor, info, features.moments)


def some(count: int, n: int) -> NDArray[np.int64]:
    """n of count indices, always the same ones; all where there are fewer."""
    return np.random.Generator(np.random.PCG64(0)).permutation(count)[:n]
