"""The one idea behind the fast solvers: keep what is linear exact, interpolate what the network says.

The probability-flow ODE is linear in x but for the network's part, and can be solved around it in three ways. With
r = sigma / alpha (Karras et al. 2022), lambda = log(alpha / sigma), half the log-SNR (Lu et al. 2022), h = lambda_s -
lambda_t and u running from 0 at t to 1 at s:

    x_s = alpha_s / alpha_t x_t + alpha_s (r_s - r_t) int_0^1 eps(r_t + u (r_s - r_t)) du           Euler, LMS
    x_s = alpha_s / alpha_t x_t - sigma_s h int_0^1 e^{ h (1 - u)} eps(lambda_t + u h) du           DPM-Solver, DEIS
    x_s = sigma_s / sigma_t x_t + alpha_s h int_0^1 e^{-h (1 - u)} x0(lambda_t + u h) du            DPM-Solver++, UniPC

With the network's part held constant all three are the same first-order step, DDIM (`euler_step`). A solver of higher
order puts a polynomial p through the values m_0 at u = 0 and m_j at u_j and adds

    gain int_0^1 e^{a (1 - u)} (p(u) - m_0) du = sum_j w_j (m_j - m_0)

where (gain, a) is (alpha_s (r_s - r_t), 0), (-sigma_s h, h) or (alpha_s h, -h). `weights` gives the w_j.

At data (sigma_s = 0) and at pure noise (alpha_t = 0) h or r is infinite. The rule there, in every sampler: that step is
the first-order one, which is finite, and a value seen at pure noise is never interpolated. So the step to data is the
x0 prediction, and a walk ends in the range of x0 whatever the sampler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.gaussian import Batch, Marginal, expand

History = tuple[tuple[float, Tensor], ...]
"""What a multistep sampler remembers: (place, value) of earlier evaluations, the newest first."""


def half_log_snr(q: Marginal) -> float:
    """lambda = log(alpha / sigma): +inf for data, -inf for pure noise."""
    return float(q.log_snr) / 2


def noise_to_signal(q: Marginal) -> float:
    """r = sigma / alpha: 0 for data, +inf for pure noise."""
    return float(q.sigma / q.alpha)


def euler_step(prediction: Prediction, q_s: Marginal) -> Batch:
    """alpha_s x0 + sigma_s eps: the first-order step of all three forms, finite at both ends."""
    x0 = prediction.x0
    return expand(q_s.alpha, x0) * x0 + expand(q_s.sigma, x0) * prediction.eps


@dataclass(frozen=True)
class Form:
    """The half of the prediction that is taken for smooth in lambda, and interpolated."""

    name: str
    value: Callable[[Prediction], Tensor]
    sign: int

    def gain(self, q_s: Marginal, h: float) -> float:
        """The factor of the integral over u."""
        return float(-q_s.sigma if self.sign > 0 else q_s.alpha) * h


NOISE = Form("noise", lambda prediction: prediction.eps, sign=1)
"""The exponential form in eps: DPM-Solver and DEIS."""

DATA = Form("data", lambda prediction: prediction.x0, sign=-1)
"""The exponential form in x0: DPM-Solver++ and UniPC. Steadier under guidance and thresholds, which bound x0."""


def moment(a: float, k: int) -> float:
    """int_0^1 e^{a (1 - u)} u^k du  =  k! phi_{k+1}(a) of exponential integrators; 1 / (k + 1) at a = 0."""
    if abs(a) < 1:  # k! sum_j a^j / (j + k + 1)!, because the recursion below cancels
        return sum(a**j * math.factorial(k) / math.factorial(j + k + 1) for j in range(18))
    return math.expm1(a) / a if k == 0 else (k * moment(a, k - 1) - 1) / a


def weights(gain: float, a: float, nodes: Sequence[float]) -> list[float]:
    """w_j with sum_j w_j (m_j - m_0) = gain int_0^1 e^{a (1 - u)} (p(u) - m_0) du; p interpolates m_0 at 0, m_j at u_j.

    The rule is exact for u, u^2, ..., u^n: sum_j w_j u_j^k = gain moment_k.
    """
    powers = range(1, len(nodes) + 1)
    matrix = torch.tensor([[u**k for u in nodes] for k in powers], dtype=torch.float64)
    right = torch.tensor([gain * moment(a, k) for k in powers], dtype=torch.float64)
    solution: list[float] = torch.linalg.solve(matrix, right).tolist() if nodes else []
    return solution


def differences(weights: Sequence[float], values: Sequence[Tensor], origin: Batch) -> Batch:
    """sum_j w_j (m_j - m_0)."""
    total = torch.zeros_like(origin)
    for weight, value in zip(weights, values, strict=True):
        total = total + weight * (value - origin)
    return total


def remember(history: History, place: float, value: Tensor, keep: int) -> History:
    """The history with one evaluation more, cut to the ``keep`` newest; an evaluation at pure noise has no place."""
    return ((place, value), *history)[:keep] if math.isfinite(place) else ()
