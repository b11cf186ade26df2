"""The variational bound on the negative log-likelihood, term by term.

Ho et al. 2020, eq. 5; Nichol & Dhariwal 2021, eq. 4-7.

-log p(x0) <= L_T + sum_{t > 1} L_{t-1} + L_0

L_T     = KL(q(x_T | x0) || N(0, I))                      no network in it
L_{t-1} = KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t))
L_0     = -log p(x0 | x_1), the discretised decoder for integer data, a density for float data

Terms are means over a sample's elements, in nats per dimension; divide by log 2 for bits.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import (
    Batch,
    discretised_log_likelihood,
    expand,
    kl,
    posterior,
    posterior_mean,
    q_sample,
)
from undiffuse.diffusion.masking import kept, mean_over
from undiffuse.diffusion.reverse_step import Variance, reverse_log_variance, reverse_mean
from undiffuse.diffusion.schedules import DiscreteSchedule, Schedule
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.devices import send


def chain_of(schedule: Schedule) -> DiscreteSchedule:
    """The schedule, if it is a discrete chain: the bound is one of the chain's steps.

    Raises:
        UndiffuseError: if it is not.
    """
    if not isinstance(schedule, DiscreteSchedule):
        raise UndiffuseError(
            "The variational bound is that of a discrete chain, and this model's process is continuous: "
            "use the probability-flow ODE, `method=ode`"
        )
    return schedule


def bound_values(
    prediction: Prediction,
    schedule: DiscreteSchedule,
    x0: Batch,
    x_t: Batch,
    t: Float[Tensor, "batch"],
    variance: Variance,
    levels: int | None = 256,
) -> Batch:
    """The part of each value in L_{t-1} where t > 1 and in L_0 where t = 1, nats, of one prediction at x_t.

    Args:
        prediction: of a denoiser at (x_t, t).
        x0: on the grid of ``levels`` values in [-1, 1], if there is one.
        t: whole numbers in 1..T.
        variance: of the model's step.
        levels: 2^bits of integer data; None for continuous data, whose decoder is a density.
    """
    q_s, q_t = schedule(t - 1), schedule(t)
    post = posterior(q_s, q_t)
    # beta-tilde of t = 1 is 0: the decoder takes that of t = 2 (-9.8167 in logs on the linear chain).
    first, second = (schedule(torch.tensor(float(k), dtype=torch.float64)) for k in (1, min(2, schedule.T)))
    floor = posterior(first, second).variance if schedule.T > 1 else first.sigma**2
    mean = reverse_mean(prediction, x_t, q_s, q_t)
    log_variance = reverse_log_variance(variance, prediction, q_s, q_t, floor)

    decoding = t == 1
    true_mean = posterior_mean(x0, x_t, post)
    true_log_variance = expand(post.variance.clamp(min=floor).log(), x_t)
    divergence = kl(true_mean, true_log_variance, mean, log_variance)
    if not decoding.any():
        return divergence
    if levels is None:
        log_p = -0.5 * (math.log(2 * math.pi) + log_variance + (x0 - mean) ** 2 / log_variance.exp())
    else:
        log_p = discretised_log_likelihood(x0, mean, 0.5 * log_variance, levels)
    decoding = send(decoding, x0.device).reshape(-1, *[1] * (x0.ndim - 1))
    return torch.where(decoding, -log_p.to(divergence.dtype), divergence)


def prior_term(schedule: DiscreteSchedule, x0: Batch, mask: Tensor | None = None) -> Float[Tensor, "batch"]:
    """L_T = KL(q(x_T | x0) || N(0, I)), nats per dimension."""
    q_T = schedule(torch.tensor(schedule.t_max, dtype=torch.float64))
    mean = expand(q_T.alpha, x0) * kept(x0, mask)
    zero = torch.zeros((), dtype=x0.dtype, device=x0.device)
    return mean_over(kl(mean, expand(2 * q_T.sigma.log(), x0), zero, zero), mask)


def bound_terms(
    denoiser: Denoiser,
    x0: Batch,
    t: Float[Tensor, "batch"],
    eps: Batch,
    variance: Variance = "small",
    levels: int | None = 256,
    mask: Tensor | None = None,
) -> Float[Tensor, "batch"]:
    """The term of the bound at t for x_t = alpha x0 + sigma eps, nats per dimension that counts."""
    chain, x0, eps = chain_of(denoiser.schedule), kept(x0, mask), kept(eps, mask)
    x_t = q_sample(x0, eps, chain(t))
    return mean_over(bound_values(denoiser(x_t, t), chain, x0, x_t, t, variance, levels), mask)
