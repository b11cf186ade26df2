"""Neighbours against a loop over all pairs; duplicates, blocks and borders exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics import nearest_neighbors
from undiffuse.evaluation.metrics.nearest_neighbors import balls_around, nearest, neighbor_radius


def normal(n: int, dimensions: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def all_distances(x: Tensor, y: Tensor) -> np.ndarray:
    return np.linalg.norm(x.numpy()[:, None] - y.numpy()[None], axis=-1)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 6), st.integers(0, 2**32))
def test_they_are_those_of_all_pairs(n: int, m: int, dimensions: int, seed: int) -> None:
    x, y = normal(n, dimensions, seed), normal(m, dimensions, seed + 1)
    k = 1 + seed % m
    distances, indices = nearest(x, y, k)
    expected = all_distances(x, y)
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :k], rtol=1e-13)
    np.testing.assert_array_equal(indices, expected.argsort(axis=1)[:, :k])


def test_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(30, 5, seed=1), normal(20, 5, seed=2)
    distances, indices = nearest(x, y, 3)
    counts = balls_around(x, y, neighbor_radius(y, 3))
    for budget in (1, 100, 300):
        monkeypatch.setattr(nearest_neighbors, "BUDGET", budget)
        found = nearest(x, y, 3)
        assert torch.equal(found[1], indices)
        torch.testing.assert_close(found[0], distances, rtol=1e-13, atol=0)
        assert torch.equal(balls_around(x, y, neighbor_radius(y, 3)), counts)


def test_duplicates_are_at_distance_zero_exactly() -> None:
    # Far from the origin and in many dimensions the matrix product alone leaves distances of about 1e-5.
    y = normal(300, 200) + 1e3
    x = y[torch.randperm(300, generator=torch.Generator().manual_seed(1))]
    product = (x.square().sum(1) + y.square().sum(1)[:, None] - 2 * y @ x.T).abs().min(dim=1).values.sqrt()
    assert product.max() > 1e-6
    distances, indices = nearest(x, y, 1)
    assert (distances == 0).all()
    assert torch.equal(y[indices[:, 0]], x)


def test_near_duplicates_keep_all_digits() -> None:
    y = normal(50, 30) + 100
    shift = torch.zeros(30, dtype=torch.float64)
    shift[4] = 2.0**-30  # exact at this size
    distances, indices = nearest(y + shift, y, 1)
    assert torch.equal(indices[:, 0], torch.arange(50))
    np.testing.assert_allclose(distances[:, 0], ((y + shift) - y).norm(dim=1), rtol=1e-15)


def test_neighbours_that_rounding_of_the_product_confuses_are_told_apart() -> None:
    # Two clusters 2000 apart, each of points about 1e-6 apart: the product's distances are wrong by more than that.
    close = 1e-6 * normal(6, 50, seed=4)
    y = torch.cat([close + 1e3, close - 1e3])
    distances, indices = nearest(y, y, 3)
    expected = all_distances(y, y)
    np.testing.assert_array_equal(indices, expected.argsort(axis=1)[:, :3])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :3], rtol=1e-13)


def test_the_lower_index_comes_first_among_equals() -> None:
    y = torch.tensor([[5.0], [1.0], [-1.0], [1.0], [-1.0]])
    distances, indices = nearest(torch.zeros(1, 1), y, 4)
    assert distances.tolist() == [[1, 1, 1, 1]]
    assert indices.tolist() == [[1, 2, 3, 4]]


def test_more_duplicates_than_candidates_are_all_at_zero() -> None:
    x = torch.cat([torch.full((40, 3), 0.3), torch.ones(5, 3)])
    distances, indices = nearest(x, x, 30)
    assert (distances[:40] == 0).all()
    assert (indices[:40] < 40).all()
    assert neighbor_radius(x, 30)[:40].tolist() == [0.0] * 40


def test_a_radius_leaves_the_point_itself_out() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert neighbor_radius(x, 1).tolist() == [1, 1, 2, 4]
    assert neighbor_radius(x, 3).tolist() == [7, 6, 4, 7]


def test_a_duplicate_is_a_neighbour_at_zero() -> None:
    x = torch.tensor([[0.1], [0.1], [3.0]])
    assert neighbor_radius(x, 1)[:2].tolist() == [0.0, 0.0]
    assert neighbor_radius(x, 2)[0] == pytest.approx(2.9)


def test_the_border_belongs_to_the_ball() -> None:
    centers = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.1, 0.7]])
    points = torch.tensor([[3.0, 4.0], [3.0, 4.0000005], [0.1, 0.7]])
    assert balls_around(points, centers, torch.tensor([5.0, 0.0, 0.0], dtype=torch.float64)).tolist() == [2, 0, 2]


def test_every_point_is_in_the_ball_that_reaches_to_it() -> None:
    # Each ball's radius is the distance to one point: rounding must not leave that point outside.
    x = normal(80, 64, seed=3) + 30
    distances, indices = nearest(x, x, 4)
    for i in range(0, 80, 7):
        border = x[indices[i, 3:]]
        assert balls_around(border, x[i : i + 1], distances[i, 3:]).item() == 1
    assert balls_around(x, x, neighbor_radius(x, 3)).sum() == 80 * 4  # itself and three others in every ball


def test_bad_input_is_refused() -> None:
    x = normal(5, 3)
    with pytest.raises(UndiffuseError, match="6 nearest neighbours were asked for, of 5"):
        nearest(x, x, 6)
    with pytest.raises(UndiffuseError, match="ask for 1 to 5"):
        nearest(x, x, 0)
    with pytest.raises(UndiffuseError, match="5-th nearest other image"):
        neighbor_radius(x, 5)
    with pytest.raises(UndiffuseError, match="3 and 2 dimensions"):
        nearest(x, x[:, :2], 1)
    with pytest.raises(UndiffuseError, match="5 of 5 rows"):
        nearest(x, x * torch.nan, 1)
    with pytest.raises(UndiffuseError, match="there are 0"):
        nearest(x[:0], x, 1)
