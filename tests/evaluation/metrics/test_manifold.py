"""Precision, recall, density and coverage on points whose balls can be drawn by hand, and in expectation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.manifold import density_coverage, precision_recall


def normal(n: int, dimensions: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


REAL = column(0, 1, 3, 7)
"""With k = 1 their balls are [-1, 1], [0, 2], [1, 5] and [3, 11]."""
FAKE = column(0.5, 1.5, 4, 20)
"""With k = 1 their balls are [-0.5, 1.5], [0.5, 2.5], [1.5, 6.5] and [4, 36]."""


def test_precision_and_recall_by_hand() -> None:
    # Fake 0.5, 1.5 and 4 lie in real balls, 20 does not; real 0, 1, 3 and 7 all lie in fake balls.
    assert precision_recall(REAL, FAKE, k=1) == (0.75, 1.0)
    # The other way round the two change places.
    assert precision_recall(FAKE, REAL, k=1) == (1.0, 0.75)


def test_density_and_coverage_by_hand() -> None:
    # 0.5 is in two real balls, 1.5 in two, 4 in two, 20 in none: 6 of k m = 4; every real ball holds one.
    assert density_coverage(REAL, FAKE, k=1) == (1.5, 1.0)
    # k = 2: balls [-3, 3], [-1, 3], [0, 6], [1, 13]: 3, 4, 2 and 0 of them, over 2 x 4.
    assert density_coverage(REAL, FAKE, k=2) == (9 / 8, 1.0)
    # The single fake image at 10 is in the ball of 7 alone.
    assert density_coverage(REAL, column(10), k=1) == (1.0, 0.25)


def test_a_dropped_mode_costs_recall_and_coverage_only() -> None:
    real = torch.cat([normal(60, 2, seed=1), normal(60, 2, seed=2) + 50])
    fake = normal(120, 2, seed=3)
    precision, recall = precision_recall(real, fake)
    density, coverage = density_coverage(real, fake)
    assert precision > 0.9
    assert density > 0.8
    assert 0.3 < recall <= 0.5
    assert 0.3 < coverage <= 0.5


def test_an_outlier_among_the_real_flatters_precision_but_hardly_density() -> None:
    # Naeem et al. 2020, figure 3 in spirit: fakes around one real outlier, whose ball reaches back to the others.
    real = torch.cat([normal(50, 2, seed=1), column(20, 20).T])
    fake = normal(50, 2, seed=2) + 20
    assert precision_recall(real, fake)[0] == 1.0
    assert density_coverage(real, fake)[0] < 0.3


def test_sets_far_apart_have_nothing() -> None:
    real, fake = normal(20, 3, seed=1), normal(20, 3, seed=2) + 100
    assert precision_recall(real, fake) == (0.0, 0.0)
    assert density_coverage(real, fake) == (0.0, 0.0)


def test_copies_of_the_real_images_have_everything() -> None:
    real = normal(40, 5)
    assert precision_recall(real, real.flip(0)) == (1.0, 1.0)
    density, coverage = density_coverage(real, real.flip(0), k=4)
    assert (density, coverage) == (5 / 4, 1.0)  # each ball holds its centre and its four neighbours


def test_duplicates_within_a_set_are_inside_their_own_point_balls() -> None:
    real = torch.full((6, 3), 0.1, dtype=torch.float64)
    assert precision_recall(real, real[:4] + 0.0) == (1.0, 1.0)
    assert density_coverage(real, real[:1], k=3) == (2.0, 1.0)
    assert density_coverage(real, real + 1e-9, k=3) == (0.0, 0.0)


@pytest.mark.parametrize(("n", "m", "k"), [(40, 40, 5), (60, 20, 3), (25, 70, 1)])
def test_expectations_between_equal_distributions_are_known(n: int, m: int, k: int) -> None:
    """Naeem et al. 2020: E density = 1, and E coverage = 1 - (n-1)...(n-k) / ((n+m-1)...(n+m-k)), free of everything.

    A ball is empty where the k nearest of the n + m - 1 other points are all real, and all orders are equally likely.
    """
    draws = np.array(
        [density_coverage(normal(n, 3, seed=2 * i).exp(), normal(m, 3, seed=2 * i + 1).exp(), k) for i in range(200)]
    )
    missed = math.prod((n - j) / (n + m - j) for j in range(1, k + 1))
    error = draws.std(axis=0) / len(draws) ** 0.5
    assert abs(draws[:, 0].mean() - 1) < 4 * error[0]
    assert abs(draws[:, 1].mean() - (1 - missed)) < 4 * error[1]


@settings(max_examples=30)
@given(st.integers(6, 30), st.integers(6, 30), st.integers(0, 2**32))
def test_they_feel_no_motion_nor_scale_of_space(n: int, m: int, seed: int) -> None:
    real, fake = normal(n, 4, seed=seed), normal(m, 4, seed=seed + 1) + 0.5
    Q = torch.linalg.qr(normal(4, 4, seed=seed + 2))[0]
    for metric in (precision_recall, density_coverage):
        assert metric(3 * real @ Q + 5, 3 * fake @ Q + 5) == metric(real, fake)


def test_bad_input_is_refused() -> None:
    x = normal(10, 3)
    with pytest.raises(UndiffuseError, match="3-th nearest other image is asked for, of 3"):
        precision_recall(x, x[:3])
    with pytest.raises(UndiffuseError, match="5-th nearest other image is asked for, of 5"):
        density_coverage(x[:5], x)
    with pytest.raises(UndiffuseError, match="2 and 3 dimensions"):
        precision_recall(x, x[:, :2])
    with pytest.raises(UndiffuseError, match="1 of 10 rows"):
        density_coverage(x, x.index_fill(0, torch.tensor([0]), torch.nan))
