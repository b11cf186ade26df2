from __future__ import annotations

import pytest
import torch
from torch import nn

from undiffuse.diffusion import schedules
from undiffuse.diffusion.denoiser import NetworkDenoiser
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser, gaussian_denoiser
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.parameterization import V
from undiffuse.diffusion.samplers import DDIM, DDPM
from undiffuse.diffusion.schedules import VE
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, sample, start, trajectory
from undiffuse.runtime.random_streams import generator, stream_seed

CHAIN = schedules.linear()
TIMES = make_timesteps(CHAIN, 5, "trailing")


class Convolutions(nn.Module):
    """Enough of a network for a convolution's rounding to depend on the batch."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 24, 3, padding=1), nn.SiLU(), nn.GroupNorm(4, 24), nn.Conv2d(24, 3, 3, padding=1)
            )

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return self.layers(x) * expand(0.5 + time / 1000, x)


@pytest.mark.parametrize("sampler", [DDPM(), DDIM(), DDIM(0.5)], ids=repr)
def test_an_image_is_the_same_bits_however_many_are_made(sampler):
    denoiser = NetworkDenoiser(Convolutions(), CHAIN, V)

    def draw(indices):
        return sample(denoiser, sampler, TIMES, (3, 12, 12), indices, seed=7, micro_batch=4)

    whole = draw(range(11))
    for indices in (range(1), range(5), [10], [9, 2, 5], range(3, 8)):
        assert torch.equal(draw(indices), whole[list(indices)])


def test_seeds_and_samples_differ():
    images = sample(gaussian_denoiser(CHAIN), DDIM(), TIMES, (8,), range(3), seed=0)
    others = sample(gaussian_denoiser(CHAIN), DDIM(), TIMES, (8,), range(3), seed=1)
    assert len({tuple(row.tolist()) for row in torch.cat([images, others])}) == 6


def test_noise_of_a_sample_does_not_depend_on_its_neighbours():
    alone, together = Noise(3, [5]), Noise(3, [4, 5, 6])
    for shape in ((2, 3), (2, 3), (4,)):
        assert torch.equal(alone.normal(shape)[0], together.normal(shape)[1])
    assert alone.like(torch.zeros(1, 2, dtype=torch.float64)).dtype == torch.float64


def test_a_trajectory_yields_after_every_step_and_ends_in_data():
    points = torch.tensor([[0.5, -0.5]])
    noise = Noise(0, range(2))
    denoiser = MixtureDenoiser(CHAIN, points)
    steps = list(trajectory(denoiser, DDIM(), TIMES, start(denoiser, (2,), noise), noise))
    assert len(steps) == 5
    torch.testing.assert_close(steps[-1], points.expand(2, 2), rtol=0, atol=1e-5)


def test_progress_is_reported_per_step_of_every_micro_batch():
    calls = []
    sample(gaussian_denoiser(CHAIN), DDIM(), TIMES, (1,), range(9), micro_batch=4, on_step=lambda: calls.append(1))
    assert len(calls) == 3 * 5


def test_variance_exploding_starts_at_its_own_width():
    x = start(gaussian_denoiser(VE()), (1000,), Noise(0, range(4)))
    assert float(x.std()) == pytest.approx(80, rel=0.05)


def test_streams_are_functions_of_seed_and_path():
    draws = {
        stream_seed(*path) for path in ((0,), (1,), (0, "noise"), (0, "noise", 1), (0, "noise", 2), (0, "time", 1))
    }
    assert len(draws) == 6
    assert stream_seed(5, "noise", 3) == stream_seed(5, "noise", 3)
    a, b = (torch.randn(4, generator=generator(5, "noise", 3)) for _ in range(2))
    assert torch.equal(a, b)
