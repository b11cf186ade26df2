"""Every sampler of the registry reaches the order of convergence that it claims.

Setting: the VP process (beta 0.1..20) from t = 1 to 1e-3 on a grid even in log-SNR, data N(0, 0.25), where the exact
ODE is x_s / x_t = std_s / std_t. No step goes to data, so no lower-order last step hides the order. On Gaussian data
every sampler is linear in x and in its noise: a basis of inputs gives the output's variance without sampling.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from undiffuse.config.flags import in_flags
from undiffuse.config.sampling import Solver
from undiffuse.diffusion.exact_denoisers import BasisNoise, gaussian_denoiser
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.diffusion.schedules import VP
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.factories.sampler import make_sampler

STEPS = (12, 24, 48, 96)
FIXED_STEPS = [info.name for info in SAMPLERS.values() if info.evaluations_per_step is not None]

ODE_ERRORS = {  # at 12 / 24 / 48 / 96 steps
    "ddim": (0.181, 0.0950, 0.0487, 0.0246),
    "dpm2m": (3.56e-2, 9.62e-3, 2.47e-3, 6.22e-4),
    "dpm++2m": (2.84e-2, 9.34e-3, 2.45e-3, 6.19e-4),
}


def variance_error(name: str, steps: int) -> float:
    """Relative error of the output's variance, exactly."""
    vp = VP()
    data = gaussian_denoiser(vp)
    sampler = make_sampler(Solver(sampler=name, steps=steps, churn=2.0))
    times = make_timesteps(vp, steps + 1, "log-snr")[:-1]
    variance = [float(0.25 * q.alpha**2 + q.sigma**2) for q in (vp(times[0]), vp(times[-1]))]
    x = torch.zeros(2 * steps + 1, 1, dtype=torch.float64)
    x[0] = math.sqrt(variance[0])
    state, noise = sampler.init(), BasisNoise()
    for t, s in pairwise(times):
        x, state = sampler.step(data, x, t, s, state, noise)
    assert (noise.draws > 0) == SAMPLERS[name].stochastic
    return float(x.square().sum()) / variance[1] - 1


def ode_error(name: str, steps: int) -> float:
    """Relative error of x itself; variance is its square."""
    return abs(math.sqrt(1 + variance_error(name, steps)) - 1)


@pytest.mark.parametrize("name", FIXED_STEPS)
def test_every_sampler_reaches_its_order(name):
    info = SAMPLERS[name]
    measure = variance_error if info.stochastic else ode_error
    coarse, fine = (abs(measure(name, steps)) for steps in STEPS[-2:])
    assert math.log2(coarse / fine) > info.order - (0.5 if info.order > 3 else 0.2)
    assert fine < {1: 0.1, 2: 5e-3, 3: 7e-4, 4: 2e-4}[info.order]


@pytest.mark.parametrize("name", ODE_ERRORS)
def test_errors_on_the_vp_ode_are_the_known_ones(name):
    assert [ode_error(name, steps) for steps in STEPS] == pytest.approx(ODE_ERRORS[name], rel=0.005)


def test_third_order_of_the_authors_is_second_and_the_whole_integral_mends_it():
    """DPM-Solver++ 3M as coded halves the integral of u^2; with all of it the same three points give order 3 and more.

    Both start up alike, so the start-up is not what limits 3M.
    """
    halved, whole = ([ode_error(name, steps) for steps in (96, 192)] for name in ("dpm++3m", "exp3"))
    assert math.log2(halved[0] / halved[1]) == pytest.approx(2.0, abs=0.1)
    assert math.log2(whole[0] / whole[1]) > 3
    assert whole[1] < halved[1] / 100


def test_unipc_gains_an_order_by_its_corrector():
    for points in (1, 2, 3):
        errors = [ode_error(f"unipc{points}", steps) for steps in (96, 192)]
        assert math.log2(errors[0] / errors[1]) == pytest.approx(points + 1, abs=0.2)


def test_adaptive_solver_keeps_its_tolerance_on_any_grid():
    for steps in (1, 2, 5):
        assert ode_error("ode", steps) < 1e-3


def test_churn_changes_the_path_and_not_the_distribution():
    assert abs(variance_error("edm", 384)) < 1e-3


def documented(heading: str) -> dict[str, list[str]]:
    """The cells of the table in docs/measure/samplers.md below a heading's or a line's beginning, by sampler."""
    text = (Path(__file__).parents[3] / "docs" / "measure" / "samplers.md").read_text(encoding="utf-8")
    table = text.partition(heading)[2].partition("\n|")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_documentation_lists_every_sampler_as_it_is():
    expected = {
        info.name: [
            str(info.order),
            str(info.evaluations_per_step or "adaptive"),
            "yes" if info.stochastic else "no",
            in_flags(info.note),
        ]
        for info in SAMPLERS.values()
    }
    assert documented("# Samplers") == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXED_STEPS)
def test_documented_errors_are_the_measured_ones(name):
    measure = variance_error if SAMPLERS[name].stochastic else ode_error
    errors = [abs(measure(name, steps)) for steps in STEPS]
    assert [float(cell) for cell in documented("## Convergence")[name][:4]] == pytest.approx(errors, rel=0.006)
