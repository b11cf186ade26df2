from __future__ import annotations

import numpy as np
import pytest

from undiffuse.data.order import batch_indices
from undiffuse.errors import UndiffuseError


@pytest.mark.parametrize(("count", "batch"), [(10, 3), (7, 7), (5, 12), (1, 4), (64, 1)])
def test_every_epoch_is_a_permutation_across_batch_borders(count: int, batch: int) -> None:
    steps = -(-3 * count // batch)
    stream = np.concatenate([batch_indices(count, batch, step, seed=3) for step in range(steps)])
    for epoch in range(3):
        assert sorted(stream[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))


def test_batches_are_full_int64_and_do_not_depend_on_what_was_asked_before() -> None:
    forward = [batch_indices(50, 8, step, seed=1).tolist() for step in range(20)]
    backward = [batch_indices(50, 8, step, seed=1).tolist() for step in reversed(range(20))][::-1]
    assert forward == backward
    assert batch_indices(50, 8, 0, seed=1).dtype == np.int64
    assert {len(batch) for batch in forward} == {8}


def test_the_order_does_not_depend_on_the_batch_size() -> None:
    small = np.concatenate([batch_indices(30, 2, step, seed=0) for step in range(30)])
    large = np.concatenate([batch_indices(30, 15, step, seed=0) for step in range(4)])
    assert np.array_equal(small, large)


def test_epochs_and_seeds_differ() -> None:
    first, second = batch_indices(100, 100, 0, seed=0), batch_indices(100, 100, 1, seed=0)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, batch_indices(100, 100, 0, seed=1))


def test_a_batch_may_be_written_to_without_changing_the_next_call() -> None:
    batch = batch_indices(20, 5, 0, seed=0)
    before = batch.copy()
    batch[:] = 0
    assert np.array_equal(batch_indices(20, 5, 0, seed=0), before)


def test_position_in_the_epoch_is_uniform() -> None:
    first = np.array([batch_indices(4, 4, step, seed=9)[0] for step in range(4000)])
    counts = np.bincount(first, minlength=4)
    assert abs(counts - 1000).max() < 4.5 * np.sqrt(4000 * 0.25 * 0.75)


@pytest.mark.parametrize(("count", "batch", "step"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_impossible_batches_are_refused(count: int, batch: int, step: int) -> None:
    with pytest.raises(UndiffuseError, match="expected count"):
        batch_indices(count, batch, step, seed=0)
