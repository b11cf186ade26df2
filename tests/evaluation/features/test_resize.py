from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from undiffuse.evaluation.features.inception_fid import resize_half_pixel, resize_tensorflow

RAMP = torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]])


def test_tensorflow_reads_at_i_times_m_over_n() -> None:
    # positions 0, 1/2, 1 and 3/2, where the last pixel repeats: by hand
    row = torch.tensor([0.0, 2.0, 4.0, 4.0])
    expected = torch.stack([row, row + 4, row + 8, row + 8])
    assert torch.equal(resize_tensorflow(RAMP, 4, 4)[0, 0], expected)


def test_half_pixel_reads_between_centres() -> None:
    # positions -1/4 (clipped to 0), 1/4, 3/4 and 5/4 (clipped to 1): by hand
    row = torch.tensor([0.0, 1.0, 3.0, 4.0])
    expected = torch.stack([row, row + 2, row + 6, row + 8])
    assert torch.equal(resize_half_pixel(RAMP, 4, 4)[0, 0], expected)


def test_neither_rule_averages_what_it_skips() -> None:
    pixels = torch.tensor([0.0, 100.0, 2.0, 100.0, 4.0, 100.0, 6.0, 100.0]).expand(1, 1, 1, 8)
    assert resize_tensorflow(pixels, 1, 4).flatten().tolist() == [0.0, 2.0, 4.0, 6.0]
    spikes = torch.tensor([9.0, 1.0, 1.0, 9.0] * 2).expand(1, 1, 1, 8)
    assert resize_half_pixel(spikes, 1, 2).flatten().tolist() == [1.0, 1.0]


def test_an_image_of_the_wanted_size_is_unchanged() -> None:
    image = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(0)) * 255
    assert torch.equal(resize_tensorflow(image, 299, 299), image)


def test_height_and_width_are_not_confused() -> None:
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert resize_tensorflow(image, 2, 6)[0, 0].tolist() == [[0, 0.5, 1, 1.5, 2, 2], [3, 3.5, 4, 4.5, 5, 5]]
    assert resize_tensorflow(image, 4, 3)[0, 0].tolist() == [[0, 1, 2], [1.5, 2.5, 3.5], [3, 4, 5], [3, 4, 5]]


@given(st.integers(1, 700), st.integers(1, 400))
def test_tensorflow_of_a_straight_line_is_its_own_positions(size: int, new_size: int) -> None:
    # x[j] = j is linear, so that interpolation returns u = i m / n itself, up to the last pixel
    line = torch.arange(size, dtype=torch.float64)
    positions = (torch.arange(new_size, dtype=torch.float64) * size / new_size).clamp(max=size - 1)
    for image, height, width in (
        (line.reshape(1, 1, 1, -1), 1, new_size),
        (line.reshape(1, 1, -1, 1), new_size, 1),
    ):
        assert torch.allclose(resize_tensorflow(image, height, width).flatten(), positions, rtol=2e-7, atol=0), (
            "positions are exact to the rounding of float32"
        )
