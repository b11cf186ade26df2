"""The probability-flow ODE by a black-box solver with an error estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time
from undiffuse.diffusion.samplers.exponential import euler_step
from undiffuse.diffusion.trajectory import Noise
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.installing import install_extra

MOST = 10_000
"""Steps of the solver after which it is given up: a tolerance below the rounding of the numbers is never met."""


def _odeint() -> Any:
    try:
        from torchdiffeq import odeint
    except ImportError:
        raise UndiffuseError(f"The sampler 'ode' needs torchdiffeq: {install_extra('ode')}") from None
    return odeint


@dataclass(frozen=True)
class AdaptiveODE:
    """Dormand-Prince 4(5) with adaptive steps (Song et al. 2021, section 4.3, https://arxiv.org/abs/2011.13456).

    With m = sqrt(alpha^2 + sigma^2), x = m v and the angle theta = atan(sigma / alpha) the ODE is

    dv / dtheta = cos(theta) eps - sin(theta) x0,   theta from pi/2 (pure noise) to 0 (data),

    which is bounded at both ends of every schedule. Each step t -> s of the grid is integrated to the tolerance by as
    many evaluations as that takes, so that the result hardly depends on the grid: take few steps. The step to data is
    integrated to the schedule's t_min, the smallest time that a network knows, and ends with the x0 prediction there.

    The error is measured on the whole batch, so that a sample's last digits depend on its neighbours.

    Args:
        tolerance: relative and absolute, of v; 1e-5 in the paper.
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

        angles = torch.stack([torch.atan2(q.sigma, q.alpha) for q in (q_t, q_s)])
        if not angles[1] < angles[0]:  # two times one rounding apart: there is no way between them
            return x

        def velocity(theta: Tensor, v: Tensor) -> Tensor:
            theta = theta.double().cpu().clamp(angles[1], angles[0])  # the solver's first guess of a step may leave it
            inside = schedule.inverse_log_snr(-2 * theta.tan().log()).clamp(s, t)
            prediction = denoiser(v * float(torch.hypot(*schedule(inside))), inside)
            return float(theta.cos()) * prediction.eps - float(theta.sin()) * prediction.x0

        odeint = _odeint()
        try:
            path: Tensor = odeint(
                velocity,
                x / float(torch.hypot(*q_t)),
                angles.to(x.device),
                rtol=self.tolerance,
                atol=self.tolerance,
                method="dopri5",
                # stop at s instead of interpolating back to it
                options={"step_t": angles[1:].to(x.device), "max_num_steps": MOST},
            )
        except AssertionError as error:  # torchdiffeq's way to say so
            if "finite" in str(error):
                raise UndiffuseError(
                    "The numbers of the sampler 'ode' are no longer finite: try other `weights`, or less guidance"
                ) from None
            raise UndiffuseError(
                f"The sampler 'ode' found no {MOST:,} steps from t = {float(t):g} to {float(s):g} whose errors stay "
                f"below `tolerance={self.tolerance:g}`: raise it, or take another sampler"
            ) from None
        return path[-1] * float(torch.hypot(*q_s))
