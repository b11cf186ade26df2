"""The extrapolated distance finds what the finite ones are biased away from."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.estimate import Estimate
from undiffuse.evaluation.metrics.frechet import frechet_infinity
from undiffuse.evaluation.metrics.moments import Moments

SCALES = torch.logspace(0, -1, 16, dtype=torch.float64)


def reference() -> Moments:
    """Of N(0, diag SCALES^2) exactly: a reference without a bias of its own."""
    count = 10**9
    return Moments(count, torch.zeros(16, dtype=torch.float64), (count - 1) * torch.diag(SCALES**2))


def samples(n: int, seed: int, scale: float = 1.2) -> Tensor:
    return scale * SCALES * torch.randn(n, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slope_of(line: Estimate) -> float:
    """Of fd against 1/n: least squares go through the points' mean."""
    n, y = np.array(line.points).T
    return float((y.mean() - line.value) / (1 / n).mean())


@pytest.fixture(scope="module")
def runs() -> list[Estimate]:
    """Of twenty sets of samples."""
    return [frechet_infinity(samples(1000, seed), reference(), seed=seed) for seed in range(20)]


TRUTH = float((0.2 * SCALES).square().sum())


def test_it_recovers_the_distance_of_the_distributions(runs: list[Estimate]) -> None:
    values = np.array([run.value for run in runs])
    standard_error = values.std(ddof=1) / len(values) ** 0.5
    assert abs(values.mean() - TRUTH) < 4 * standard_error
    assert standard_error < 0.1 * TRUTH


def test_its_slope_is_the_bias_of_gaussians(runs: list[Estimate]) -> None:
    # The mean contributes tr C, and the second derivative of tr (C_ref C)^{1/2} the rest, with C = c^2 S (1 + E) S and
    # n E[E_ij^2] = 1 + [i = j]: in all c^2 tr S^2 + c/2 sum_ij (1 + [i = j]) s_i^2 s_j^2 / (s_i^2 + s_j^2).
    square, c = SCALES**2, 1.2
    pairs = torch.outer(square, square) / (square[:, None] + square)
    expected = float(c**2 * square.sum() + c / 2 * (pairs.sum() + pairs.trace()))
    slopes = np.array([slope_of(run) for run in runs])
    assert abs(slopes.mean() - expected) < 4 * slopes.std(ddof=1) / len(slopes) ** 0.5
    assert slopes.std(ddof=1) / len(slopes) ** 0.5 < 0.15 * expected


def test_its_error_is_of_the_size_of_its_scatter(runs: list[Estimate]) -> None:
    scatter = np.std([run.value for run in runs], ddof=1)
    error = np.mean([run.error for run in runs])
    # Subsets share samples, so the fit's own error is the smaller, but not by an order of magnitude.
    assert 0.1 * scatter < error < 2 * scatter


def test_the_line_is_numpys_least_squares() -> None:
    one = frechet_infinity(samples(300, 0), reference(), points=9)
    n, y = (np.array(column, dtype=float) for column in zip(*one.points, strict=True))
    (slope, value), covariance = np.polyfit(1 / n, y, 1, cov=True)
    assert one.value == pytest.approx(value, rel=1e-9)
    assert slope_of(one) == pytest.approx(slope, rel=1e-9)
    assert one.error == pytest.approx(covariance[1, 1] ** 0.5, rel=1e-9)


def test_points_go_from_a_tenth_of_the_samples_to_all() -> None:
    sizes = [n for n, _ in frechet_infinity(samples(500, 0), reference()).points]
    assert (len(sizes), sizes[0], sizes[-1]) == (15, 50, 500)
    assert len({b - a for a, b in pairwise(sizes)}) <= 2  # even steps, rounded


def test_the_seed_decides_the_subsets_and_nothing_else_does() -> None:
    x = samples(200, 0)
    torch.manual_seed(1)
    one = frechet_infinity(x, reference(), seed=4)
    torch.manual_seed(2)
    assert frechet_infinity(x, reference(), seed=4) == one
    other = frechet_infinity(x, reference(), seed=5)
    assert other.points[0] != one.points[0]
    assert other.points[-1][1] == pytest.approx(one.points[-1][1], rel=1e-12)  # all samples, whatever the order


def test_bad_input_is_refused() -> None:
    with pytest.raises(UndiffuseError, match="at least 30 images, and there are 29"):
        frechet_infinity(samples(29, 0), reference())
    with pytest.raises(UndiffuseError, match="at least 3 points"):
        frechet_infinity(samples(100, 0), reference(), points=2)
    with pytest.raises(UndiffuseError, match="15 and 16 dimensions"):
        frechet_infinity(samples(100, 0)[:, 1:], reference())
    with pytest.raises(UndiffuseError, match="1 of 100 rows"):
        frechet_infinity(samples(100, 0).index_fill(0, torch.tensor([3]), torch.nan), reference())


def test_the_fewest_samples_still_give_a_line() -> None:
    one = frechet_infinity(samples(6, 0), reference(), points=3)
    assert [n for n, _ in one.points] == [2, 4, 6]
    assert np.isfinite([one.value, slope_of(one), one.error]).all()
