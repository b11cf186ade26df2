"""What a sampler costs and promises, and a way to check it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SamplerInfo:
    """One line about a sampler.

    Args:
        name: what the user types.
        order: order of convergence in the step size (of the output's distribution where the sampler is stochastic).
        evaluations_per_step: network evaluations that a step takes; None where the sampler decides as it goes.
        stochastic: whether it draws noise on the way.
        note: when to use it.
    """

    name: str
    order: int
    evaluations_per_step: int | None
    stochastic: bool
    note: str
