"""Timesteps: the decreasing grid t_N > ... > t_1 > 0 that a sampler walks, ending in data.

On a discrete chain the first four are the grids of the field, for *any* number of steps up to T (integer strides exist
for a few dozen of the 1000 choices only). The last two are continuous: they are even in a quantity of the process, not
in t.

For T = 1000 and 10 steps, as chain indices t - 1:

    leading    900, 800, ..., 0         Song et al. 2021 (DDIM); never sees the noisiest t
    trailing   999, 899, ..., 99        Lin et al. 2023: starts where sampling starts; the best of these for few steps
    linspace   999, 888, ..., 0         Nichol & Dhariwal 2021
    quadratic  800, 632, ..., 9, 0      DDIM's for CIFAR-10

Times may also be given one by one, or have been chosen for a model by `evaluation.samplers.optimal_timesteps`: a file
of the run holds them, and the sha256 of the weights that they were chosen for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.schedules import DiscreteSchedule, Schedule
from undiffuse.errors import UndiffuseError, perhaps

Spacing = Literal["leading", "trailing", "linspace", "quadratic", "log-snr", "karras"]

KARRAS_RHO = 7.0
"""Exponent of Karras et al. 2022, eq. 5: small steps where there is little noise."""


def make_timesteps(schedule: Schedule, steps: int, spacing: str = "trailing") -> Float[Tensor, "points"]:
    """``steps`` decreasing times and a final 0, float64.

    Args:
        schedule: the process; a discrete chain allows at most T steps on the grids of integers.
        steps: how many steps the sampler takes, at least 1.
        spacing: how they are spread; see the module's table.
    """
    if spacing == "learned":
        raise UndiffuseError(
            "Learned timesteps are chosen for one trained model and lie in its run's folder: "
            "use `spacing=learned` with a run, after undiffuse timesteps RUN"
        )
    if spacing not in get_args(Spacing):
        raise UndiffuseError(f"'{spacing}' is no spacing of timesteps{perhaps(spacing, get_args(Spacing))}")
    if steps < 1:
        raise UndiffuseError(f"Sampling takes at least 1 step; `steps` is {steps}")
    if spacing in ("log-snr", "karras"):
        times = _even_in_noise(schedule, steps, spacing)
    elif isinstance(schedule, DiscreteSchedule):
        if steps > schedule.T:
            raise UndiffuseError(
                f"The chain has {schedule.T} timesteps and `steps` asks for {steps}: "
                f"use at most {schedule.T}, or `spacing=log-snr`"
            )
        times = _chain_index(schedule.T, steps, spacing)[::-1].astype(np.float64) + 1
    else:
        times = _continuous(schedule, steps, spacing)
    if not (np.diff(times) < 0).all():
        raise UndiffuseError(
            f"There are no {steps} different times between {schedule.t_min:g}, the first time of this process, and "
            f"{schedule.t_max:g}, its last: take fewer `steps`"
        )
    return torch.from_numpy(np.append(times, 0.0))


def _chain_index(T: int, steps: int, spacing: str) -> np.ndarray:
    """Distinct indices t - 1 in 0..T-1."""
    k = np.arange(steps)
    if spacing == "leading":
        return k * T // steps
    if spacing == "trailing":
        return np.floor((k + 1) * T / steps + 0.5).astype(np.int64) - 1
    if spacing == "linspace":
        return np.rint(k * (T - 1) / (steps - 1)).astype(np.int64) if steps > 1 else np.array([T - 1])
    index = (np.linspace(0, math.sqrt(0.8 * T), steps) ** 2).astype(np.int64)
    # Squares crowd near 0: push equal ones apart upwards, and back down from the end of the chain where they overrun
    # it.
    index = np.maximum.accumulate(index - k) + k
    return np.minimum(index, T - steps + k)


def _continuous(schedule: Schedule, steps: int, spacing: str) -> np.ndarray:
    if spacing == "trailing" and schedule.t_max / steps >= schedule.t_min:
        return schedule.t_max * np.arange(steps, 0, -1) / steps
    power = 2.0 if spacing == "quadratic" else 1.0
    times = np.linspace(schedule.t_max ** (1 / power), schedule.t_min ** (1 / power), steps) ** power
    return _between_ends(times, schedule)


def _between_ends(times: np.ndarray, schedule: Schedule) -> np.ndarray:
    """A grid from t_max to t_min to the last bit: powers and inverses leave its ends one rounding beside, or outside.

    No network was asked outside, and a solver finds no way between t_min and a time that differs by a rounding.
    """
    times = np.clip(times, schedule.t_min, schedule.t_max)
    times[-1] = schedule.t_min
    times[0] = schedule.t_max  # last, for a grid of one time starts in noise
    return times


def _even_in_noise(schedule: Schedule, steps: int, spacing: str) -> np.ndarray:
    """Even in log-SNR, or in (sigma / alpha)^(1/rho) as Karras et al. do, from t_max to t_min."""
    # With zero terminal SNR: spread from just below t_max, where the first point goes afterwards.
    first, last = schedule.log_snr(torch.tensor([schedule.t_last, schedule.t_min], dtype=torch.float64))
    part = torch.linspace(0, 1, steps, dtype=torch.float64)
    if spacing == "log-snr":
        log_snr = torch.lerp(first, last, part)
    else:
        ratio = [torch.exp(-value / (2 * KARRAS_RHO)) for value in (first, last)]
        log_snr = -2 * KARRAS_RHO * torch.lerp(ratio[0], ratio[1], part).log()
    return _between_ends(schedule.inverse_log_snr(log_snr).numpy(), schedule)


def given_timesteps(schedule: Schedule, times: Sequence[float]) -> Float[Tensor, "points"]:
    """Times that somebody chose and a final 0, float64.

    Raises:
        UndiffuseError: they do not fall strictly within (0, t_max].
    """
    grid = torch.tensor([*times, 0.0], dtype=torch.float64)
    if not times or not bool((grid.diff() < 0).all()) or not grid[0] <= schedule.t_max:
        raise UndiffuseError(
            f"Times of a walk must fall, from at most {schedule.t_max:g} down to above 0, the 0 itself left out; "
            f"got {', '.join(f'{t:g}' for t in times) or 'none'}"
        )
    return grid
