"""Distances to training images are compared by statistics of known law, and a handful of copies is seen."""

import pytest
import torch
from scipy import stats

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.copy_detection import (
    closeness,
    copy_threshold,
    hypergeometric_tail,
    median_ratio,
    nearness,
    rank_z,
)


def lists(n, m, seed, shift=0.0):
    """Two lists of positive distances, the first one moved."""
    dice = torch.Generator().manual_seed(seed)
    draw = lambda count: torch.randn(count, generator=dice, dtype=torch.float64).exp()  # noqa: E731
    return draw(n) + shift, draw(m)


@pytest.mark.parametrize("ties", [False, True])
def test_the_rank_statistic_is_scipys(ties):
    a, b = lists(60, 45, 0, 0.2)
    if ties:
        a, b = a.mul(2).round(), b.mul(2).round()
    p = stats.mannwhitneyu(a.numpy(), b.numpy(), alternative="less", method="asymptotic", use_continuity=False).pvalue
    assert rank_z(a, b) == pytest.approx(stats.norm.ppf(p), abs=1e-9)
    assert rank_z(b, a) == pytest.approx(-rank_z(a, b), abs=1e-12)


def test_like_against_like_the_statistic_is_standard_normal():
    z = torch.tensor([rank_z(*lists(40, 70, seed)) for seed in range(400)])
    assert abs(float(z.mean())) < 0.15  # three standard errors of the mean of 400
    assert float(z.std()) == pytest.approx(1, abs=0.12)


def test_nearer_is_negative_and_further_is_positive():
    near, honest = lists(100, 100, 1)
    assert rank_z(near / 2, honest) < -3
    assert rank_z(near * 2, honest) > 3
    assert rank_z(torch.ones(9), torch.ones(9)) == 0


def test_the_median_ratio_holds_the_true_ratio_in_its_interval():
    inside = 0
    for seed in range(40):
        a, b = lists(80, 80, seed)
        found = median_ratio(3 * a, b, seed)
        assert found.low <= found.value <= found.high
        inside += found.low <= 3 <= found.high
    assert inside >= 34  # 38 expected of 95 % intervals


def test_the_tail_is_scipys():
    for least, n, m, drawn in [(0, 5, 5, 3), (3, 10, 40, 7), (12, 1000, 500, 17), (2, 2, 9, 11)]:
        expected = stats.hypergeom.sf(least - 1, n + m, n, drawn)
        assert hypergeometric_tail(least, n, m, drawn) == pytest.approx(expected, rel=1e-9)


def test_few_near_samples_by_chance_are_expected_and_not_significant():
    counts, expected, small = 0, 0.0, 0
    for seed in range(300):
        found = nearness(*lists(200, 100, seed), share=0.05)
        counts, expected, small = counts + found.count, expected + found.expected, small + (found.p < 0.05)
    assert counts / expected == pytest.approx(1, abs=0.1)
    assert small <= 27  # 15 expected at most


def test_a_handful_of_copies_among_many_is_seen_by_nearness_and_not_by_ranks():
    samples, honest = lists(1000, 1000, 5)
    samples[:30] = 1e-3
    found = nearness(samples, honest)
    assert found.p < 1e-4
    assert found.count >= 30
    assert abs(rank_z(samples, honest)) < 3


def test_closeness_is_the_nearest_over_the_mean():
    distances = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 1.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]]).double()
    assert closeness(distances).tolist() == [0.5, 0, 1, 0]


@pytest.mark.parametrize("dimension", [2, 4, 8])
def test_new_points_are_taken_for_copies_as_rarely_as_promised(dimension):
    accused = 0
    for seed in range(40):
        dice = torch.Generator().manual_seed(seed)
        training, honest, samples = (torch.rand(400, dimension, generator=dice).double() for _ in range(3))
        found, normal = (closeness(torch.cdist(x, training).topk(30, largest=False).values) for x in (samples, honest))
        accused += bool((found < copy_threshold(normal, len(samples))).any())
    assert accused <= 6  # 2 expected, more than 6 in less than one of a hundred


def test_the_threshold_follows_the_power_law_of_the_tail():
    quantiles = (torch.arange(5000).double() + 0.5) / 5000
    power = 0.9 * quantiles ** (1 / 6)  # P(closeness < r) = (r / 0.9)^6
    exact = 0.9 * (0.05 / 100) ** (1 / 6)
    assert 0.9 * exact < copy_threshold(power, 100) < exact
    assert copy_threshold(power, 1) == 0.5  # one sample alone may be as close as that, and is no copy above a half


def test_data_that_repeat_themselves_accuse_nobody():
    assert copy_threshold(torch.cat([torch.zeros(5), torch.rand(95)]), 100) == 0
    repeating = torch.linspace(0.001, 0.8, 100) ** 3
    assert copy_threshold(repeating, 100) < 1e-6


def test_too_few_and_broken_distances_are_one_sentence():
    good = torch.rand(20)
    with pytest.raises(UndiffuseError, match="there are 7 and 20"):
        rank_z(good[:7], good)
    with pytest.raises(UndiffuseError, match="finite"):
        nearness(good, torch.full((20,), float("nan")))
    with pytest.raises(UndiffuseError, match="tells no copy"):
        median_ratio(good, torch.zeros(20))
