from __future__ import annotations

import math

import pytest
import torch

from undiffuse.data.info import DataInfo
from undiffuse.evaluation.likelihood.units import Units


def info(dtype: str, low: float, high: float) -> DataInfo:
    return DataInfo("some", "0", 1, (1, 2), dtype, low, high, (0.0,), (1.0,))


@pytest.mark.parametrize(("dtype", "bits"), [("uint8", 8), ("uint16", 16)])
def test_even_values_cost_their_bit_depth(dtype, bits):
    """A density of 1/2 over [-1, 1], or rather over all bins of it, is the uniform distribution."""
    units = Units.of(info(dtype, 0, 2**bits - 1))
    width = 2 + units.bin_width  # half a bin sticks out at either end
    assert float(units.of_density(torch.tensor(math.log(width)).double())) == pytest.approx(bits, abs=1e-6)
    assert float(units.of_bound(torch.tensor(bits * math.log(2)))) == pytest.approx(bits)
    assert units.name == "bits/dim"
    assert str(2**bits) in units.meaning


def test_float_data_are_told_in_their_own_units():
    """Uniform over [10, 30]: log 20 nats, wherever model space puts it; in a smaller unit, more."""
    in_model_space = torch.tensor(math.log(2)).double()
    metres, millimetres = Units.of(info("float32", 10, 30)), Units.of(info("float32", 10_000, 30_000))
    for read in ("of_density", "of_bound"):
        assert float(getattr(metres, read)(in_model_space)) == pytest.approx(math.log(20))
        assert float(getattr(millimetres, read)(in_model_space)) == pytest.approx(math.log(20_000))
    assert float(metres.of_difference(in_model_space)) == pytest.approx(math.log(2))
    assert metres.name == "nats/dim"
    assert "not comparable" in metres.meaning
