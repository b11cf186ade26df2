"""Exponential Adams-Bashforth: DEIS, and the same for the predicted data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time
from undiffuse.diffusion.samplers.exponential import (
    NOISE,
    Form,
    History,
    differences,
    euler_step,
    half_log_snr,
    remember,
    weights,
)
from undiffuse.diffusion.trajectory import Noise


@dataclass(frozen=True)
class ExponentialMultistep:
    """The polynomial through the last ``order`` evaluations over lambda, integrated exactly.

    x_s = DDIM + gain int_0^1 e^{a (1 - u)} (p(u) - m_t) du

    With m = eps it is log-rho AB-DEIS (Zhang & Chen 2023, eq. 14 and section 4, https://arxiv.org/abs/2204.13902).
    With m = x0 it is what DPM-Solver++ 3M and UniPC's predictor aim at. One evaluation a step. Steps to data and from
    pure noise are DDIM's, and the first ones look back on what there is.

    Args:
        form: NOISE for DEIS, DATA for the predicted data.
        order: how many evaluations the polynomial goes through, and the order of convergence.
    """

    form: Form = NOISE
    order: int = 2

    def init(self) -> History:
        return ()

    def step(
        self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: History, noise: Noise
    ) -> tuple[Batch, History]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        lambda_t = half_log_snr(q_t)
        h = half_log_snr(q_s) - lambda_t
        prediction = denoiser(x, t)
        value = self.form.value(prediction)
        x_s = euler_step(prediction, q_s)
        if math.isfinite(h):
            w = weights(self.form.gain(q_s, h), self.form.sign * h, [(place - lambda_t) / h for place, _ in state])
            x_s = x_s + differences(w, [old for _, old in state], value)
        return x_s, remember(state, lambda_t, value, self.order - 1)
