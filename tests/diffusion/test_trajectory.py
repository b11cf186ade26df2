from __future__ import annotations

import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser, gaussian_denoiser
from undiffuse.diffusion.samplers import DDIM
from undiffuse.diffusion.schedules import VE
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, sample, start, trajectory
from undiffuse.runtime.random_streams import generator, stream_seed

CHAIN = schedules.linear()
TIMES = make_timesteps(CHAIN, 5, "trailing")


def test_seeds_and_samples_differ():
    images = sample(gaussian_denoiser(CHAIN), DDIM(), TIMES, (8,), Noise(0, range(3)))
    others = sample(gaussian_denoiser(CHAIN), DDIM(), TIMES, (8,), Noise(1, range(3)))
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
