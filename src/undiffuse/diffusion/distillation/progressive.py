"""Progressive distillation: the student takes in one step the way that its teacher takes in two.

Salimans & Ho 2022, https://arxiv.org/abs/2202.00512, algorithm 2. With its student as the next teacher the number of
steps halves from stage to stage: 16, 8, 4, 2, 1. A student without error draws the teacher's own DDIM samples, so those
of many steps bound what it can reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.distillation.moves import implied, move
from undiffuse.diffusion.distillation.teacher import UNTIL, Scales, ask, scale_rows
from undiffuse.diffusion.distillation.times import Walk, at, position
from undiffuse.diffusion.gaussian import Batch
from undiffuse.diffusion.losses.simple import Objective, noise_and_predict
from undiffuse.diffusion.masking import kept
from undiffuse.diffusion.schedules import Schedule


@dataclass(frozen=True)
class Progressive:
    """The distance between the student's (x0, eps) and the pair that ``stride`` DDIM steps of the teacher imply.

    t is one of the student's times, every ``stride``-th of the teacher's (`OnGrid`).

    Args:
        objective: the distance, in the student's own space.
        teacher: as its samples are drawn. A clipped teacher's x~ lies in [-1, 1] as well: it is a mean of its x0.
        walk: the teacher's times.
        stride: the teacher's steps for one of the student's.
        scales: guidance that stays a choice; None where the teacher's is fixed.
    """

    objective: Objective
    teacher: Denoiser
    walk: Walk
    stride: int = 2
    scales: Scales | None = None

    def draw(
        self, schedule: Schedule, t: Float[Tensor, "batch"], progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        return scale_rows(self.scales, len(t), generator)

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Batch,
        t: Float[Tensor, "batch"],
        eps: Batch,
        conditions: Mapping[str, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Float[Tensor, "batch"]:
        x0, eps = kept(x0, mask), kept(eps, mask)
        schedule = denoiser.schedule
        x_t, prediction = noise_and_predict(denoiser, x0, t, eps, conditions)
        times = [at(self.walk, position(self.walk, t) + k) for k in range(self.stride + 1)]
        x_s = follow(self.teacher, x_t, times, conditions, mask)
        target_x0, target_eps = implied(x_t, x_s, schedule(t), schedule(times[-1]))
        return self.objective.error(prediction, schedule, target_x0, t, target_eps, mask)


def follow(
    denoiser: Denoiser,
    x: Batch,
    times: list[Float[Tensor, "batch"]],
    conditions: Mapping[str, Tensor] | None,
    mask: Tensor | None = None,
    tells_end: bool = False,
) -> Batch:
    """x at the last of ``times``, by DDIM steps from the first, without gradients.

    Args:
        mask: what does not count is 0 after each step, as in every x that a network is asked at.
        tells_end: the denoiser is told `until`, the time at which a step ends.
    """
    told = dict(conditions or {})
    for t, s in pairwise(times):
        x = kept(move(ask(denoiser, x, t, told | {UNTIL: s} if tells_end else told), denoiser.schedule(s)), mask)
    return x
