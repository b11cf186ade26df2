"""The noise that EDM's churn and the Langevin corrector add, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.exact_denoisers import BasisNoise, MixtureDenoiser, gaussian_denoiser
from undiffuse.diffusion.samplers import EDM, PredictorCorrector
from undiffuse.diffusion.schedules import VE, VP


class Listening:
    """A denoiser that keeps what it was asked."""

    def __init__(self, denoiser: MixtureDenoiser) -> None:
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> Prediction:
        self.asked.append((x, t))
        return self.denoiser(x, t)


@pytest.mark.parametrize("snr", [0.16, 0.5])
def test_langevin_corrector_settles_at_the_variance_of_its_step_size(snr):
    """x <- x - e x / v + sqrt(2 e) z on N(0, v) has the stationary variance v / (1 - e / (2 v))."""
    process, corrections = VP(), 400
    t, s = torch.tensor([0.5, 0.45], dtype=torch.float64)
    x = torch.zeros(corrections + 2, 1, dtype=torch.float64)
    sampler = PredictorCorrector(snr, corrections)
    x, _ = sampler.step(gaussian_denoiser(process), x, t, s, None, BasisNoise())
    q = process(s)
    v, e = float(0.25 * q.alpha**2 + q.sigma**2), 2 * (snr * float(q.sigma)) ** 2
    assert float(x.square().sum()) == pytest.approx(v / (1 - e / (2 * v)), rel=1e-6)


@pytest.mark.parametrize("process", [VP(), VE()], ids=["vp", "ve"])
def test_churn_raises_the_noise_level_by_gamma(process):
    t = process.inverse_log_snr(torch.tensor(-2 * math.log(2.0), dtype=torch.float64))  # r = 2
    data, x = Listening(gaussian_denoiser(process)), torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    EDM(gamma=0.3).step(data, x, t, t / 2, None, BasisNoise())
    x_hat, t_hat = data.asked[0]
    q, q_hat = process(t), process(t_hat)
    assert float(q_hat.sigma / q_hat.alpha) == pytest.approx(2.6, rel=1e-9)
    # Row 0 is carried forward, row 1 is the fresh noise: together they have the variances of the process.
    carried, fresh = (x_hat / q_hat.alpha).flatten().tolist()
    assert carried == pytest.approx(float(1 / q.alpha), rel=1e-9)
    assert fresh**2 == pytest.approx(2.6**2 - 2.0**2, rel=1e-9)


@pytest.mark.parametrize("r", [0.04, 60.0])
def test_no_churn_outside_its_range(r):
    process = VE()
    t = torch.tensor(r, dtype=torch.float64)
    data, noise = Listening(gaussian_denoiser(process)), BasisNoise()
    EDM(gamma=0.3).step(data, torch.ones(2, 1, dtype=torch.float64), t, t / 2, None, noise)
    assert noise.draws == 0
    assert float(data.asked[0][1]) == r


def test_churn_is_spread_over_the_walk_and_limited():
    assert EDM.from_churn(4.0, 40).gamma == pytest.approx(0.1)
    assert EDM.from_churn(40.0, 10).gamma == pytest.approx(math.sqrt(2) - 1)
