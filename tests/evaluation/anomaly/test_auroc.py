from __future__ import annotations

import numpy as np
import pytest

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.anomaly.auroc import auroc, midranks


def count_pairs(normal: np.ndarray, anomalous: np.ndarray) -> float:
    gap = anomalous[:, None] - normal[None]
    return float(((gap > 0) + 0.5 * (gap == 0)).mean())


def test_it_is_the_share_of_pairs_in_order():
    dice = np.random.default_rng(0)
    for _ in range(20):
        normal, anomalous = dice.integers(0, 9, 37).astype(float), dice.integers(2, 12, 23).astype(float)  # many ties
        assert auroc(normal, anomalous).value == pytest.approx(count_pairs(normal, anomalous), abs=1e-12)


def test_the_interval_is_delongs():
    """Its definition with all pairs (DeLong et al. 1988, eq. 4-6)."""
    dice = np.random.default_rng(1)
    normal, anomalous = dice.normal(size=41), dice.normal(1, 2, size=29).round(1)
    gap = anomalous[:, None] - normal[None]
    beats = (gap > 0) + 0.5 * (gap == 0)
    spread = 1.959964 * np.sqrt(beats.mean(1).var(ddof=1) / 29 + beats.mean(0).var(ddof=1) / 41)
    found = auroc(normal, anomalous)
    assert found.high - found.value == pytest.approx(spread, rel=1e-6)
    assert found.value - found.low == pytest.approx(spread, rel=1e-6)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Exponentials of rates 1 and 1/3: P(anomalous > normal) = 3/4 in closed form."""
    dice = np.random.default_rng(2)
    found = [auroc(dice.exponential(1, 60), dice.exponential(3, 60)) for _ in range(400)]
    assert np.mean([one.value for one in found]) == pytest.approx(0.75, abs=0.01)
    assert 0.92 <= np.mean([one.low <= 0.75 <= one.high for one in found]) <= 0.98


def test_perfect_order_leaves_the_doubt_that_its_count_allows():
    perfect = auroc(np.arange(50.0), np.arange(100.0, 120.0))
    assert perfect.value == 1
    assert perfect.low == pytest.approx(0.025 ** (1 / 20))
    assert perfect.high == 1
    reversed_ = auroc(np.arange(100.0, 120.0), np.arange(50.0))
    assert (reversed_.value, reversed_.low) == (0, 0)
    assert auroc(np.ones(5), np.ones(5)).value == 0.5


def test_scores_turned_around_give_the_rest():
    dice = np.random.default_rng(3)
    normal, anomalous = dice.normal(size=30), dice.normal(0.5, size=40)
    one, other = auroc(normal, anomalous), auroc(-normal, -anomalous)
    assert one.value + other.value == pytest.approx(1)
    assert one.low == pytest.approx(1 - other.high)


def test_midranks():
    assert midranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1, 3.5, 2]


@pytest.mark.parametrize("anomalous", [np.zeros(1), np.array([0.0, np.nan])])
def test_too_few_scores_or_nan_are_refused(anomalous):
    with pytest.raises(UndiffuseError, match="at least two"):
        auroc(np.zeros(5), anomalous)
