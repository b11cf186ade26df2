from __future__ import annotations

import math

import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.dormand_prince import Tolerance
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser, gaussian_denoiser
from undiffuse.diffusion.guidance import Clip
from undiffuse.evaluation.likelihood.evaluate import mean_and_error
from undiffuse.evaluation.likelihood.probability_flow import Density, density_of, dequantise, draw_probes
from undiffuse.evaluation.likelihood.units import Units

SCHEDULES = {
    "linear": schedules.linear(),
    "cosine": schedules.cosine(),
    "zero terminal SNR": schedules.zero_terminal_snr(schedules.linear()),
    "VP": schedules.VP(),
    "sub-VP": schedules.SubVP(),
    "VE": schedules.VE(),
    "flow": schedules.RectifiedFlow(),
}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit_probes(count: int, dimensions: int) -> torch.Tensor:
    """Probes whose estimate is the exact trace: sqrt(D) times the axes."""
    return (math.sqrt(dimensions) * torch.eye(dimensions, dtype=torch.float64)).expand(count, -1, -1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_density_of_a_gaussian_is_exact_on_every_process(name):
    schedule = SCHEDULES[name]
    x0 = 0.5 * normal(20, 16)
    exact = 0.5 * math.log(2 * math.pi * 0.25) + x0.square().mean(1) / 0.5
    probes = draw_probes((16,), range(20), 1)
    close = density_of(
        gaussian_denoiser(schedule, (16,)), x0, probes, tolerance=Tolerance(1e-6, 1e-6), t_min=1e-3 * schedule.t_min
    )
    assert torch.allclose(close.total, exact, atol=1e-4)  # sub-VP ends with sigma = 1 - 4e-5, not quite its prior's
    # From the schedule's own t_min on, the density is that of data with a little noise.
    alpha, sigma = schedule(torch.tensor(schedule.t_min, dtype=torch.float64))
    variance = 0.25 + float(sigma / alpha) ** 2
    blurred = 0.5 * math.log(2 * math.pi * variance) + x0.square().mean(1) / (2 * variance)
    stopped = density_of(gaussian_denoiser(schedule, (16,)), x0, probes, tolerance=Tolerance(1e-6, 1e-6))
    assert torch.allclose(stopped.total, blurred, atol=1e-4)


def test_the_entropy_of_a_gaussian():
    """FACTS: N(0, 0.25) has 1.047096 bits."""
    x0 = 0.5 * normal(64, 256)
    density = density_of(gaussian_denoiser(schedules.linear(), (256,)), x0, draw_probes((256,), range(64), 1))
    mean, error = mean_and_error(density.total / math.log(2))
    assert abs(mean - 1.047096) < 3 * error + 3e-4  # what is not told apart below t_min = 1
    assert error < 0.02


MEANS = torch.tensor([[-0.6, 0.0], [0.5, 0.4], [0.3, -0.7]], dtype=torch.float64)


def mixture_density(x0: torch.Tensor, means: torch.Tensor, std: float) -> torch.Tensor:
    """-log p per dimension."""
    d = x0.shape[1]
    squares = (x0[:, None] - means).square().sum(-1) / (2 * std**2)
    log_p = torch.logsumexp(-squares, 1) - math.log(len(means)) - d * math.log(std * math.sqrt(2 * math.pi))
    return -log_p / d


def test_density_of_a_mixture_is_exact():
    x0 = MEANS[torch.arange(30) % 3] + 0.15 * normal(30, 2)
    denoiser = MixtureDenoiser(schedules.cosine(), MEANS, std=0.15)
    found = density_of(denoiser, x0, unit_probes(30, 2), tolerance=Tolerance(1e-7, 1e-7), t_min=1e-3)
    assert torch.allclose(found.total, mixture_density(x0, MEANS, 0.15), atol=1e-4)


def test_one_probe_is_right_on_average_and_several_are_better():
    means = normal(3, 8, seed=1)
    x0 = means[torch.arange(200) % 3] + 0.3 * normal(200, 8)
    denoiser = MixtureDenoiser(schedules.VP(), means, std=0.3)
    exact = mixture_density(x0, means, 0.3)
    spread = {}
    for kind in ("rademacher", "gaussian"):
        found = density_of(denoiser, x0, draw_probes((8,), range(200), 16, kind), t_min=1e-4)
        gap, error = mean_and_error(found.total - exact)
        assert abs(gap) < 4 * error + 1e-3
        # The standard error that each image reports is the scatter of its total around the truth.
        scatter = float((found.total - exact).square().mean().sqrt())
        assert float(found.error.square().mean().sqrt()) == pytest.approx(scatter, rel=0.25)
        fewer = Density(found.values[:, :4], found.evaluations)
        assert float(fewer.error.square().mean() / found.error.square().mean()) == pytest.approx(4, rel=0.3)
        spread[kind] = float(found.error.mean())
    assert spread["rademacher"] < spread["gaussian"]


def test_clipping_keeps_a_flow_whose_density_integrates_to_one():
    """The clipped flow in one dimension: its density, summed over a fine grid, is a probability."""
    grid = torch.linspace(-3, 3, 1201, dtype=torch.float64)[:, None]
    denoiser = Clip(gaussian_denoiser(schedules.VP(), (1,), std=0.8))
    found = density_of(denoiser, grid, torch.ones(1201, 1, 1), t_min=1e-2, tolerance=Tolerance(1e-6, 1e-6))
    assert float(torch.exp(-found.total).sum() * 6 / 1200) == pytest.approx(1, abs=2e-3)


def test_integers_are_spread_over_their_bins():
    levels = 256
    unit = Units(levels)
    x0 = ((0.5 * normal(64, 256)).clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1
    spread = dequantise(x0, range(64), unit.bin_width)
    offset = (spread - x0) / unit.bin_width
    assert float(offset.abs().max()) <= 0.5
    assert float(offset.var()) == pytest.approx(1 / 12, rel=0.03)
    assert dequantise(x0, range(64), 0) is x0
    found = density_of(gaussian_denoiser(schedules.linear(), (256,)), spread, draw_probes((256,), range(64), 1))
    # -log2 of the Gaussian's probability of each bin, the exact price of these values
    edges = [(x0 + k * unit.bin_width / 2) / 0.5 for k in (-1, 1)]
    exact = -torch.log2(torch.special.ndtr(edges[1]) - torch.special.ndtr(edges[0])).mean(1)
    gap, error = mean_and_error(unit.of_density(found.total) - exact)
    assert abs(gap) < 4 * error + 1e-3
    assert error < 1e-3


def test_an_image_does_not_depend_on_its_batch():
    means = normal(3, 6, seed=1)
    x0 = means + 0.3 * normal(3, 6)
    denoiser = MixtureDenoiser(schedules.cosine(), means, std=0.3)
    together = density_of(denoiser, x0, draw_probes((6,), [4, 1, 7], 2))
    for k, index in enumerate([4, 1, 7]):
        alone = density_of(denoiser, x0[k : k + 1], draw_probes((6,), [index], 2))
        assert torch.allclose(alone.values[0], together.values[k], rtol=0, atol=1e-10)
        assert alone.evaluations[0] == together.evaluations[k]


def test_probes_have_unit_covariance():
    for kind in ("rademacher", "gaussian"):
        probes = draw_probes((4,), range(50), 200, kind).reshape(-1, 4)
        assert torch.allclose(probes.T @ probes / len(probes), torch.eye(4), atol=0.05)
