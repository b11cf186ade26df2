"""The shared coefficients against closed forms, and samplers that are one rule under several names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from undiffuse.config.sampling import Solver
from undiffuse.diffusion import schedules
from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser
from undiffuse.diffusion.samplers import SDEDPMMultistep
from undiffuse.diffusion.samplers.exponential import moment, weights
from undiffuse.diffusion.schedules import Schedule
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, trajectory
from undiffuse.factories.sampler import make_sampler


@pytest.mark.parametrize("a", [-9.0, -1.0, -0.999, -1e-9, 0.0, 1e-3, 1.0, 1.001, 12.0])
@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_moment_is_the_integral(a, k):
    nodes, w = torch.tensor(_gauss_legendre(40), dtype=torch.float64).T
    integral = float((w * torch.exp(a * (1 - nodes)) * nodes**k).sum())
    assert moment(a, k) == pytest.approx(integral, rel=1e-11)


def _gauss_legendre(n: int) -> list[tuple[float, float]]:
    """Nodes and weights on [0, 1] (Golub & Welsch 1969)."""
    k = torch.arange(1, n, dtype=torch.float64)
    off = k / (4 * k**2 - 1).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return list(zip(((values + 1) / 2).tolist(), (vectors[0] ** 2).tolist(), strict=True))


@pytest.mark.parametrize(
    ("coefficients", "denominator"),
    [((3, -1), 2), ((23, -16, 5), 12), ((55, -59, 37, -9), 24)],
)
def test_equal_steps_give_adams_bashforth(coefficients, denominator):
    w = weights(1.0, 0.0, [-float(j) for j in range(1, len(coefficients))])
    assert [1 - sum(w), *w] == pytest.approx([c / denominator for c in coefficients], rel=1e-12)


def test_weights_integrate_polynomials_exactly():
    """int_0^1 e^{a (1 - u)} (p(u) - p(0)) du for p = u + 2 u^2 - u^3 through uneven nodes."""
    nodes, a, gain = [-0.7, 1.0, -1.9], -1.3, 0.8
    found = sum(w * (u + 2 * u**2 - u**3) for w, u in zip(weights(gain, a, nodes), nodes, strict=True))
    e = math.exp(a)
    m_1 = (e - 1 - a) / a**2
    m_2 = (2 * e - 2 - 2 * a - a**2) / a**3
    m_3 = (6 * e - 6 - 6 * a - 3 * a**2 - a**3) / a**4
    assert found == pytest.approx(gain * (m_1 + 2 * m_2 - m_3), rel=1e-12)


@pytest.mark.parametrize(
    ("names", "settings"),
    [
        (("ddim", "euler", "dpm1"), {}),
        (("ddpm", "euler-ancestral", "dpm++sde"), {}),
        (("heun", "edm"), {"churn": 0.0}),
    ],
)
@pytest.mark.parametrize("schedule", [schedules.linear(), schedules.zero_terminal_snr(schedules.linear())])
def test_one_rule_under_several_names(names, settings, schedule):
    points = torch.tensor([[0.8, -0.2], [-0.5, 0.5], [0.1, -0.9]], dtype=torch.float64)
    data, times = MixtureDenoiser(schedule, points, 0.1), make_timesteps(schedule, 9, "trailing")
    x = torch.tensor([[0.3, -1.1]], dtype=torch.float64)
    paths = []
    for name in names:
        sampler = make_sampler(Solver(sampler=name, **settings))
        paths.append(torch.stack(list(trajectory(data, sampler, times, x, Noise(0, range(1))))))
    for path in paths[1:]:
        torch.testing.assert_close(path, paths[0], rtol=1e-9, atol=1e-9)


@dataclass(frozen=True)
class Along:
    """x0 = f(lambda) of the noise level alone, whatever x_t is."""

    schedule: Schedule
    path: Callable[[float], float]

    def __call__(self, x_t: torch.Tensor, t: torch.Tensor, **conditions: torch.Tensor) -> Prediction:
        q_t = self.schedule(t)
        x0 = torch.full_like(x_t, self.path(float(q_t.log_snr) / 2))
        return Prediction(x0, (x_t - q_t.alpha * x0) / q_t.sigma)


class Silence(Noise):
    """The mean of what a stochastic sampler draws."""

    def like(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


def test_the_second_step_of_three_points_follows_a_line_exactly_as_in_k_diffusion():
    """x_s = sigma_s / sigma_t e^-h x_t + 2 alpha_s int e^{-2 (lambda_s - l)} f(l) dl, and f(l) = b + c l has it closed:

    alpha_s (f(lambda_s) - c / 2 - e^{-2h} (f(lambda_t) - c / 2)).  The first step holds f(lambda_t), and so is off.
    """
    chain, b, c = schedules.linear(), 0.3, -0.7
    denoiser = Along(chain, lambda place: b + c * place)
    times = torch.tensor([900.0, 600, 350, 120], dtype=torch.float64)
    x = torch.tensor([[0.4]], dtype=torch.float64)
    for points, exact in ((3, [False, True]), (2, [False, False])):
        walk = [x, *trajectory(denoiser, SDEDPMMultistep(points), times, x, Silence(0, range(1)))]
        found = []
        for k in range(2):
            q_t, q_s = chain(times[k]), chain(times[k + 1])
            at_t, at_s = float(q_t.log_snr) / 2, float(q_s.log_snr) / 2
            fade = math.exp(-2 * (at_s - at_t))
            line = (b + c * at_s - c / 2) - fade * (b + c * at_t - c / 2)
            mean = q_s.sigma / q_t.sigma * math.exp(at_t - at_s) * walk[k] + q_s.alpha * line
            found.append(torch.allclose(walk[k + 1], mean, rtol=1e-12, atol=1e-12))
        assert found == exact
