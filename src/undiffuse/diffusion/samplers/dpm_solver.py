"""DPM-Solver and DPM-Solver++, single-step and multistep: the same formulas in eps and in x0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time
from undiffuse.diffusion.samplers.exponential import DATA, Form, History, euler_step, half_log_snr, moment, remember
from undiffuse.diffusion.trajectory import Noise


@dataclass(frozen=True)
class DPMSingleStep:
    """DPM-Solver-1, 2 and 3 (Lu et al. 2022a, algorithms 1-2, https://arxiv.org/abs/2206.00927) and DPM-Solver++(2S)
    (Lu et al. 2022b, algorithm 1, https://arxiv.org/abs/2211.01095).

    ``order`` evaluations a step, at lambda_t + {0}, {0, 1/2} h or {0, 1/3, 2/3} h, with m = eps or x0:

    order 1   x_s = DDIM
    order 2   x_s = DDIM + gain M_0 (m_{1/2} - m_t)
    order 3   x_{2/3} = DDIM + gain_{2/3} M_1 2 (m_{1/3} - m_t),   x_s = DDIM + gain M_1 3/2 (m_{2/3} - m_t)

    where M_k = int_0^1 e^{a (1 - u)} u^k du and gain, a are those of `exponential`. Steps to data and from pure noise
    are DDIM's.

    Args:
        form: NOISE for DPM-Solver, DATA for DPM-Solver++.
        order: 1, 2 or 3.
    """

    form: Form = DATA
    order: Literal[1, 2, 3] = 2

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        schedule, form = denoiser.schedule, self.form
        q_s, q_t = schedule(s), schedule(t)
        h = half_log_snr(q_s) - half_log_snr(q_t)
        first = denoiser(x, t)
        x_s = euler_step(first, q_s)
        if self.order == 1 or math.isinf(h):
            return x_s, None

        def change(part: float, slope: Tensor | float = 0.0) -> Tensor:
            """m(lambda_t + part h) - m_t, with x taken there as if m grew by ``slope`` over the step."""
            inside = schedule.inverse_log_snr(q_t.log_snr + 2 * part * h)
            q = schedule(inside)
            grown = form.gain(q, part * h) * moment(form.sign * part * h, 1) * part * slope
            return form.value(denoiser(euler_step(first, q) + grown, inside)) - form.value(first)

        gain, a = form.gain(q_s, h), form.sign * h
        if self.order == 2:
            return x_s + gain * moment(a, 0) * change(1 / 2), None
        return x_s + gain * moment(a, 1) * 1.5 * change(2 / 3, slope=3 * change(1 / 3)), None


def look_back(gain: float, a: float, h: float, history: History) -> Batch:
    """The correction of a multistep step to the first-order one, from the 2 or 3 newest (lambda, m), this one first.

    2 points   gain M_0 / 2 D_1,                    D_1 = (m_t - m_1) / r_0
    3 points   gain (M_1 D_1 + M_2 / 2 D_2)         with the same D_1 = D_10 and D_11 = (m_1 - m_2) / r_1,
               D_1 = D_10 + r_0 / (r_0 + r_1) (D_10 - D_11),   D_2 = (D_10 - D_11) / (r_0 + r_1)

    where r_0 h = lambda_t - lambda_1, r_1 h = lambda_1 - lambda_2, M_k = int_0^1 e^{a (1 - u)} u^k du.

    D_1 u + D_2 u^2 is the parabola through the three points, so the second formula would be exact on it with M_2 where
    it has M_2 / 2. The authors' code has the half, every library copied it, and so do we: what is called 3M is of
    second order. `ExponentialMultistep` has the whole M_2.
    """
    (lambda_0, m_0), (lambda_1, m_1), *older = history
    r_0 = (lambda_0 - lambda_1) / h
    d_10 = (m_0 - m_1) / r_0
    if not older:
        return gain * moment(a, 0) / 2 * d_10
    [(lambda_2, m_2)] = older
    r_1 = (lambda_1 - lambda_2) / h
    d_2 = (d_10 - (m_1 - m_2) / r_1) / (r_0 + r_1)
    d_1 = d_10 + r_0 * d_2
    return gain * (moment(a, 1) * d_1 + moment(a, 2) / 2 * d_2)


@dataclass(frozen=True)
class DPMMultistep:
    """DPM-Solver and DPM-Solver++ that look back instead of inside (Lu et al. 2022b, algorithm 2; third order from the
    authors' code).

    One evaluation a step. With m = eps or x0, r_0 = (lambda_t - lambda_1) / h and so on back in time:

    order 2   x_s = DDIM + gain M_0 / 2 D_1,                        D_1 = (m_t - m_1) / r_0
    order 3   x_s = DDIM + gain (M_1 D_1 + M_2 / 2 D_2),            see `look_back`

    Steps to data and from pure noise are DDIM's, and so is the first.

    Args:
        form: NOISE for DPM-Solver, DATA for DPM-Solver++.
        points: 2 or 3, how many evaluations a step looks at.
    """

    form: Form = DATA
    points: Literal[2, 3] = 2
    order: int = 2

    def init(self) -> History:
        return ()

    def step(
        self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: History, noise: Noise
    ) -> tuple[Batch, History]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        prediction = denoiser(x, t)
        h = half_log_snr(q_s) - half_log_snr(q_t)
        state = remember(state, half_log_snr(q_t), self.form.value(prediction), self.points)
        x_s = euler_step(prediction, q_s)
        if len(state) > 1 and math.isfinite(h):
            x_s = x_s + look_back(self.form.gain(q_s, h), self.form.sign * h, h, state)
        return x_s, state
