"""Moments are the same however the stream was cut, ordered and merged."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics import moments as module
from undiffuse.evaluation.metrics.moments import Moments


def features(n: int, dimensions: int, seed: int = 0, offset: float = 0.0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(n, dimensions, generator=stream, dtype=torch.float64) + offset


def same(a: Moments, b: Moments, relative: float = 1e-12) -> bool:
    scale = float(b.scatter.trace())
    means = (a.mean - b.mean).abs().max() <= relative * (1 + b.mean.abs().max())
    return a.count == b.count and bool(means and (a.scatter - b.scatter).abs().max() <= relative * scale)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.randoms(use_true_random=False), st.integers(0, 2**32))
def test_any_batches_in_any_order_have_the_moments_of_the_whole(sizes, random, seed) -> None:
    x = features(sum(sizes), 5, seed=seed, offset=3.0)
    batches = list(x.split(sizes))
    random.shuffle(batches)
    streamed = reduce(Moments.updated, batches, Moments.empty(5))
    assert same(streamed, Moments.of(x))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 2**32))
def test_merging_takes_brackets_and_order_away(first, second, seed) -> None:
    x = features(80, 4, seed=seed)
    cut, other = sorted((1 + first, 2 + second + 10))
    a, b, c = (Moments.of(part) if len(part) else Moments.empty(4) for part in (x[:cut], x[cut:other], x[other:]))
    assert same((a + b) + c, a + (b + c))
    left, right = a + c, c + a
    assert torch.equal(left.mean, right.mean)
    assert same(left, right)


def test_mean_and_covariance_are_those_of_numpy() -> None:
    x = features(300, 7, offset=2.0)
    moments = Moments.of(x)
    np.testing.assert_allclose(moments.mean, x.numpy().mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.covariance, np.cov(x.numpy(), rowvar=False), rtol=1e-12, atol=1e-13)


def test_rows_of_many_blocks_have_the_moments_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x = features(103, 3)
    whole = Moments.of(x)
    monkeypatch.setattr(module, "BLOCK", 10)
    assert same(Moments.of(x), whole)


def test_a_narrow_cloud_far_from_the_origin_keeps_its_digits() -> None:
    # The sum of squares less the squared mean would have no digit left: 1e16 less 1e16.
    points = torch.tensor([[1e8 - 1.0], [1e8], [1e8 + 1.0]], dtype=torch.float64)
    streamed = Moments.empty(1).updated(points[:1]).updated(points[1:])
    assert streamed.scatter.item() == 2.0
    assert streamed.mean.item() == 1e8


def test_float32_is_promoted_before_anything_is_summed() -> None:
    x = features(500, 3, offset=100.0).float()
    assert Moments.of(x).mean.dtype == torch.float64
    assert same(Moments.of(x), Moments.of(x.double()), relative=0.0)


def test_the_empty_set_changes_nothing() -> None:
    a = Moments.of(features(9, 3))
    for sum_ in (a + Moments.empty(3), Moments.empty(3) + a):
        assert sum_.count == 9
        assert torch.equal(sum_.mean, a.mean)
        assert torch.equal(sum_.scatter, a.scatter)
    assert (Moments.empty(3) + Moments.empty(3)).count == 0


def test_a_covariance_needs_two_vectors() -> None:
    assert Moments.of(features(2, 3)).covariance.shape == (3, 3)
    with pytest.raises(UndiffuseError, match="at least 2 images, and there are 1"):
        _ = Moments.of(features(1, 3)).covariance


def test_nan_and_infinity_are_refused_with_their_number() -> None:
    x = features(9, 3)
    x[2, 1], x[5, 0] = torch.nan, torch.inf
    with pytest.raises(UndiffuseError, match="2 of 9 rows"):
        Moments.of(x)


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(UndiffuseError, match=r"shape \(4, 3, 2\)"):
        Moments.of(torch.zeros(4, 3, 2))
    with pytest.raises(UndiffuseError, match="there are 0"):
        Moments.of(torch.zeros(0, 3))


def test_sets_of_two_spaces_do_not_merge() -> None:
    with pytest.raises(UndiffuseError, match="3 and 4 dimensions"):
        _ = Moments.empty(3) + Moments.empty(4)


def test_a_covariance_that_fits_no_memory_is_refused_before_it_is_made() -> None:
    with pytest.raises(UndiffuseError, match="196,608"):
        Moments.of(torch.zeros(1, 196_608))
