"""Timesteps: the decreasing grid t_N > ... > t_1 > 0 that a sampler walks, ending in data.

On a discrete chain the first four are the grids of the field, for *any* number of steps up to T (integer strides exist
for a few dozen of the 1000 choices only). The last two are continuous: they are even in a quantity of the process, not
in t.

For T = 1000 and 10 steps, as chain indices t - 1:

    leading    900, 800, ..., 0         Song et al. 2021 (DDIM); never sees the noisiest t
    trailing   999, 899, ..., 99        Lin et al. 2023: starts where sampling starts, and the best of the four for few
    steps linspace   999, 888, ..., 0         Nichol & Dhariwal 2021
    quadratic  800, 632, ..., 9, 0      DDIM's for CIFAR-10
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.schedule import DiscreteSchedule, Schedule

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
    if spacing not in get_args(Spacing):
        raise UndiffuseError(f"'{spacing}' is no spacing of timesteps{perhaps(spacing, get_args(Spacing))}")
    if steps < 1:
        raise UndiffuseError(f"Sampling takes at least 1 step; --steps is {steps}")
    if spacing in ("log-snr", "karras"):
        times = _even_in_noise(schedule, steps, spacing)
    elif isinstance(schedule, DiscreteSchedule):
        if steps > schedule.T:
            raise UndiffuseError(
                f"The chain has {schedule.T} timesteps and --steps asks for {steps}: "
                f"use at most {schedule.T}, or --spacing log-snr"
            )
        times = _chain_index(schedule.T, steps, spacing).astype(np.float64) + 1
    else:
        times = _continuous(schedule, steps, spacing)
    return torch.from_numpy(np.append(np.sort(times)[::-1], 0.0))


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
    if spacing == "trailing":
        return schedule.t_max * np.arange(1, steps + 1) / steps
    power = 2.0 if spacing == "quadratic" else 1.0
    return np.linspace(schedule.t_max ** (1 / power), schedule.t_min ** (1 / power), steps) ** power


def _even_in_noise(schedule: Schedule, steps: int, spacing: str) -> np.ndarray:
    """Even in log-SNR, or in (sigma / alpha)^(1/rho) as Karras et al. do, from t_max to t_min."""
    ends = torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64)
    first, last = schedule.log_snr(ends)
    if first.isinf():  # zero terminal SNR: spread from just below t_max, then put the first point on it
        first = schedule.log_snr(ends[0] - schedule.t_min)
    part = torch.linspace(0, 1, steps, dtype=torch.float64)
    if spacing == "log-snr":
        log_snr = torch.lerp(first, last, part)
    else:
        ratio = [torch.exp(-value / (2 * KARRAS_RHO)) for value in (first, last)]
        log_snr = -2 * KARRAS_RHO * torch.lerp(ratio[0], ratio[1], part).log()
    times = schedule.inverse_log_snr(log_snr)
    times[0] = schedule.t_max
    return times.numpy()
