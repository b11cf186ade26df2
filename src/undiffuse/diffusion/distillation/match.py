"""Match: the student says at every t what the teacher says there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.distillation.teacher import Scales, ask, scale_rows
from undiffuse.diffusion.gaussian import Batch
from undiffuse.diffusion.losses.simple import Objective, noise_and_predict
from undiffuse.diffusion.masking import kept
from undiffuse.diffusion.schedules import Schedule


@dataclass(frozen=True)
class Match:
    """The distance between the student's (x0, eps) and the teacher's at the same x_t.

    It brings guidance into one evaluation (Meng et al. 2023, stage 1, https://arxiv.org/abs/2210.03142) and a network
    of one row into another: a student that predicts eps cannot take a long step, one that predicts v can.

    Args:
        objective: the distance, in the student's own space.
        teacher: as its samples are drawn: guided and clipped.
        scales: guidance that stays a choice; None where the teacher's is fixed.
    """

    objective: Objective
    teacher: Denoiser
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
        x_t, prediction = noise_and_predict(denoiser, x0, t, eps, conditions)
        target = ask(self.teacher, x_t, t, conditions)
        return self.objective.error(prediction, denoiser.schedule, target.x0, t, target.eps, mask)
