"""What the samplers draw, against what they should: moments on a Gaussian, a two-sample distance on a mixture."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from undiffuse.config.sampling import Solver
from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, start, trajectory
from undiffuse.factories.sampler import make_sampler

CHAIN = schedules.linear()
COUNT = 1024
MEANS = torch.tensor([[-0.6, -0.4], [0.6, -0.5], [0.1, 0.7]])
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])
STD = 0.15


class BatchNoise(Noise):
    """One stream for the whole batch: quicker than one a sample, and as good here."""

    def __init__(self) -> None:
        self.stream = torch.Generator().manual_seed(0)

    def normal(self, shape: Sequence[int]) -> torch.Tensor:
        return torch.randn(COUNT, *shape, generator=self.stream)


def draw(name: str, denoiser: MixtureDenoiser, steps: int) -> torch.Tensor:
    sampler = make_sampler(Solver(sampler=name, steps=steps, churn=4.0))
    times = make_timesteps(CHAIN, steps, "log-snr")
    noise = BatchNoise()
    return list(trajectory(denoiser, sampler, times, start(denoiser, (2,), noise), noise))[-1]


def energy_distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """2 E|x - y| - E|x - x'| - E|y - y'|, without bias: 0 on average for samples of one distribution."""
    pairs = COUNT * (COUNT - 1)
    return float(2 * torch.cdist(x, y).mean() - (torch.cdist(x, x).sum() + torch.cdist(y, y).sum()) / pairs)


def exact_samples() -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    component = torch.multinomial(WEIGHTS, COUNT, replacement=True, generator=random)
    return MEANS[component] + STD * torch.randn(COUNT, 2, generator=random)


@pytest.mark.parametrize("name", SAMPLERS)
def test_mean_and_covariance_on_a_gaussian(name):
    mean = torch.tensor([0.3, -0.2])
    x = draw(name, MixtureDenoiser(CHAIN, mean[None], 0.5), 5 if name == "ode" else 64)
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=5 * 0.5 / COUNT**0.5)
    # 5 standard errors of a covariance, and up to a tenth of bias: ancestral sampling is of first order.
    torch.testing.assert_close(x.T.cov(), 0.25 * torch.eye(2), rtol=0, atol=0.25 * (5 * (2 / COUNT) ** 0.5 + 0.1))


@pytest.mark.parametrize("name", SAMPLERS)
def test_distance_to_the_truth_falls_with_steps(name):
    denoiser = MixtureDenoiser(CHAIN, MEANS, STD, WEIGHTS)
    few, many = (energy_distance(draw(name, denoiser, steps), exact_samples()) for steps in (3, 32))
    assert many < 0.006  # equal distributions: within 0.0015 of 0
    assert many < few / 10 or few < 0.0015  # the adaptive solver is exact in 3 steps already
