"""The likelihood of images by the probability-flow ODE: a change of variables from data to noise.

Song et al. 2021, "Score-Based Generative Modeling through SDEs", section 4.3 and eq. 39,
https://arxiv.org/abs/2011.13456. The ODE that carries data to noise is invertible, so along its path

    log p_0(x(0)) = log p_1(x(1)) + integral of div(dx/ds) ds.

The variables. With m = sqrt(alpha^2 + sigma^2), v = x_t / m, c = alpha / m and the log-SNR l as the time,

    dv/dl     = c/2 (x0_hat - c v)
    div dv/dl = c/2 (div_v x0_hat - c D)

for any schedule: this is dx/dt = f x - g^2/2 score (their eq. 13), with the score written by the x0 prediction. Why so:

* v stays of the data's size on every process, variance-exploding ones too.
* Where data are flat at the noise's scale, such as an image's black ground, div is a constant -c^2/2 an element: even
  steps in l, where t or sigma/alpha would need ever smaller ones. At the noise end everything falls off as exp(l).
* The part -c^2 D is exact. What must be estimated, div_v x0_hat, is small where x0_hat is smooth.

The trace of the Jacobian J of x0_hat is Hutchinson's estimate, the mean of e'J e over probes e with unit covariance. A
Rademacher e (signs) has variance 2 sum_{i != j} J_ij^2, a Gaussian one also pays for the diagonal.

The gap. A network knows no time before t_min (1 on a chain), so the density is that of the model which stops there and
scales up, x_{t_min} / alpha. It is an honest density of the data; but it has no detail below sigma_{t_min} / alpha,
and where data are exactly constant it cannot pay less than log2(sqrt(2 pi) sigma/alpha / w) bits for bins of width w.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.dormand_prince import PLAIN, State, Tolerance, integrate
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.masking import kept, share
from undiffuse.diffusion.schedules import Schedule
from undiffuse.runtime.random_streams import generator

Probe = Literal["rademacher", "gaussian"]
LOWEST_LOG_SNR = -20.0
"""Where processes end that reach pure noise or come very near: the data's share of the variance is 2e-9 there."""


@dataclass(frozen=True)
class Density:
    """-log p of each image, one value a probe, nats per dimension in model space; evaluations of the network."""

    values: Float[Tensor, "images probes"]
    evaluations: Int[Tensor, "images"]

    @property
    def total(self) -> Float[Tensor, "images"]:
        return self.values.mean(1)

    @property
    def error(self) -> Float[Tensor, "images"]:
        """Standard error of `total` from the probes; NaN for a single one."""
        probes = self.values.shape[1]
        return self.values.std(1) / math.sqrt(probes) if probes > 1 else torch.full_like(self.total, math.nan)


def draw_probes(
    shape: Sequence[int], indices: Sequence[int], count: int, kind: Probe = "rademacher", seed: int = 0
) -> Float[Tensor, "images probes *shape"]:
    """Probes with mean 0 and unit covariance, from one stream an image."""
    streams = [generator(seed, "probe", index) for index in indices]
    if kind == "gaussian":
        return torch.stack([torch.randn(count, *shape, generator=stream) for stream in streams])
    return torch.stack([2.0 * torch.randint(2, (count, *shape), generator=stream) - 1 for stream in streams])


def dequantise(
    x0: Float[Tensor, "images *shape"], indices: Sequence[int], width: float, seed: int = 0
) -> Float[Tensor, "images *shape"]:
    """Spread each integer evenly over its bin, x0 + w (u - 1/2), from one stream an image.

    With it the density bounds the probability, -log P(x0) <= E_u[-log p(x0 + w (u - 1/2)) - log w] (Theis et al. 2016,
    https://arxiv.org/abs/1511.01844, section 3.1). Width 0 leaves floats as they are.
    """
    if not width:
        return x0
    streams = [generator(seed, "dequantise", index) for index in indices]
    noise = torch.stack([torch.rand(x0.shape[1:], generator=stream) for stream in streams]).to(x0)
    return x0 + width * (noise - 0.5)


