"""Samplers, one family a file, and their registry: a new sampler is one file and one entry below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

from undiffuse.diffusion.samplers.ddim import DDIM
from undiffuse.diffusion.samplers.ddpm import DDPM
from undiffuse.diffusion.samplers.deis import ExponentialMultistep
from undiffuse.diffusion.samplers.dpm_solver import DPMMultistep, DPMSingleStep
from undiffuse.diffusion.samplers.dpm_solver_sde import SDEDPMMultistep
from undiffuse.diffusion.samplers.exponential import DATA, NOISE
from undiffuse.diffusion.samplers.heun import EDM, Heun
from undiffuse.diffusion.samplers.lms import LMS, PLMS
from undiffuse.diffusion.samplers.ode import AdaptiveODE
from undiffuse.diffusion.samplers.score_sde import EulerMaruyama, PredictorCorrector
from undiffuse.diffusion.samplers.students import JumpStep, Renoise
from undiffuse.diffusion.samplers.unipc import UniPC
from undiffuse.diffusion.trajectory import Sampler


@dataclass(frozen=True)
class SamplerEntry:
    """A sampler of the registry.

    Args:
        name: what the user types.
        evaluations_per_step: network evaluations that a step takes; None where the sampler decides as it goes.
        make: the sampler, of its options by name; each has a default, and is a setting.
        note: when to use it.
        stochastic: whether it draws noise on the way.
    """

    name: str
    evaluations_per_step: int | None
    make: Callable[..., Sampler[Any]]
    note: str
    stochastic: bool = False

    @property
    def order(self) -> int:
        """Order of convergence in the step size (of the output's distribution where the sampler is stochastic)."""
        return self.make().order

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the settings that the sampler takes; 'steps' is the length of the walk."""
        return tuple(signature(self.make).parameters)


_ode, _sde = SamplerEntry, partial(SamplerEntry, stochastic=True)

_ENTRIES = (
    _sde("ddpm", 1, lambda variance="small": DDPM(variance), "the original: best at hundreds of steps"),
    _ode("ddim", 1, lambda eta=0.0: DDIM(eta), "the plain choice at 50 steps; invertible; `eta=1` makes it DDPM"),
    _ode("euler", 1, lambda: DDIM(), "DDIM under its other name"),
    _sde("euler-ancestral", 1, lambda: DDIM(eta=1.0), "DDPM with the small variance under its other name"),
    _ode("heun", 2, lambda: Heun(), "EDM's choice: 20 steps or more on a fine grid, `spacing=log-snr` or karras"),
    _sde(
        "edm",
        2,
        lambda churn=40.0, steps=20: EDM.from_churn(churn, steps),
        "heun with `churn`: 50 steps or more; fresh noise corrects a network's errors",
    ),
    _ode("lms", 1, lambda: LMS(), "30 steps or more with `spacing=log-snr` or karras"),
    _ode("plms", 1, lambda: PLMS(), "PNDM: 20 to 50 steps; one evaluation more in the first step"),
    _ode("dpm1", 1, lambda: DDIM(), "DDIM under its other name"),
    _ode("dpm2s", 2, lambda: DPMSingleStep(NOISE, 2), "without history: 10 steps or more with `spacing=log-snr`"),
    _ode("dpm3s", 3, lambda: DPMSingleStep(NOISE, 3), "accurate at 15 steps or more with `spacing=log-snr`"),
    _ode("dpm2m", 1, lambda: DPMMultistep(NOISE, 2), "20 steps without guidance"),
    _ode("dpm3m", 1, lambda: DPMMultistep(NOISE, 3), "30 steps without guidance"),
    _ode("dpm++2s", 2, lambda: DPMSingleStep(DATA, 2), "without history: 10 steps or more, with guidance too"),
    _ode("dpm++3s", 3, lambda: DPMSingleStep(DATA, 3), "accurate at 10 steps or more with `spacing=log-snr`"),
    _ode("dpm++2m", 1, lambda: DPMMultistep(DATA, 2), "the safe choice at 15 to 30 steps, with guidance too"),
    _ode("dpm++3m", 1, lambda: DPMMultistep(DATA, 3), "20 steps or more; as its authors coded it, of 2nd order"),
    _sde("dpm++sde", 1, lambda: SDEDPMMultistep(1), "DDPM with the small variance under its other name"),
    _sde("dpm++2m-sde", 1, lambda: SDEDPMMultistep(2), "the default: 20 to 100 steps with the variety of ddpm"),
    _sde("dpm++3m-sde", 1, lambda: SDEDPMMultistep(3), "50 to 100 steps, likewise"),
    _ode("unipc1", 1, lambda: UniPC(1), "DDIM corrected for free"),
    _ode("unipc1-bh1", 1, lambda: UniPC(1, "bh1"), "the same with B(h) = h"),
    _ode("unipc2", 1, lambda: UniPC(2), "10 to 20 steps, with guidance too"),
    _ode(
        "unipc2-bh1",
        1,
        lambda: UniPC(2, "bh1"),
        "the same with B(h) = h; its authors take it below 10 steps without guidance",
    ),
    _ode("unipc3", 1, lambda: UniPC(3), "the most accurate at 30 steps or more"),
    _ode("unipc3-bh1", 1, lambda: UniPC(3, "bh1"), "the same with B(h) = h"),
    _ode("deis2", 1, lambda: ExponentialMultistep(NOISE, 2), "15 to 30 steps without guidance"),
    _ode("deis3", 1, lambda: ExponentialMultistep(NOISE, 3), "10 to 30 steps without guidance"),
    _ode("exp2", 1, lambda: ExponentialMultistep(DATA, 2), "as dpm++2m, with its integral done exactly"),
    _ode("exp3", 1, lambda: ExponentialMultistep(DATA, 3), "as dpm++3m, with its integral done exactly: 3rd order"),
    _sde("euler-maruyama", 1, lambda: EulerMaruyama(), "score SDE's own: a thousand steps"),
    _sde("pc", 2, lambda: PredictorCorrector(), "score SDE with Langevin corrections: a thousand steps"),
    _ode(
        "ode",
        None,
        lambda tolerance=1e-5: AdaptiveODE(tolerance),
        "exact to `tolerance` whatever the steps",
    ),
)

SAMPLERS = {entry.name: entry for entry in _ENTRIES}
"""Every sampler of an ordinary model by name."""
STUDENT_SAMPLERS = {
    entry.name: entry
    for entry in (
        _ode("ddim", 1, lambda: DDIM(), "a student of halving or of regression"),
        _sde("renoise", 1, lambda: Renoise(), "a student of consistency or of distribution matching"),
        _ode("jump", 1, lambda: JumpStep(), "a student of jumps, which is told where each step ends"),
    )
}
"""The samplers of students by name: each of these knows its own, and no other model can walk by the last two."""


__all__ = [
    "DATA",
    "DDIM",
    "DDPM",
    "EDM",
    "LMS",
    "NOISE",
    "PLMS",
    "SAMPLERS",
    "STUDENT_SAMPLERS",
    "AdaptiveODE",
    "DPMMultistep",
    "DPMSingleStep",
    "EulerMaruyama",
    "ExponentialMultistep",
    "Heun",
    "JumpStep",
    "PredictorCorrector",
    "Renoise",
    "SDEDPMMultistep",
    "SamplerEntry",
    "UniPC",
]
