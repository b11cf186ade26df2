"""Trajectories from the same noise, against the diffusers library wherever both define the same method.

The denoiser is exact for a mixture of Gaussians, so it is not linear in x; both sides see the same numbers in float64.
What differs by a known quirk of that library is in QUIRKS, and explained in docs/measure/samplers.md.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import torch

from undiffuse.config.sampling import Solver
from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser
from undiffuse.diffusion.parameterization import edm
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.diffusion.schedules import VE
from undiffuse.diffusion.trajectory import Noise, trajectory
from undiffuse.factories.sampler import make_sampler

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    diffusers = pytest.importorskip(
        "diffusers", reason="diffusers, the other side of this comparison, is not installed"
    )

pytestmark = pytest.mark.filterwarnings("ignore")  # their own: deprecations of numpy and of theirs

CHAIN = schedules.linear()
MEANS = torch.tensor([[-0.6, -0.4], [0.6, -0.5], [0.1, 0.7]], dtype=torch.float64)
DATA = MixtureDenoiser(CHAIN, MEANS, 0.15)
TRAINED_ON = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


class Recorded(Noise):
    """Float64 noise that gives both sides the same draws."""

    def like(self, x: torch.Tensor) -> torch.Tensor:
        return super().like(x).to(x)


def noise() -> Recorded:
    return Recorded(7, range(8))


@dataclass(frozen=True)
class Case:
    """A scheduler of diffusers.

    Args:
        scheduler: its class.
        options: of its constructor.
        steps: how many.
        scaled: whether it works on x / alpha.
        arguments: further arguments of its ``step``.
        settings: of our sampler.
        to_data: whether the step to data is the same on both sides.
    """

    scheduler: str
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 20
    scaled: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    to_data: bool = True


SINGLE_STEP = "DPMSolverSinglestepScheduler"
TRAILING = {"timestep_spacing": "trailing"}
PLAIN = {"clip_sample": False}
FULL_ORDER = {"final_sigmas_type": "sigma_min", "lower_order_final": False}


def multistep(order: int, algorithm: str = "dpmsolver++", **options: Any) -> Case:
    options = {"solver_order": order, "algorithm_type": algorithm, **FULL_ORDER, **TRAILING, **options}
    return Case("DPMSolverMultistepScheduler", options)


def unipc(order: int, variant: str = "bh2", **options: Any) -> Case:
    options = {"solver_order": order, "solver_type": variant, **FULL_ORDER, **TRAILING, **options}
    return Case("UniPCMultistepScheduler", options)


def deis(order: int) -> Case:
    return Case("DEISMultistepScheduler", {"solver_order": order, "lower_order_final": False, **TRAILING})


TO_DATA = {"final_sigmas_type": "zero"}
CASES: list[tuple[str, Case]] = [
    ("ddpm", Case("DDPMScheduler", {"variance_type": "fixed_small", **PLAIN, **TRAILING})),
    # Leading, because with variance "large" diffusers adds noise in the last step too unless it starts from t - 1 = 0.
    ("ddpm", Case("DDPMScheduler", {"variance_type": "fixed_large", **PLAIN}, settings={"variance": "large"})),
    ("ddim", Case("DDIMScheduler", {**PLAIN, **TRAILING})),
    ("ddim", Case("DDIMScheduler", {**PLAIN, **TRAILING}, arguments={"eta": 0.6}, settings={"eta": 0.6})),
    # diffusers' PNDM and LMS extrapolate into the step to data too; ours is the x0 prediction there.
    ("plms", Case("PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": True}, to_data=False)),
    ("lms", Case("LMSDiscreteScheduler", TRAILING, scaled=True, to_data=False)),
    ("euler", Case("EulerDiscreteScheduler", TRAILING, scaled=True)),
    ("euler-ancestral", Case("EulerAncestralDiscreteScheduler", TRAILING, scaled=True)),
    ("heun", Case("HeunDiscreteScheduler", TRAILING, scaled=True)),
    ("dpm1", multistep(1, "dpmsolver")),
    ("dpm2m", multistep(2, "dpmsolver")),
    ("dpm3m", multistep(3, "dpmsolver")),
    ("dpm++2m", multistep(2)),
    ("dpm++2m", multistep(2, **TO_DATA)),
    ("dpm++3m", multistep(3)),
    ("dpm++3m", multistep(3, **TO_DATA)),
    ("dpm++sde", multistep(1, "sde-dpmsolver++")),
    ("dpm++2m-sde", multistep(2, "sde-dpmsolver++")),
    ("dpm++2m-sde", multistep(2, "sde-dpmsolver++", **TO_DATA)),
    ("dpm2s", Case(SINGLE_STEP, {"solver_order": 2, "algorithm_type": "dpmsolver", **FULL_ORDER})),
    ("dpm++2s", Case(SINGLE_STEP, {"solver_order": 2, **FULL_ORDER})),
    *((f"unipc{p}", unipc(p)) for p in (1, 2, 3)),
    *((f"unipc{p}-bh1", unipc(p, "bh1")) for p in (1, 2, 3)),
    # With three points diffusers lowers the order of the last but one step as well, which a sampler that sees one step
    # cannot.
    ("unipc2", unipc(2, **TO_DATA, lower_order_final=True)),
    ("deis2", deis(2)),
    ("deis3", deis(3)),
]

QUIRKS = {
    "edm": "diffusers has no Heun with churn; its Euler with churn is another method",
    "dpm3s": "diffusers computes the point at 2/3 by its second-order rule instead of DPM-Solver-3's",
    "dpm++3s": "diffusers computes the point at 2/3 by its second-order rule",
    "dpm++3m-sde": "diffusers' third-order SDE rule has a sign error in D2 (- 1/2 for + 1/2)",
    "exp2": "not in diffusers",
    "exp3": "not in diffusers",
    "euler-maruyama": "diffusers' score-SDE schedulers know one schedule each and are deprecated",
    "pc": "diffusers' score-SDE schedulers set the Langevin step by norms over the batch",
    "ode": "not in diffusers",
}


def sigma_of(t: torch.Tensor) -> torch.Tensor:
    q = CHAIN(t)
    return q.sigma / q.alpha


def even_grid(steps: int) -> torch.Tensor:
    ends = CHAIN.log_snr(torch.tensor([1000.0, 1.0], dtype=torch.float64))
    part = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    return CHAIN.inverse_log_snr(torch.lerp(ends[0], ends[1], part))


def make(case: Case) -> Any:
    scheduler = getattr(diffusers, case.scheduler)(**TRAINED_ON, **case.options)
    scheduler.alphas_cumprod = CHAIN.alpha_bar[1:]  # its own are float32 products
    scheduler.set_timesteps(case.steps)
    if case.scheduler == SINGLE_STEP:  # even in log-SNR, so that its points inside a step are ours
        scheduler.sigmas = sigma_of(even_grid(case.steps))
    return scheduler


def places(scheduler: Any, case: Case) -> tuple[torch.Tensor, list[torch.Tensor], slice | list[int]]:
    """Our grid, the times of its calls, and which of its calls end one of our steps."""
    if case.scheduler == SINGLE_STEP:
        order, grid = case.options["solver_order"], even_grid(case.steps)
        return grid[::order], list(grid[:-1]), slice(order - 1, None, order)
    if case.scheduler in ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler"):
        times = (scheduler.timesteps.double() + 1).unique().flip(0)
        times = torch.cat([times, torch.zeros_like(times[:1])])
    else:
        sigmas = scheduler.sigmas.double().unique().flip(0)
        times = torch.where(sigmas == 0, 0.0, CHAIN.inverse_log_snr(-2 * sigmas.log()))
    start, *inside, _ = times
    if case.scheduler == "PNDMScheduler":  # averages over the first step by a second call at its end
        return times, [start, inside[0], *inside], slice(1, None)
    if case.scheduler == "HeunDiscreteScheduler":  # two calls a step, one in the last
        calls = [start, *(t for t in inside for _ in range(2))]
        return times, calls, [*range(1, len(calls), 2), len(calls) - 1]
    return times, [start, *inside], slice(None)


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_trajectory_is_that_of_diffusers(name, case, monkeypatch):
    scheduler = make(case)
    times, calls, kept = places(scheduler, case)
    x = noise().like(torch.zeros(8, 2, dtype=torch.float64))
    sampler = make_sampler(Solver(sampler=name, steps=case.steps, **case.settings))
    found = list(trajectory(DATA, sampler, times, x, noise()))

    source, module = noise(), sys.modules[type(scheduler).__module__]
    if hasattr(module, "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: source.like(x))
    alpha = [CHAIN(t).alpha if case.scaled else torch.tensor(1.0) for t in calls]
    scheduler.is_scale_input_called = True
    y, path = x / alpha[0], []
    for t, a, timestep in zip(calls, alpha, scheduler.timesteps, strict=True):
        y = scheduler.step(DATA(a * y, t).eps, timestep, y, **case.arguments).prev_sample
        path.append(y)
    expected = torch.stack(path)[kept]

    scale = torch.stack([CHAIN(t).alpha if case.scaled else torch.tensor(1.0) for t in times[1:]])
    compared = len(found) if case.to_data else len(found) - 1
    assert len(found) == len(expected) == len(times) - 1
    for ours, other, a in zip(found[:compared], expected, scale, strict=False):
        # Their coefficients are float32, and some are differences of close numbers.
        torch.testing.assert_close(ours, a * other, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("name", "scheduler", "order"),
    [
        ("euler", "EDMEulerScheduler", None),
        ("dpm++2m", "EDMDPMSolverMultistepScheduler", 2),
        ("dpm++3m", "EDMDPMSolverMultistepScheduler", 3),
    ],
)
def test_trajectory_on_ve_is_that_of_diffusers_edm(name, scheduler, order):
    """Their EDM schedulers take the raw network output, F of the parameterization 'edm'."""
    process, row = VE(), edm(0.5)
    data = MixtureDenoiser(process, MEANS, 0.15)
    other = getattr(diffusers, scheduler)(sigma_data=0.5, **({"solver_order": order} if order else {}))
    other.set_timesteps(20)
    times = other.sigmas.double()
    x = 80 * noise().like(torch.zeros(8, 2, dtype=torch.float64))
    y = x
    for (t, _), timestep, ours in zip(
        pairwise(times),
        other.timesteps,
        trajectory(data, make_sampler(Solver(sampler=name)), times, x, noise()),
        strict=True,
    ):
        prediction = data(y, t)
        other.is_scale_input_called = True
        y = other.step(row.mix(prediction.x0, prediction.eps, process(t)), timestep, y).prev_sample
        torch.testing.assert_close(ours, y.double(), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_compared_or_says_why_not(name):
    compared = {case_name for case_name, _ in CASES}
    assert name in compared or name in QUIRKS, f"compare {name} with diffusers, or say in QUIRKS why not"
    assert not (name in compared and name in QUIRKS)
