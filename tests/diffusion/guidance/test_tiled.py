from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.diffusion.guidance import Tiled
from undiffuse.diffusion.schedules import Schedule, linear
from undiffuse.errors import UndiffuseError

SCHEDULE = linear(1000)
T = torch.tensor(300.0, dtype=torch.float64)


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@dataclass(frozen=True)
class MeanOfTile:
    """A denoiser that looks at everything it is given: x0 is the mean of x_t."""

    schedule: Schedule

    def __call__(self, x_t, t, **conditions):
        x0 = x_t.mean(dim=(2, 3), keepdim=True).expand_as(x_t)
        return Prediction(x0, x0, x0 if conditions.get("learned") is not None else None)


def test_one_tile_is_the_denoiser_itself():
    x, whole = draw(2, 1, 8, 8), MeanOfTile(SCHEDULE)
    assert torch.equal(Tiled(whole, (8, 8), 4)(x, T).x0, whole(x, T).x0)
    assert torch.equal(Tiled(whole, (9, 20), 4)(x, T).x0, whole(x, T).x0)


@pytest.mark.parametrize("sides", [(8, 20), (17, 9), (31, 31)])
@pytest.mark.parametrize("overlap", [0, 3, 7])
@pytest.mark.parametrize("batch", [1, 5])
def test_tiles_of_a_denoiser_that_looks_at_single_values_change_nothing(sides, overlap, batch):
    x = draw(2, 1, *sides)
    exact = gaussian_denoiser(SCHEDULE, (1, 1, 1))
    times = torch.tensor([300.0, 500.0], dtype=torch.float64)
    for t in (T, times):
        plain, tiled = exact(x, t), Tiled(exact, (8, 8), overlap, batch)(x, t)
        torch.testing.assert_close(tiled.x0, plain.x0, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(tiled.eps, plain.eps, rtol=1e-10, atol=1e-10)


def test_far_from_other_tiles_a_tile_is_alone_and_between_two_it_is_mixed():
    x = torch.cat([torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 4)], 3).double()
    seen = Tiled(MeanOfTile(SCHEDULE), (8, 8), 4)(x, T).x0[0, 0, 0]
    torch.testing.assert_close(seen[:4], torch.zeros(4).double())
    torch.testing.assert_close(seen[8:], torch.full((4,), 0.5).double())
    assert (seen[3:9].diff() > 0).all()


def test_a_learned_variance_and_conditions_go_with_the_tiles():
    x = draw(2, 1, 8, 12)
    seen = Tiled(MeanOfTile(SCHEDULE), (8, 8), 4)(x, T, learned=torch.ones(2))
    assert torch.equal(seen.variance_fraction, seen.x0)


def test_an_overlap_of_a_whole_tile_is_refused():
    with pytest.raises(UndiffuseError, match="overlap by 0 to 7"):
        Tiled(MeanOfTile(SCHEDULE), (8, 16), 8)
