"""The nearest training images of a model's samples, beside those of images that it cannot have copied.

    training = TrainingImages.of(dataset)
    yardstick = HeldOutBaseline.held_out(heldout, training)
    found = memorisation(ModelSamples(model.plan(settings), 1000), training, yardstick, [Pixels()])
    found.spaces[0].z, found.copies

In pixel space and in an extractor's, each sample's distance to its nearest training images is held against the same
distance of *honest* images: held-out ones, or, where there are none, training images with themselves left out. What the
numbers mean is written in `undiffuse.evaluation.metrics.copy_detection`.

Exact duplicates among the training images are taken out before: by them, a training image would be no yardstick for
another, and a copy of an image that occurs twice would have two neighbours at distance 0 and look like an ordinary one.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.data.masks import check_unmasked
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.evaluation.features.extract import batches, extract
from undiffuse.evaluation.features.extractor import Extractor, Identity
from undiffuse.evaluation.images import drawn
from undiffuse.evaluation.metrics.copy_detection import (
    LEAST,
    Nearness,
    closeness,
    copy_threshold,
    median_ratio,
    nearness,
    rank_z,
)
from undiffuse.evaluation.metrics.estimate import Interval
from undiffuse.evaluation.metrics.nearest_neighbors import nearest
from undiffuse.evaluation.quality.image_source import ImageSource
from undiffuse.evaluation.quality.reference import Reference, check_comparable
from undiffuse.evaluation.value_range import Extent
from undiffuse.runtime.standard_streams import hidden
from undiffuse.runtime.torch_modes import own_modes

NEIGHBORS = 10
"""Nearest training images that are looked at. Carlini et al. 2023 take 50, but the further ones only blur what is near:
on digits noisier copies are told with 10 (docs/develop/lab-notes.md), while with 2 or 3 a near-duplicate hides one."""
LIMIT = 5000
"""Honest images that are used at most: more narrow no interval that matters, and each costs as much as a sample."""
BLOCK = 4096
"""Training images whose pixels are in memory at once."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class TrainingImages:
    """The images that may have been copied, each content once."""

    dataset: Dataset
    groups: dict[bytes, list[int]]
    """For each content: the numbers of the images that hold it."""

    @classmethod
    def of(cls, dataset: Dataset) -> TrainingImages:
        """Look through a data set for exact duplicates."""
        check_unmasked(dataset, "A search for copies")
        groups: dict[bytes, list[int]] = {}
        for number, content in enumerate(_digests(dataset.images)):
            groups.setdefault(content, []).append(number)
        if len(groups) < LEAST:
            raise UndiffuseError(
                f"Copies are looked for among at least {LEAST} different training images, and '{dataset.info.name}' "
                f"has {len(groups)}"
            )
        return cls(dataset, groups)

    @property
    def info(self) -> DataInfo:
        return self.dataset.info

    @cached_property
    def distinct(self) -> Numbers:
        """Number of the first image of each content, rising."""
        return np.array([numbers[0] for numbers in self.groups.values()], np.int64)


@dataclass(frozen=True)
class HeldOutBaseline:
    """Images that nobody can have copied from the training set, whose distances are therefore normal.

    Args:
        dataset: the held-out one, or the training set itself.
        numbers: of the images that are used, rising.
        left_out: these are training images, each of which does not count as its own neighbour.
        leaked: number of held-out images that are training images, too; they are not used.
    """

    dataset: Dataset
    numbers: Numbers
    left_out: bool
    leaked: int = 0

    @classmethod
    def held_out(cls, dataset: Dataset, training: TrainingImages, limit: int = LIMIT, seed: int = 0) -> HeldOutBaseline:
        """Held-out images, ``limit`` of them at random; those that are in the training set are no yardstick."""
        check_unmasked(dataset, "A search for copies")
        check_comparable(dataset.info, training.info)
        new = [number for number, content in enumerate(_digests(dataset.images)) if content not in training.groups]
        leaked = len(dataset) - len(new)
        if len(new) < LEAST:
            raise UndiffuseError(
                f"`held_out` needs at least {LEAST} images that are not among the training ones, and of the "
                f"{len(dataset):,} of '{dataset.info.name}' {leaked:,} are"
            )
        return cls(dataset, _choose(np.array(new, np.int64), limit, seed), False, leaked)

    @classmethod
    def leave_one_out(cls, training: TrainingImages, limit: int = LIMIT, seed: int = 0) -> HeldOutBaseline:
        """Training images, ``limit`` of the different ones at random: how far is each from the nearest *other* one?"""
        return cls(training.dataset, _choose(training.distinct, limit, seed), True)


