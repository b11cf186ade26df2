"""Regression: the student takes the teacher's own walk from the same noise, in fewer steps.

Luhman & Luhman 2021, https://arxiv.org/abs/2101.02388, with walks drawn anew in every step in place of a store of
pairs, and with steps in between. The points are those of the teacher's walk and not noised data, so no data are needed.
The walk may be by any sampler that adds no noise: by a solver of high order, too, whose few steps end better than
DDIM's and cannot be halved, since they depend on those before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.distillation.moves import implied
from undiffuse.diffusion.distillation.teacher import Scales, scale_rows
from undiffuse.diffusion.distillation.times import Walk, position
from undiffuse.diffusion.gaussian import Batch
from undiffuse.diffusion.guidance.conditioned import Conditioned
from undiffuse.diffusion.losses.simple import Objective
from undiffuse.diffusion.masking import kept
from undiffuse.diffusion.schedules import Schedule
from undiffuse.diffusion.trajectory import Noise, Sampler
from undiffuse.runtime.devices import send


@dataclass(frozen=True)
class Regression:
    """The distance between the student's (x0, eps) at a point of the teacher's walk and the pair that leads to a later.

    t is one of the student's times, every k-th of the teacher's (`OnGrid`); x0 of the data is not used.

    Args:
        objective: the distance, in the student's own space.
        teacher: as its samples are drawn.
        sampler: of the teacher's walk, without noise.
        walk: the teacher's times.
        steps: of the student; they divide the teacher's.
        scales: guidance that stays a choice; None where the teacher's is fixed.
    """

    objective: Objective
    teacher: Denoiser
    sampler: Sampler[Any]
    walk: Walk
    steps: int
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
        schedule, told = denoiser.schedule, dict(conditions or {})
        stride = len(self.walk) // self.steps
        noise = kept(eps, mask) * schedule.prior_std
        points = points_of(self.teacher, self.sampler, self.walk, noise, told, mask)[::stride]
        step = send(position(self.walk[::stride], t), eps.device)
        rows = torch.arange(len(eps), device=eps.device)
        x_t, x_s = points[step, rows], points[step + 1, rows]
        s = torch.tensor((*self.walk[::stride], 0.0), dtype=torch.float64)[step.cpu() + 1]
        target_x0, target_eps = implied(x_t, x_s, schedule(t), schedule(s))
        return self.objective.error(denoiser(x_t, t, **told), schedule, target_x0, t, target_eps, mask)


@torch.no_grad()
def points_of(
    teacher: Denoiser,
    sampler: Sampler[Any],
    walk: Walk,
    x: Batch,
    told: Mapping[str, Tensor] | None = None,
    mask: Tensor | None = None,
) -> Float[Tensor, "points batch *shape"]:
    """A teacher's walk to data from x, both ends too; it sees 0 wherever nothing counts, at every point."""
    times = torch.tensor((*walk, 0.0), dtype=torch.float64)
    teacher, silent = Conditioned(teacher, told or {}), Noise(0, ())  # a sampler without noise asks for none
    points, state = [x], sampler.init()
    for t, s in pairwise(times):
        x, state = sampler.step(teacher, x, t, s, state, silent)
        points.append(x := kept(x, mask))
    return torch.stack(points)
