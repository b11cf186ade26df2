"""The values themselves as features."""

from __future__ import annotations

import pytest
import torch

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.pixels import Pixels


def test_small_images_are_their_own_features() -> None:
    images = torch.rand(5, 3, 28, 28)
    assert torch.equal(Pixels()(images).features, images.flatten(1))


@pytest.mark.parametrize(("small", "times"), [((32, 32), 4), ((1024,), 3), ((10, 10, 10), 2)])
def test_a_large_image_of_equal_blocks_gives_its_blocks(small: tuple[int, ...], times: int) -> None:
    blocks = torch.rand(2, 1, *small)
    large = blocks
    for dimension in range(2, blocks.ndim):
        large = large.repeat_interleave(times, dimension)
    assert torch.allclose(Pixels()(large).features, blocks.flatten(1), atol=1e-6)


def test_only_the_long_side_is_shortened() -> None:
    assert Pixels()(torch.rand(2, 1, 8, 100)).features.shape == (2, 8 * 32)


def test_sides_that_do_not_divide_keep_the_mean_of_a_constant() -> None:
    found = Pixels()(torch.full((1, 3, 50, 45), 0.3)).features
    assert found.shape == (1, 3 * 32 * 32)
    assert torch.allclose(found, torch.tensor(0.3))


def test_there_are_neither_logits_nor_spatial_features() -> None:
    found = Pixels()(torch.rand(1, 1, 4, 4))
    assert found.logits is None
    assert found.spatial is None


def test_the_identity_says_what_happens_to_large_images() -> None:
    identity = Pixels().identity
    assert identity.name == "pixels"
    assert "area-averaged" in identity.resize
    assert len(identity.sha256) == 64
    assert not identity.standard


def test_images_without_a_known_number_of_dimensions_are_refused() -> None:
    with pytest.raises(UndiffuseError, match=r"1, 2 or 3 spatial dimensions, got the shape \(1, 2, 2, 2, 2\)"):
        Pixels()(torch.rand(1, 1, 2, 2, 2, 2))