@dataclass(frozen=True)
class Space:
    """The findings in the features of one extractor."""

    identity: Identity
    distances: Float[Tensor, "n k"]
    """From each sample to its nearest different training images, rising, float64."""
    neighbors: Int[Tensor, "n k"]
    """Their numbers."""
    honest: Float[Tensor, "m k"]
    """The same distances of the honest images."""
    ratio: Interval
    """Median distance of the samples over that of the honest images."""
    z: float
    """Of their ranks; below -3 the samples are nearer than chance explains."""
    near: Nearness
    """Samples that are nearer than 99 % of the honest images."""
    threshold: float
    """Closeness below which a sample is a copy."""

    @classmethod
    def of(cls, identity: Identity, distances: Tensor, neighbors: Tensor, honest: Tensor, seed: int = 0) -> Space:
        first, normal = distances[:, 0], honest[:, 0]
        ratio, z, near = median_ratio(first, normal, seed), rank_z(first, normal), nearness(first, normal)
        threshold = copy_threshold(closeness(honest), len(distances))
        return cls(identity, distances, neighbors, honest, ratio, z, near, threshold)

    @cached_property
    def closeness(self) -> Float[Tensor, "n"]:
        """Distance to the nearest over the mean distance to the k nearest; pairs are sorted by it."""
        return closeness(self.distances)

    @cached_property
    def copies(self) -> list[int]:
        """Samples that are copies of a training image in this space, the closest first."""
        return [k for k in self.closeness.argsort(stable=True).tolist() if self.closeness[k] < self.threshold]

    @cached_property
    def alarms(self) -> int:
        """Honest images that the same rule takes for copies: they cannot be."""
        return int((closeness(self.honest) < self.threshold).sum())


@dataclass(frozen=True)
class Memorization:
    """The findings in all spaces, and the images that they are of."""

    samples: NDArray[Any]
    """(n, channels, *spatial), values of the data's own type."""
    facts: dict[str, Any]
    """Of the samples' source."""
    training: TrainingImages
    yardstick: HeldOutBaseline
    spaces: tuple[Space, ...]
    exact: dict[int, list[int]]
    """Samples that are equal to training images to the last bit, and the numbers of those."""
    seed: int

    @cached_property
    def copies(self) -> list[int]:
        """Samples that are copies in any space, the exact ones among them."""
        return sorted({*self.exact, *(k for space in self.spaces for k in space.copies)})


@in_one_sentence
@own_modes()
def memorization(
    subject: ImageSource,
    training: TrainingImages,
    yardstick: HeldOutBaseline,
    extractors: Sequence[Extractor],
    *,
    neighbors: int = NEIGHBORS,
    seed: int = 0,
    progress: bool = False,
) -> Memorization:
    """Look for the samples' nearest training images in each extractor's features.

    Distances are Euclidean; those of pixels are divided by the root of their number, so that 0.1 is a root mean square
    difference of a tenth of the data's range.

    Args:
        subject: the samples, at least `LEAST`.
        yardstick: the honest images.
        extractors: at least one; `Pixels` for pixel space.
        neighbours: training images that a distance is compared with, at most as many as there are others.
        seed: of the bootstrap.

    Raises:
        UndiffuseError: images that do not fit each other or an extractor, too few of them, or values that are not
            finite.
    """
    check_comparable(subject.info, training.info)
    if subject.count < LEAST:
        raise UndiffuseError(f"Memorisation is judged by at least {LEAST} samples, and there are {subject.count}")
    blocks = []
    with tqdm(total=subject.count, desc="samples", unit="image", disable=hidden(progress)) as bar:
        for block in subject.blocks(range(subject.count)):
            blocks.append(block)
            bar.update(len(block))
    samples = np.concatenate(blocks)
    spaces = []
    for extractor in extractors:
        k = min(neighbors, len(training.distinct) - 1)
        own, numbers, honest = _search(samples, training, yardstick, extractor, k, progress)
        spaces.append(Space.of(extractor.identity, own, numbers, honest, seed))
    exact = {k: training.groups[it] for k, it in enumerate(_digests(samples)) if it in training.groups}
    extent = Extent()
    extent.look(samples, training.info)
    if words := extent.words(training.info, str(subject.facts()["name"]), f"the training data {training.info.name}"):
        warnings.warn(words, stacklevel=2)
    return Memorization(samples, subject.facts(), training, yardstick, tuple(spaces), exact, seed)


