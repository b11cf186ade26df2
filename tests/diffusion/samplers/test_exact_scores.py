"""Samplers against exact scores: data N(0, 0.25) per element, for which the output's variance follows in closed form.

A linear sampler on Gaussian data maps variance to variance, so the numbers of the whole walk can be had without
sampling: a step is measured on two probes (signal and noise) and the variance carried along in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser, gaussian_denoiser
from undiffuse.diffusion.guidance import Clip
from undiffuse.diffusion.samplers import DDIM, DDPM
from undiffuse.diffusion.schedules import VP
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, sample
from undiffuse.errors import UndiffuseError

CHAIN = schedules.linear()


class Probe(Noise):
    """Noise that is all ones or all zeros, to read a linear step's coefficients off its output."""

    def __init__(self, value: float) -> None:
        self.value = value

    def like(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, self.value)


def output_variance(sampler, times, denoiser) -> float:
    variance = 1.0
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for t, s in pairwise(times):
        signal, _ = sampler.step(denoiser, one, t, s, sampler.init(), Probe(0.0))
        noise, _ = sampler.step(denoiser, zero, t, s, sampler.init(), Probe(1.0))
        variance = float(signal) ** 2 * variance + float(noise) ** 2
    return variance


@pytest.mark.parametrize(
    ("sampler", "steps", "spacing", "variance"),
    [
        (DDPM("small"), 1000, "leading", 0.246125),
        (DDPM("large"), 1000, "leading", 0.250752),
        (DDIM(), 1000, "leading", 0.248498),
        (DDIM(), 100, "leading", 0.236177),
        (DDIM(), 50, "leading", 0.223199),
        (DDIM(), 20, "leading", 0.188126),
        (DDIM(), 10, "leading", 0.139972),
        (DDIM(), 5, "leading", 0.072540),
        (DDIM(), 50, "trailing", 0.222220),
        (DDIM(), 10, "trailing", 0.136867),
        (DDIM(1.0), 50, "leading", 0.197245),
    ],
)
def test_output_variance_on_gaussian_data(sampler, steps, spacing, variance):
    times = make_timesteps(CHAIN, steps, spacing)
    assert output_variance(sampler, times, gaussian_denoiser(CHAIN)) == pytest.approx(variance, abs=6e-7)


@pytest.mark.parametrize("steps", [1000, 50, 7])
def test_ddim_eta_one_is_ddpm(steps):
    times = make_timesteps(CHAIN, steps, "leading")
    ddim, ddpm = (output_variance(s, times, gaussian_denoiser(CHAIN)) for s in (DDIM(1.0), DDPM("small")))
    assert ddim == pytest.approx(ddpm, rel=1e-12)


@pytest.mark.parametrize("steps", [20, 100])
def test_ddim_eta_one_is_ddpm_with_clipped_x0_too(steps):
    """Only because eps is re-derived after x0 was clipped."""
    denoiser = Clip(MixtureDenoiser(CHAIN, torch.tensor([[[1.7]], [[-0.4]]])))  # predictions beyond 1 are clipped
    times = make_timesteps(CHAIN, steps, "trailing")
    images = [sample(denoiser, s, times, (1, 1), Noise(3, range(64))) for s in (DDIM(1.0), DDPM("small"))]
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=2e-5)
    assert float(images[0].max()) > 0.9


@dataclass(frozen=True)
class WithFraction:
    """A denoiser that claims to have learned its variance."""

    denoiser: MixtureDenoiser
    fraction: float

    @property
    def schedule(self):
        return self.denoiser.schedule

    def __call__(self, x_t, t, **conditions):
        return replace(self.denoiser(x_t, t), variance_fraction=torch.full_like(x_t, self.fraction))


def test_learned_variance_interpolates_between_small_and_large():
    times = make_timesteps(CHAIN, 50, "trailing")
    exact = gaussian_denoiser(CHAIN)
    found = [output_variance(DDPM("learned"), times, WithFraction(exact, f)) for f in (0.0, 0.5, 1.0)]
    small, large = (output_variance(DDPM(v), times, exact) for v in ("small", "large"))
    assert found[0] == pytest.approx(small, rel=1e-6)
    assert found[2] == pytest.approx(large, rel=1e-6)
    assert small < found[1] < large
    with pytest.raises(UndiffuseError, match="did not learn its variance"):
        output_variance(DDPM("learned"), times, exact)


def test_empirical_variance_is_the_closed_form():
    """The whole loop with real noise, 4096 samples of 16 elements."""
    times = make_timesteps(CHAIN, 50, "trailing")
    images = sample(gaussian_denoiser(CHAIN), DDIM(), times, (16,), Noise(0, range(4096)))
    assert float(images.var()) == pytest.approx(0.222220, rel=0.025)
    assert abs(float(images.mean())) < 5 * 0.5 / 256


@pytest.mark.parametrize("sampler", [DDPM("small"), DDPM("large"), DDIM(), DDIM(1.0)], ids=repr)
@pytest.mark.parametrize("schedule", [CHAIN, VP()], ids=["linear", "vp"])
def test_the_ideal_denoiser_of_a_data_set_gives_back_its_points(sampler, schedule):
    points = torch.tensor([[0.8, -0.2], [-0.5, 0.5], [0.1, -0.9]])
    spacing = "log-snr" if isinstance(schedule, VP) else "trailing"
    times = make_timesteps(schedule, 100, spacing)
    images = sample(MixtureDenoiser(schedule, points), sampler, times, (2,), Noise(0, range(300)))
    distance = (images[:, None] - points[None]).abs().amax(-1)
    assert float(distance.min(1).values.max()) < 0.02
    shares = torch.bincount(distance.argmin(1), minlength=3) / 300
    assert float((shares - 1 / 3).abs().max()) < 0.15


@pytest.mark.parametrize(("sampler", "rate"), [(DDIM(), 2.0)])
def test_order_of_convergence(sampler, rate):
    """FACTS: DDIM's error on the VP ODE from t = 1 to 1e-3, uniform log-SNR, at 12 / 24 / 48 / 96 steps."""
    vp = VP()
    data = gaussian_denoiser(vp)
    start, end = (vp(torch.tensor(t, dtype=torch.float64)) for t in (1.0, 1e-3))
    exact = torch.sqrt((0.25 * end.alpha**2 + end.sigma**2) / (0.25 * start.alpha**2 + start.sigma**2))
    errors = []
    for steps in (12, 24, 48, 96):
        times = make_timesteps(vp, steps + 1, "log-snr")[:-1]
        x, state = torch.ones(1, 1, dtype=torch.float64), sampler.init()
        for t, s in pairwise(times):
            x, state = sampler.step(data, x, t, s, state, Probe(0.0))
        errors.append(abs(float(x / exact) - 1))
    assert errors == pytest.approx([0.181, 0.0950, 0.0487, 0.0246], rel=0.005)
    assert errors[-2] / errors[-1] == pytest.approx(rate, rel=0.05)
