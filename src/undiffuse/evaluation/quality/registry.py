"""Every measure of quality as a row: its names, its needs, the function that computes it, which way is better.

A new measure is a function from a `Compared` and one row. `evaluate` walks over the rows, computes those whose needs
the extractor meets, and gives the same function two sets of real images for the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extractor import Identity, Outputs
from undiffuse.evaluation.metrics.estimate import Estimate
from undiffuse.evaluation.metrics.frechet import frechet_distance, frechet_infinity
from undiffuse.evaluation.metrics.inception_score import inception_score
from undiffuse.evaluation.metrics.kernel import kernel_distance
from undiffuse.evaluation.metrics.manifold import density_coverage, precision_recall
from undiffuse.evaluation.metrics.moments import Moments
from undiffuse.runtime.random_streams import generator

SPLITS = 10
"""Parts that the Inception Score is averaged over (Salimans et al. 2016)."""
SUBSETS, SUBSET_SIZE = 100, 1000
"""Of the kernel distance (Binkowski et al. 2018)."""
POINTS = 15
"""Set sizes that FD-infinity is extrapolated from (Chong & Forsyth 2020)."""

Needs = Literal["features", "spatial", "logits"]
Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Compared:
    """Samples and the real images that they are measured against, by one extractor.

    Args:
        fake: the samples; for the floor, real images in their place.
        seed: of every subset that a measure draws.
    """

    fake: Outputs
    real: Outputs
    seed: int = 0

    @cached_property
    def balanced(self) -> tuple[Tensor, Tensor]:
        """(real, fake) features in equal numbers: neighbourhoods shrink as a set grows, so unequal sets mislead."""
        count = min(len(self.fake), len(self.real))
        return _some(self.real, count, self.seed, "real"), _some(self.fake, count, self.seed, "fake")


def _some(features: Outputs, count: int, seed: int, name: str) -> Tensor:
    if count == len(features):
        return features.features
    return features.features[torch.randperm(len(features), generator=generator(seed, "balance", name))[:count]]


def _frechet(pair: Compared) -> tuple[Estimate, ...]:
    return (Estimate(frechet_distance(pair.fake.moments, pair.real.moments)),)


def _spatial_frechet(pair: Compared) -> tuple[Estimate, ...]:
    assert pair.fake.spatial is not None
    assert pair.real.spatial is not None
    return (Estimate(frechet_distance(Moments.of(pair.fake.spatial), Moments.of(pair.real.spatial))),)


def _frechet_infinity(pair: Compared) -> tuple[Estimate, ...]:
    return (frechet_infinity(pair.fake.features, pair.real.moments, seed=pair.seed, points=POINTS),)


def _kernel(pair: Compared) -> tuple[Estimate, ...]:
    size = min(SUBSET_SIZE, len(pair.fake), len(pair.real))
    return (kernel_distance(pair.fake.features, pair.real.features, SUBSETS, size, pair.seed),)


def _inception_score(pair: Compared) -> tuple[Estimate, ...]:
    assert pair.fake.logits is not None
    return (inception_score(pair.fake.logits, SPLITS, pair.seed),)


def _precision_recall(pair: Compared) -> tuple[Estimate, ...]:
    return tuple(map(Estimate, precision_recall(*pair.balanced)))


def _density_coverage(pair: Compared) -> tuple[Estimate, ...]:
    return tuple(map(Estimate, density_coverage(*pair.balanced)))


@dataclass(frozen=True)
class Measure:
    """One number of a row.

    Args:
        metric: its key in files, which no extractor changes.
        standard: its name with the published Inception network, which the literature's figures are made with.
        other: its name with any other network.
    """

    metric: str
    standard: str
    other: str
    better: Better

    def name(self, identity: Identity) -> str:
        return self.standard if identity.standard else self.other


@dataclass(frozen=True)
class Row:
    """The numbers of one function, in order.

    Args:
        minimum: images on each side below which it is left out.
        needs: the output of the extractor that it looks at.
    """

    measures: tuple[Measure, ...]
    compute: Callable[[Compared], tuple[Estimate, ...]]
    minimum: int
    needs: Needs = "features"

    def possible(self, features: Outputs) -> bool:
        return self.needs in features.tensors()


ROWS = [
    Row((Measure("frechet", "FID", "FD", "lower"),), _frechet, 10),
    Row((Measure("spatial_frechet", "sFID", "sFD", "lower"),), _spatial_frechet, 10, "spatial"),
    Row((Measure("frechet_infinity", "FID-infinity", "FD-infinity", "lower"),), _frechet_infinity, 100),
    Row((Measure("kernel", "KID", "KD", "lower"),), _kernel, 10),
    Row((Measure("inception_score", "Inception Score", "class score", "higher"),), _inception_score, 100, "logits"),
    Row(
        (Measure("precision", "precision", "precision", "higher"), Measure("recall", "recall", "recall", "higher")),
        _precision_recall,
        10,
    ),
    Row(
        (Measure("density", "density", "density", "higher"), Measure("coverage", "coverage", "coverage", "higher")),
        _density_coverage,
        10,
    ),
]
"""Everything that is computed on features, in the order of the table."""

MINIMUM = min(row.minimum for row in ROWS)
"""Fewer images than these, on either side, and nothing can be said at all."""


def register_metric(
    name: str,
    compute: Callable[[Tensor, Tensor], float],
    better: Better = "lower",
    needs: Needs = "features",
    minimum: int = 10,
) -> None:
    """Make a measure known to `undiffuse evaluate`, to comparisons and to the studio.

    Args:
        name: in tables and files.
        compute: ``compute(samples, real)``, of the extractor's output for each, (N, ...), float32; a number.
        better: which way.
        needs: the output of the extractor that it looks at.
        minimum: images on each side below which it is left out.

    Raises:
        UndiffuseError: there is a measure of this name.
    """
    taken = {word for row in ROWS for one in row.measures for word in (one.metric, one.standard, one.other)}
    if name in taken and _registered.get(name) != compute.__qualname__:
        raise UndiffuseError(f"There is a measure '{name}' already: register yours under another name")
    if name not in taken:

        def measured(pair: Compared) -> tuple[Estimate, ...]:
            fake, real = (outputs.tensors()[needs] for outputs in (pair.fake, pair.real))
            return (Estimate(float(compute(fake, real))),)

        ROWS.append(Row((Measure(name, name, name, better),), measured, minimum, needs))
    _registered[name] = compute.__qualname__


_registered: dict[str, str] = {}
