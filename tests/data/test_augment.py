from __future__ import annotations

import torch

from undiffuse.data.augment import fair_coins, flipped
from undiffuse.runtime.random_streams import generator


def random_flip(x, generator):
    return flipped(x, fair_coins(len(x), generator))


def test_each_sample_is_itself_or_its_mirror_image() -> None:
    x = torch.randn(200, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    made = random_flip(x, generator(0, "flip", 7))
    same = (made == x).flatten(1).all(1)
    mirrored = (made == x.flip(-1)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 60 < int(mirrored.sum()) < 140  # 5.6 standard deviations of a fair coin


def test_flips_are_a_function_of_the_generator_alone() -> None:
    x = torch.randn(16, 1, 8)
    assert torch.equal(random_flip(x, generator(1, "flip", 3)), random_flip(x, generator(1, "flip", 3)))
    assert not torch.equal(random_flip(x, generator(1, "flip", 3)), random_flip(x, generator(1, "flip", 4)))


def test_the_input_is_not_changed() -> None:
    x = torch.arange(24.0).view(4, 1, 2, 3)
    before = x.clone()
    random_flip(x, generator(0, "flip"))
    assert torch.equal(x, before)
