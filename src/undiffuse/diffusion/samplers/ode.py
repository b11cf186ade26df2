"""The probability-flow ODE by a solver with an error estimate, for every sample its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.dormand_prince import (
    MOST,
    NotFiniteError,
    State,
    Tolerance,
    TooManyStepsError,
    integrate,
    largest,
)
from undiffuse.diffusion.gaussian import Batch, Time, expand
from undiffuse.diffusion.samplers.exponential import euler_step
from undiffuse.diffusion.trajectory import Noise
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class AdaptiveODE:
    """Dormand-Prince 5(4) with adaptive steps (Song et al. 2021, section 4.3, https://arxiv.org/abs/2011.13456).

    With m = sqrt(alpha^2 + sigma^2), x = m v and the angle theta = atan(sigma / alpha) the ODE is

    dv / dtheta = cos(theta) eps - sin(theta) x0,   theta from pi/2 (pure noise) to 0 (data),

    which is bounded at both ends of every schedule. Each step t -> s of the grid is integrated to the tolerance by as
    many evaluations as that takes, so that the result hardly depends on the grid: take few steps. The step to data is
    integrated to the schedule's t_min, the smallest time that a network knows, and ends with the x0 prediction there.

    Args:
        tolerance: relative and absolute, of each value of v; 1e-5 in the paper.
    """

    tolerance: float = 1e-5
    order: int = 5

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        schedule = denoiser.schedule
        last = torch.clamp(s, min=schedule.t_min) if s == 0 else s
        if last < t:
            x = self._solve(denoiser, x, t, last)
            t = last
        return (euler_step(denoiser(x, t), schedule(s)) if s == 0 else x), None

    def _solve(self, denoiser: Denoiser, x: Batch, t: Time, s: Time) -> Batch:
        schedule = denoiser.schedule
        q_s, q_t = schedule(s), schedule(t)
        start, end = (float(torch.atan2(q.sigma, q.alpha)) for q in (q_t, q_s))
        if not end < start:  # two times one rounding apart: there is no way between them
            return x
        v = x / float(torch.hypot(*q_t))
        theta = torch.full((len(x),), start, dtype=torch.float64)

        def velocity(rows: Tensor, times: Tensor, state: State) -> State:
            # All rows are evaluated, those that arrived where they are: a row's rounding depends on the batch's size.
            theta[rows], v[rows] = times.clamp(end, start), state[0]
            inside = schedule.inverse_log_snr(-2 * theta.tan().log()).clamp(s, t)
            prediction = denoiser(v * expand(torch.hypot(*schedule(inside)), v), inside)
            slope = expand(theta.cos(), v) * prediction.eps - expand(theta.sin(), v) * prediction.x0
            return (slope[rows],)

        try:
            (arrived,), _ = integrate(velocity, (v,), start, end, Tolerance(self.tolerance, self.tolerance, largest))
        except NotFiniteError:
            raise UndiffuseError(
                "The numbers of the sampler 'ode' are no longer finite: try other `weights`, or less guidance"
            ) from None
        except TooManyStepsError:
            raise UndiffuseError(
                f"The sampler 'ode' found no {MOST:,} steps from t = {float(t):g} to {float(s):g} whose errors stay "
                f"below `tolerance={self.tolerance:g}`: raise it, or take another sampler"
            ) from None
        return arrived * float(torch.hypot(*q_s))
