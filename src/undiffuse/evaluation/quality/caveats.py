"""Reasons not to trust a figure, in words that stand beside it.

The rules are data: which metrics they are for, when they apply, what they say. They look at counts and values alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from undiffuse.evaluation.metrics.estimate import Estimate
from undiffuse.evaluation.quality.registry import SPLITS, SUBSET_SIZE, Better

FRECHET = ("frechet", "spatial_frechet")
MANIFOLD = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class Case:
    """The facts that the rules look at.

    Args:
        metric: key of the measure.
        n, m: number of samples and of real images.
        width: numbers that an image is described by: features, or classes for the class score.
        floor: the same metric between real images; None where there are too few of them.
        floor_n: number of those that stood in for samples.
    """

    metric: str
    found: Estimate
    better: Better
    n: int
    m: int
    width: int
    floor: Estimate | None = None
    floor_n: int = 0


@dataclass(frozen=True)
class Caveat:
    metrics: tuple[str, ...]
    applies: Callable[[Case], bool]
    says: Callable[[Case], str]


def _within_floor(case: Case) -> bool:
    """True where the figure is no worse than the floor, by two standard errors where there are any."""
    if case.floor is None or case.floor_n < case.n:
        return False
    slack = 2 * math.hypot(_standard_error(case, case.found), _standard_error(case, case.floor))
    if case.better == "lower":
        return case.found.value <= case.floor.value + slack
    return case.found.value >= case.floor.value - slack


def _standard_error(case: Case, value: Estimate) -> float:
    """KID's error is of one subset; the mean over a large set, of many of them, strays by less."""
    if value.error is None:
        return 0.0
    if case.metric != "kernel":
        return value.error
    return value.error * min(1.0, math.sqrt(2 * SUBSET_SIZE / min(case.n, case.m)))


RULES = (
    Caveat(
        FRECHET,
        lambda case: min(case.n, case.m) <= case.width,
        lambda case: (
            f"{min(case.n, case.m):,} images do not exceed the {case.width:,} dimensions: a covariance is singular, "
            "and much of the distance is bias"
        ),
    ),
    Caveat(
        FRECHET,
        lambda case: case.n < 10_000,
        lambda case: f"biased upwards at N = {case.n:,}: compare at equal N only (papers take 50,000)",
    ),
    Caveat(
        ("frechet_infinity",),
        lambda case: case.n < 5_000,
        lambda case: f"extrapolated from no more than {case.n:,} images: a line may not fit so far from infinity",
    ),
    Caveat(
        ("kernel",),
        lambda case: min(case.n, case.m) < 2 * SUBSET_SIZE,
        lambda case: (
            f"unbiased at any N, but +- is of subsets of {min(case.n, case.m) // 2:,} images here, and of "
            f"{SUBSET_SIZE:,} in papers"
        ),
    ),
    Caveat(
        ("inception_score",),
        lambda case: case.n // SPLITS < min(10 * case.width, 5000),
        lambda case: f"{case.n // SPLITS:,} images a split for {case.width:,} classes: biased downwards",
    ),
    Caveat(
        ("precision", "recall"),
        lambda case: min(case.n, case.m) < 10_000,
        lambda case: f"depends on N, and {min(case.n, case.m):,} of each side are few: compare at equal N only",
    ),
    Caveat(
        ("density", "coverage"),
        lambda case: min(case.n, case.m) < 1_000,
        lambda case: f"rough at {min(case.n, case.m):,} images of each side: 1,000 at least are needed",
    ),
    Caveat(
        MANIFOLD,
        lambda case: case.m < case.n,
        lambda case: f"computed on {case.m:,} of the {case.n:,} samples, since the reference has no more",
    ),
    Caveat(
        (*FRECHET, "frechet_infinity", "kernel", "precision", "recall", "density", "coverage"),
        _within_floor,
        lambda case: "by this figure they cannot be told from real images at this N",
    ),
    Caveat(
        (*FRECHET, "frechet_infinity", "kernel", *MANIFOLD, "inception_score"),
        lambda case: case.floor is None,
        lambda case: "the reference has too few images for a floor",
    ),
    Caveat(
        FRECHET + MANIFOLD,
        lambda case: case.floor is not None and case.floor_n < case.n,
        lambda case: (
            f"the floor is of {case.floor_n:,} images, half of the reference, where there are {case.n:,} samples"
        ),
    ),
)


def warnings_for(case: Case) -> tuple[str, ...]:
    """One sentence for every rule that applies, in the order of the rules."""
    return tuple(rule.says(case) for rule in RULES if case.metric in rule.metrics and rule.applies(case))
