"""Padding and patches."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from undiffuse.networks.shapes import depth_to_space, pad, space_to_depth


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_in_two_dimensions_patches_are_pixel_unshuffle(patch):
    x = torch.randn(2, 3, 6, 12)
    assert torch.equal(space_to_depth(x, patch), F.pixel_unshuffle(x, patch))


def test_in_one_dimension_channels_are_the_offsets():
    x = torch.arange(6.0).reshape(1, 1, 6)
    assert space_to_depth(x, 2).tolist() == [[[0, 2, 4], [1, 3, 5]]]


@pytest.mark.parametrize("patch", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(6,), (6, 12), (6, 12, 6)])
def test_unfolding_undoes_folding(sizes, patch):
    x = torch.randn(2, 3, *sizes)
    folded = space_to_depth(x, patch)
    assert folded.shape == (2, 3 * patch ** len(sizes), *(size // patch for size in sizes))
    assert torch.equal(depth_to_space(folded, patch), x)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 8))
def test_padding_reaches_the_next_multiple_and_is_undone_by_the_crop(sizes, multiple):
    x = torch.ones(1, 2, *sizes)
    padded, crop = pad(x, multiple)
    assert all(n % multiple == 0 and n - size < multiple for n, size in zip(padded.shape[2:], sizes, strict=True))
    assert torch.equal(padded[crop], x)
    assert padded.count_nonzero() == x.numel()  # nothing but zeros was added


def test_padding_is_even_on_both_sides():
    padded, _ = pad(torch.ones(1, 1, 5), 8)
    assert padded.tolist() == [[[0, 1, 1, 1, 1, 1, 0, 0]]]


def test_a_size_that_fits_is_not_copied():
    x = torch.randn(1, 1, 8, 4)
    assert pad(x, 4)[0] is x
