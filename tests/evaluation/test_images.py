from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.images import check_fit, choose


def info(shape: tuple[int, ...] = (1, 4, 4), dtype: str = "uint8", high: float = 255.0) -> DataInfo:
    return DataInfo("some", "0", 30, shape, dtype, 0.0, high, (0.0,), (1.0,))


def dataset(kind: DataInfo) -> Dataset:
    images = np.arange(30, dtype=kind.dtype)[:, None, None, None] * np.ones(kind.shape, kind.dtype)
    return Dataset(kind, images, None, (), (), Path("."))


def test_batches_are_in_model_space_with_their_numbers():
    chosen = choose(dataset(info()), info())
    batches = list(chosen.batches(8))
    assert [len(batch.indices) for batch in batches] == [8, 8, 8, 6]
    x0 = batches[1].x0
    assert batches[1].indices == list(range(8, 16))
    assert torch.allclose(x0[3], torch.full((1, 4, 4), 11 / 127.5 - 1))


@pytest.mark.filterwarnings("ignore:some has values")
def test_floats_are_scaled_by_the_models_range_not_their_own():
    kind = info(dtype="float32", high=29.0)
    (batch,) = choose(dataset(kind), info(dtype="float32", high=58.0)).batches(30)
    assert float(batch.x0[29].mean()) == 0


def test_a_limit_draws_at_random_and_each_time_the_same():
    chosen = choose(dataset(info()), info(), 10, seed=1)
    assert len(set(chosen.indices)) == 10
    assert chosen.indices == tuple(sorted(chosen.indices)) != tuple(range(10))
    assert chosen.indices == choose(dataset(info()), info(), 10, seed=1).indices
    assert choose(dataset(info()), info(), 10, seed=2).indices != chosen.indices
    assert len(choose(dataset(info()), info(), 100)) == 30
    assert chosen.take([2, 0]).indices == (chosen.indices[2], chosen.indices[0])


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (info((3, 4, 4)), "`channels=grey`"),
        (info((1, 8, 8)), "`size=4 4`"),
        (info(dtype="uint16"), "uint8 data of the shape"),
        (info((1, 9)), "has uint8 data of the shape"),
    ],
)
def test_data_of_another_kind_are_refused_in_one_sentence(data, hint):
    with pytest.raises(UndiffuseError, match=hint) as caught:
        check_fit(data, info())
    assert "\n" not in str(caught.value)
