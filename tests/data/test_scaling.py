from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from undiffuse.data.info import DataInfo
from undiffuse.data.scaling import Scaling
from undiffuse.errors import UndiffuseError

INFO = DataInfo("x", "", 1, (1, 256, 256), "uint8", 0.0, 255.0, (0.0,), (1.0,))
DEEP = replace(INFO, dtype="uint16", high=65535.0)
FLOAT = replace(INFO, dtype="float32", low=-3.5, high=1021.25)


@pytest.mark.parametrize("info", [INFO, DEEP], ids=["uint8", "uint16"])
def test_every_integer_comes_back(info: DataInfo) -> None:
    values = np.arange(int(info.high) + 1).astype(info.dtype)
    assert np.array_equal(Scaling.of(info).decode(Scaling.of(info).encode(values)), values)


@pytest.mark.parametrize("info", [INFO, DEEP, FLOAT], ids=["uint8", "uint16", "float32"])
def test_ends_of_the_range_are_minus_one_and_one_exactly(info: DataInfo) -> None:
    x = Scaling.of(info).encode(np.array([info.low, info.high]).astype(info.dtype))
    assert x.dtype == torch.float32
    assert x.tolist() == [-1.0, 1.0]


def test_encode_agrees_with_the_formula_in_float64() -> None:
    values = np.arange(65536).astype(np.uint16)
    exact = values.astype(np.float64) / 65535 * 2 - 1
    assert np.abs(Scaling.of(DEEP).encode(values).double().numpy() - exact).max() < 2e-7


def test_float_data_come_back_to_rounding() -> None:
    values = np.random.default_rng(0).uniform(FLOAT.low, FLOAT.high, 10_000).astype(np.float32)
    back = Scaling.of(FLOAT).decode(Scaling.of(FLOAT).encode(values))
    assert back.dtype == np.float32
    assert np.abs(back - values).max() <= (FLOAT.high - FLOAT.low) * 2**-24


def test_decode_clips() -> None:
    assert Scaling.of(INFO).decode(torch.tensor([-7.0, 7.0, float("inf"), -float("inf")])).tolist() == [0, 255, 255, 0]


def test_decode_rounds_half_to_even() -> None:
    info = replace(INFO, low=0.0, high=64.0)  # so that halves are exact in model space
    halves = torch.tensor([0.5, 1.5, 2.5, 3.5]) / 32 - 1
    assert Scaling.of(info).decode(halves).tolist() == [0, 2, 2, 4]


def test_decode_takes_low_precision() -> None:
    assert Scaling.of(INFO).decode(torch.tensor([1.0, -1.0], dtype=torch.bfloat16)).tolist() == [255, 0]


def test_encode_leaves_its_input_alone_and_keeps_the_shape() -> None:
    values = np.full((2, 3, 4, 5), 7, np.uint8)
    assert Scaling.of(INFO).encode(values).shape == (2, 3, 4, 5)
    assert (values == 7).all()


def test_decode_refuses_nan() -> None:
    with pytest.raises(UndiffuseError, match="NaN"):
        Scaling.of(INFO).decode(torch.tensor([0.0, float("nan")]))
