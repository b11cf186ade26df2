"""Posterior methods against exact posteriors of Gaussian data."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from undiffuse.config.sampling import Solver
from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.guidance import DDNM, DPS, LinearMeasurement, PiGDM, ReplacementInpainting
from undiffuse.diffusion.linear_operators import Blur, Downsample, Mask
from undiffuse.diffusion.samplers import DDIM, DDPM, SAMPLERS
from undiffuse.diffusion.schedules import Schedule, cosine, linear
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, sample, start, trajectory
from undiffuse.errors import UndiffuseError
from undiffuse.factories.sampler import make_sampler

SCHEDULE = linear(1000)
STD, MEAN = 0.6, -0.2
SIDE = 8
KNOWN = torch.tensor([1.0, 0, 0, 1, 1, 0, 1, 0])
OPERATORS = {"mask": Mask(KNOWN), "downsample": Downsample(4), "blur": Blur.gaussian(0.5)}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(t):
    return torch.tensor(float(t), dtype=torch.float64)


@dataclass(frozen=True)
class Correlated:
    """The exact denoiser of N(0, covariance): x0 = alpha C (alpha^2 C + sigma^2)^-1 x_t. One channel, one dimension."""

    schedule: Schedule
    covariance: torch.Tensor

    def __call__(self, x_t, t, **conditions):
        q_t = self.schedule(t)
        C = self.covariance
        gain = q_t.alpha * C @ torch.linalg.inv(q_t.alpha**2 * C + q_t.sigma**2 * torch.eye(len(C)).double())
        x0 = x_t @ gain.to(x_t).T
        return Prediction(x0, (x_t - expand(q_t.alpha, x_t) * x0) / expand(q_t.sigma, x_t))


def matrix(operator):
    return operator.A(torch.eye(SIDE, dtype=torch.float64)[:, None]).flatten(1).T


def conditioned(mean, C, A, y, noise):
    """Mean and covariance of N(mean, C) given y = A x + noise, the formula of any textbook."""
    gain = C @ A.T @ torch.linalg.pinv(A @ C @ A.T + noise**2 * torch.eye(len(A)), atol=1e-9, rtol=0)
    return mean + (y - mean @ A.T) @ gain.T, C - gain @ A @ C


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("method", [DDNM, PiGDM])
def test_ddnm_and_pigdm_are_exact_for_an_isotropic_gaussian(name, noise, method):
    """Conditioned x_t and y, x0 is Gaussian: two measurements of it, one direct, one through A."""
    operator, t = OPERATORS[name], at(400)
    q_t, x_t = SCHEDULE(t), draw(5, 1, SIDE)
    y = operator.A(draw(5, 1, SIDE, seed=1))
    seen = method(gaussian_denoiser(SCHEDULE, (1, SIDE), MEAN, STD), LinearMeasurement(operator, y, noise, STD))(x_t, t)

    eye = torch.eye(SIDE, dtype=torch.float64)
    prior = torch.full((SIDE,), MEAN, dtype=torch.float64), STD**2 * eye
    given_x_t = conditioned(*prior, q_t.alpha * eye, x_t[:, 0], float(q_t.sigma))
    exact, _ = conditioned(*given_x_t, matrix(operator), y.flatten(1), noise)
    torch.testing.assert_close(seen.x0[:, 0], exact, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(q_t.alpha * seen.x0 + q_t.sigma * seen.eps, x_t, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", [DDNM, PiGDM])
def test_samples_have_the_posterior_mean_and_covariance_of_an_isotropic_gaussian(method):
    operator, noise, n = OPERATORS["downsample"], 0.3, 4000
    y = torch.tensor([[[0.5, -0.8]]]).expand(n, 1, 2)
    prior = gaussian_denoiser(SCHEDULE, (1, SIDE), MEAN, STD)
    guided = method(prior, LinearMeasurement(operator, y, noise, STD))
    drawn = sample(guided, DDIM(), make_timesteps(SCHEDULE, 60), (1, SIDE), Noise(0, range(n)))[:, 0].double()
    mean, covariance = conditioned(
        torch.full((SIDE,), MEAN).double(), STD**2 * torch.eye(SIDE).double(), matrix(operator), y[0, 0].double(), noise
    )
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0, atol=0.04)
    torch.testing.assert_close(drawn.T.cov(), covariance, rtol=0, atol=0.04)


def test_without_noise_ddnm_projects():
    for operator in OPERATORS.values():
        y = operator.A(draw(3, 1, SIDE, seed=1))
        seen = DDNM(gaussian_denoiser(SCHEDULE, (1, SIDE)), LinearMeasurement(operator, y))(draw(3, 1, SIDE), at(700))
        torch.testing.assert_close(operator.A(seen.x0), y, rtol=1e-10, atol=1e-10)


def test_under_ddpm_dps_is_algorithm_1_of_chung_et_al():
    C = 0.5 ** (torch.arange(SIDE)[:, None] - torch.arange(SIDE)).abs().double()
    prior, operator, times = Correlated(SCHEDULE, C), OPERATORS["blur"], make_timesteps(SCHEDULE, 10)
    y, x_t = draw(4, 1, SIDE, seed=1), draw(4, 1, SIDE)
    t, s, scale = times[3], times[4], 0.7
    plain, _ = DDPM().step(prior, x_t, t, s, None, Noise(0, range(4)))
    guided, _ = DDPM().step(
        DPS(prior, LinearMeasurement(operator, y), times, scale), x_t, t, s, None, Noise(0, range(4))
    )
    A = matrix(operator)
    q_t = SCHEDULE(t)
    J = q_t.alpha * C @ torch.linalg.inv(q_t.alpha**2 * C + q_t.sigma**2 * torch.eye(SIDE).double())
    gap = y[:, 0] - x_t[:, 0] @ J.T @ A.T
    gradient = -(gap @ A @ J) / gap.norm(dim=1, keepdim=True)
    torch.testing.assert_close(guided[:, 0], plain[:, 0] - scale * gradient, rtol=1e-9, atol=1e-9)


def test_dps_steps_as_far_between_two_points_of_its_grid_as_from_one_to_the_next():
    times = make_timesteps(SCHEDULE, 10)
    dps = DPS(gaussian_denoiser(SCHEDULE), LinearMeasurement(Mask(torch.ones(1)), torch.zeros(1, 1, 1)), times)
    assert dps._next(times[2]) == times[3]
    assert dps._next(times[-2]) == 0
    assert dps._next(times[2] - 30) == times[3] - 30


def test_replacement_is_ddnm_with_a_mask_under_a_deterministic_sampler_that_starts_from_its_noise():
    times = make_timesteps(SCHEDULE, 20)
    C = 0.8 ** (torch.arange(SIDE)[:, None] - torch.arange(SIDE)).abs().double()
    prior, known = Correlated(SCHEDULE, C), draw(4, 1, SIDE, seed=1)
    mask = KNOWN.double()
    eps = draw(4, 1, SIDE)
    q_T = SCHEDULE(times[0])
    x = mask * (q_T.alpha * known + q_T.sigma * eps) + (1 - mask) * eps
    ends = []
    for denoiser in (
        ReplacementInpainting(prior, known, mask, eps),
        DDNM(prior, LinearMeasurement(Mask(mask), mask * known)),
    ):
        *_, end = trajectory(denoiser, DDIM(), times, x, Noise(0, range(4)))
        ends.append(end)
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("schedule", [linear(1000), cosine(1000)], ids=["linear", "cosine"])
def test_under_every_sampler_known_values_come_out_as_they_went_in(name, schedule):
    prior = gaussian_denoiser(schedule, (1, SIDE), MEAN, STD)
    known = draw(2, 1, SIDE, seed=1).float()
    sampler, times = make_sampler(Solver(sampler=name)), make_timesteps(schedule, 8)
    noise = Noise(3, range(2))
    methods: list[Denoiser] = [
        ReplacementInpainting(prior, known, KNOWN, noise.normal((1, SIDE))),
        DDNM(prior, LinearMeasurement(Mask(KNOWN), known * KNOWN)),
    ]
    for denoiser in methods:
        *_, end = trajectory(denoiser, sampler, times, start(denoiser, (1, SIDE), noise), noise)
        assert end.isfinite().all()
        torch.testing.assert_close(end * KNOWN, known * KNOWN, rtol=1e-5, atol=1e-5)


def test_an_observation_without_sense_is_refused():
    for bad in ({"noise": -1.0}, {"data_std": 0.0}):
        with pytest.raises(UndiffuseError, match="noise >= 0 and data_std > 0"):
            LinearMeasurement(Downsample(2), torch.zeros(1, 1, 4), **bad)