def density_of(
    denoiser: Denoiser,
    x0: Float[Tensor, "images *shape"],
    probes: Float[Tensor, "images probes *shape"],
    *,
    mask: Tensor | None = None,
    tolerance: Tolerance = PLAIN,
    t_min: float | None = None,
    on_done: Callable[[int], object] = lambda count: None,
) -> Density:
    """-log p(x0) per dimension under the probability-flow ODE.

    Args:
        denoiser: on any process; x0 predictions must be differentiable almost everywhere, as clipped ones are.
        x0: in model space, dequantised if it was integers.
        mask: 1 where a value counts; all do by default. The others are held at 0, where the noise has none either.
        tolerance: of v and of the integral per dimension, each step.
        t_min: where the model stops; the schedule's own by default.
        on_done: told the number of images that arrived at the noise.

    Raises:
        UndiffuseError: numbers that are not finite, or a tolerance that cannot be met.
    """
    schedule = denoiser.schedule
    first = torch.tensor(schedule.t_min if t_min is None else t_min, dtype=torch.float64)
    end = torch.tensor(schedule.t_max, dtype=torch.float64)
    start_snr = float(schedule.log_snr(first))
    end_snr = max(float(schedule.log_snr(end)), LOWEST_LOG_SNR)
    x0, probes = kept(x0, mask), kept(probes.to(x0), None if mask is None else mask[:, None])
    dimensions, counted = x0[0].numel(), torch.as_tensor(share(x0, mask)).expand(len(x0))[:, None].to(x0)

    def velocity(rows: Tensor, log_snr: Tensor, state: State) -> State:
        t = schedule.inverse_log_snr(log_snr).clamp(first, end)
        c, m = _direction(schedule, t)
        with torch.enable_grad():
            v = state[0].detach().requires_grad_()
            predicted = denoiser(expand(m, v) * v, t).x0
            trace = _traces(predicted, v, probes[rows])
        half_c = expand(0.5 * c, v)
        slope = kept(half_c * (predicted.detach() - expand(c, v) * state[0]), None if mask is None else mask[rows])
        divergence = expand(0.5 * c, trace) * (trace / dimensions * counted[rows] - expand(c, trace))
        return slope, divergence

    c, _ = _direction(schedule, first)
    (v, integral), evaluations = integrate(
        velocity, (float(c) * x0, x0.new_zeros(probes.shape[:2])), start_snr, end_snr, tolerance, on_done
    )
    # The prior of x_T is N(0, prior_std^2 I), and before T it has the noise's share of that. v is x_t / m.
    last = schedule.inverse_log_snr(torch.tensor(end_snr, dtype=torch.float64))
    std = schedule.prior_std * float(schedule(last).sigma / schedule(end).sigma / torch.hypot(*schedule(last)))
    square = v.cpu().double().flatten(1).square().mean(1, keepdim=True) * counted.cpu().double()
    at_noise = 0.5 * (square / std**2 + math.log(2 * math.pi * std**2))
    # v = c x0 at the start: p(x0) = c^D p(v).
    return Density(at_noise - integral.cpu().double() - math.log(float(c)), evaluations)


def _direction(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """c = alpha / m and m = sqrt(alpha^2 + sigma^2)."""
    alpha, sigma = schedule(t)
    m = torch.hypot(alpha, sigma)
    return alpha / m, m


def _traces(output: Tensor, v: Tensor, probes: Tensor) -> Float[Tensor, "images probes"]:
    """e'J e for each probe, J = d output / d v: one backward pass a probe."""
    estimates = []
    for k in range(probes.shape[1]):
        e = probes[:, k]
        (product,) = torch.autograd.grad((output * e).sum(), v, retain_graph=k + 1 < probes.shape[1])
        estimates.append((product * e).flatten(1).sum(1))
    return torch.stack(estimates, dim=1)