def _search(
    samples: NDArray[Any],
    training: TrainingImages,
    yardstick: HeldOutBaseline,
    extractor: Extractor,
    k: int,
    progress: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Distances and numbers of the samples' k nearest training images, and the honest images' distances."""
    chosen = np.asarray(yardstick.dataset.images[yardstick.numbers])
    rows = [_rows(extractor, array, training.info) for array in (samples, chosen)]
    distances, numbers = nearest_of_blocks(torch.cat(rows), _blocks(training, extractor, progress), k + 1)
    n = len(samples)
    honest = distances[n:, :k]
    if yardstick.left_out:
        honest = without_self(distances[n:], numbers[n:], torch.from_numpy(yardstick.numbers))
    return distances[:n, :k], numbers[:n, :k], honest


def _rows(extractor: Extractor, array: NDArray[Any], info: DataInfo) -> Float[Tensor, "images features"]:
    features = extract(extractor, batches(array, info), len(array)).features
    return features / math.sqrt(features.shape[1]) if extractor.identity.name == "pixels" else features


def _blocks(training: TrainingImages, extractor: Extractor, progress: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """(numbers, rows) of the different training images: pixels as they are read, features from the cache."""
    numbers = training.distinct
    everything = None
    if extractor.identity.name != "pixels":
        everything = Reference(training.dataset).features(extractor, progress=progress).features
    starts = range(0, len(numbers), BLOCK)
    for start in tqdm(starts, desc=f"nearest by {extractor.identity.name}", disable=hidden(progress)):
        part = numbers[start : start + BLOCK]
        if everything is not None:
            yield torch.from_numpy(part), everything[torch.from_numpy(part)]
        else:
            yield torch.from_numpy(part), _rows(extractor, training.dataset.images[part], training.info)


def nearest_of_blocks(
    x: Float[Tensor, "n features"], blocks: Iterable[tuple[Tensor, Tensor]], k: int
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k nearest rows of a set that comes in blocks of (numbers, rows): (distances, numbers), rising.

    Fewer than k rows in all give fewer columns.
    """
    distances, numbers = torch.empty(len(x), 0, dtype=torch.float64), torch.empty(len(x), 0, dtype=torch.int64)
    for names, rows in blocks:
        near, where = nearest(x, rows, min(k, len(rows)))
        distances, numbers = torch.cat([distances, near], 1), torch.cat([numbers, names[where]], 1)
        order = distances.argsort(dim=1, stable=True)[:, :k]
        distances, numbers = distances.gather(1, order), numbers.gather(1, order)
    return distances, numbers


def without_self(
    distances: Float[Tensor, "n k1"], numbers: Int[Tensor, "n k1"], own: Int[Tensor, "n"]
) -> Float[Tensor, "n k"]:
    """Distances without that to the row itself; where ties at 0 have pushed it out of the list, without the last."""
    is_own = numbers == own[:, None]
    is_own[:, -1] |= ~is_own.any(1)
    return distances[~is_own].reshape(len(distances), -1)


def _digests(images: NDArray[Any]) -> Iterator[bytes]:
    """A hash of every image's values."""
    return (hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images)


def _choose(numbers: Numbers, limit: int, seed: int) -> Numbers:
    return numbers[list(drawn(len(numbers), limit, seed, "yardstick"))]
