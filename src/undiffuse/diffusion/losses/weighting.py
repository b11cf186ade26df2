"""How much each noise level counts in the loss.

The papers state their weights for different losses. All losses here are of one family: an error e in x0 is an error e
alpha/sigma in eps, and an error (p - q alpha/sigma) e in the row's F = p x0 + q eps. So a weight stated for the squared
error of x0 becomes one of F when divided by (p - q alpha/sigma)^2, which is SNR for eps and SNR + 1 for v.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.gaussian import Marginal, posterior, transition
from undiffuse.diffusion.parameterization import Parameterization
from undiffuse.diffusion.schedules import DiscreteSchedule, Schedule
from undiffuse.errors import UndiffuseError


@runtime_checkable
class Weighting(Protocol):
    def weight(self, schedule: Schedule, t: Float[Tensor, "batch"], space: Parameterization) -> Float[Tensor, "batch"]:
        """The factor on the squared error of ``space``'s F at times t, float64."""
        ...


def squared_gain(q_t: Marginal, space: Parameterization) -> Float[Tensor, "batch"]:
    """(p - q alpha / sigma)^2: the squared error of F that a unit error of x0 makes."""
    return (space.determinant(q_t) / q_t.sigma) ** 2  # alpha q - sigma p = -sigma (p - q alpha / sigma)


@dataclass(frozen=True)
class UniformWeight:
    """1 for the squared error of whatever the network predicts: L_simple where that is eps (Ho et al. 2020, eq. 14)."""

    def weight(self, schedule: Schedule, t: Float[Tensor, "batch"], space: Parameterization) -> Float[Tensor, "batch"]:
        return torch.ones_like(t)


@dataclass(frozen=True)
class MinSNR:
    """min(SNR, gamma) for the squared error of x0 (Hang et al. 2023, eq. 6, https://arxiv.org/abs/2303.09556)."""

    gamma: float = 5.0

    def weight(self, schedule: Schedule, t: Float[Tensor, "batch"], space: Parameterization) -> Float[Tensor, "batch"]:
        q_t = schedule(t)
        return q_t.snr.clamp(max=self.gamma) / squared_gain(q_t, space)


@dataclass(frozen=True)
class P2:
    """1 / (k + SNR)^gamma for the squared error of eps (Choi et al. 2022, eq. 8, https://arxiv.org/abs/2204.00227)."""

    gamma: float = 1.0
    k: float = 1.0

    def weight(self, schedule: Schedule, t: Float[Tensor, "batch"], space: Parameterization) -> Float[Tensor, "batch"]:
        q_t = schedule(t)
        return q_t.snr / (self.k + q_t.snr) ** self.gamma / squared_gain(q_t, space)


@dataclass(frozen=True)
class VLB:
    """The weight of the variational bound with the large variance beta (Ho et al. 2020, eq. 8, 12), nats per dimension.

    KL_t = c^2 / (2 beta) (x0 - predicted x0)^2, with c the weight of x0 in the posterior mean. The small variance would
    make the term at t = 1 infinite. In units of eps's error it is beta / (2 (1 - beta) (1 - alpha-bar)).
    """

    def weight(self, schedule: Schedule, t: Float[Tensor, "batch"], space: Parameterization) -> Float[Tensor, "batch"]:
        if not isinstance(schedule, DiscreteSchedule):
            raise UndiffuseError(
                "The weight 'vlb' is that of a discrete chain; use `weighting=uniform` with this schedule"
            )
        q_s, q_t = schedule(t - 1), schedule(t)
        beta = transition(q_s, q_t).sigma ** 2
        return posterior(q_s, q_t).x0_weight ** 2 / (2 * beta) / squared_gain(q_t, space)
