"""The time embedding, against numbers worked out by hand."""

import math

import pytest
import torch

from undiffuse.errors import UndiffuseError
from undiffuse.networks.embedding import TimeEmbedding, sinusoids


def test_ho_is_sines_then_cosines_down_to_one_ten_thousandth():
    # Width 6: frequencies 1, 10000^(-1/2), 10000^(-1) = 1, 0.01, 0.0001.
    angles = [100.0, 1.0, 0.01]
    expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    torch.testing.assert_close(sinusoids(torch.tensor([100.0]), 6, "ho"), torch.tensor([expected]), rtol=0, atol=1e-5)


def test_adm_is_cosines_then_sines_and_stops_short_of_one_ten_thousandth():
    # Width 8: frequencies 10000^(-k/4) = 1, 0.1, 0.01, 0.001.
    angles = [100.0, 10.0, 1.0, 0.1]
    expected = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
    torch.testing.assert_close(sinusoids(torch.tensor([100.0]), 8, "adm"), torch.tensor([expected]), rtol=0, atol=1e-5)


def test_known_decimals():
    # sin 1, sin 1e-4, cos 1, cos 1e-4; then cos 1, cos 0.01, sin 1, sin 0.01: from a table.
    one = torch.ones(1)
    ho = [[0.8414709848, 0.0000999999998, 0.5403023059, 0.999999995]]
    adm = [[0.5403023059, 0.9999500004, 0.8414709848, 0.0099998333]]
    torch.testing.assert_close(sinusoids(one, 4, "ho"), torch.tensor(ho), rtol=1e-6, atol=0)
    torch.testing.assert_close(sinusoids(one, 4, "adm"), torch.tensor(adm), rtol=1e-6, atol=0)


@pytest.mark.parametrize("family", ["ho", "adm"])
def test_float32_even_where_the_network_is_bfloat16(family):
    time = torch.arange(990.0, 1000.0)
    with torch.autocast("cpu", torch.bfloat16):
        embedded = sinusoids(time, 128, family)
    assert embedded.dtype == torch.float32
    assert embedded.unique(dim=0).shape[0] == 10
    assert TimeEmbedding(8, 32, family).to(torch.bfloat16)(time).dtype == torch.bfloat16


@pytest.mark.parametrize("width", [7, 2, 0])
def test_widths_that_sines_and_cosines_cannot_share_are_refused(width):
    with pytest.raises(UndiffuseError, match="even and at least 4"):
        TimeEmbedding(width, 16, "ho")
