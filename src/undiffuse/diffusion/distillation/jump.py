"""Jumps: one student that is told where its step ends, for 1, 2, 4 or 8 steps with one set of weights.

    G(x_t, t, s) = alpha_s x~ + sigma_s e~,   (x~, e~) = student(x_t, t, until=s)

A jump should be two jumps of half its length, G(x_t, t, s) = G(G(x_t, t, m), m, s), and the shortest ones the teacher's
DDIM steps: the shortcut models of Frans et al. 2024 (https://arxiv.org/abs/2410.12557), whose shortest steps come from
data, learned from a teacher instead. All lengths are learned at once, the longer ones from the shorter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.distillation.moves import implied
from undiffuse.diffusion.distillation.progressive import follow
from undiffuse.diffusion.distillation.teacher import UNTIL, Scales, scale_rows
from undiffuse.diffusion.distillation.times import OnGrid, Walk, at, position
from undiffuse.diffusion.gaussian import Batch
from undiffuse.diffusion.guidance.threshold import Clip
from undiffuse.diffusion.losses.simple import Objective, noise_and_predict
from undiffuse.diffusion.masking import kept
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.devices import send


def jump_law(walk: Walk, counts: Sequence[int]) -> OnGrid:
    """The law of t: each jump of each count equally often, so that those of the longest walk are learned as well."""
    starts = range(0, len(walk), len(walk) // max(counts))
    shares = [float(sum(k % (len(walk) // count) == 0 for count in counts)) for k in starts]
    return OnGrid(tuple(walk[k] for k in starts), shares)


@dataclass(frozen=True)
class Jump:
    """The distance between the student's (x0, eps) and the pair that two jumps of half the length imply.

    Args:
        objective: the distance, in the student's own space.
        teacher: of the shortest jumps, as its samples are drawn.
        walk: the teacher's times.
        counts: numbers of jumps from noise to data, each twice another but the least, for each jump is learned from
            two of half its length; the largest divides the teacher's steps.
        clipped: x0 of the student's own jumps is clipped to [-1, 1], as when samples are drawn.
        scales: guidance that stays a choice; None where the teacher's is fixed.
    """

    objective: Objective
    teacher: Denoiser
    walk: Walk
    counts: tuple[int, ...]
    clipped: bool = True
    scales: Scales | None = None

    def __post_init__(self) -> None:
        steps, counts = len(self.walk), sorted(self.counts)
        if not counts or steps % counts[-1] or any(2 * a != b for a, b in pairwise(counts)):
            raise UndiffuseError(
                f"Numbers of jumps are each twice the one before, such as 1, 2, 4, and the largest divides the "
                f"{steps} steps of the teacher; got {', '.join(map(str, self.counts)) or 'none'}"
            )

    def draw(
        self, schedule: Schedule, t: Float[Tensor, "batch"], progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        first = position(self.walk, t)
        strides = torch.tensor([len(self.walk) // count for count in self.counts])
        there = (first[:, None] % strides == 0).double()  # of the counts that have a jump at t, each equally often
        chosen = torch.multinomial(there, 1, generator=generator)[:, 0]
        return {UNTIL: at(self.walk, first + strides[chosen])} | scale_rows(self.scales, len(t), generator)

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
        schedule, told = denoiser.schedule, dict(conditions or {})
        x_t, prediction = noise_and_predict(denoiser, x0, t, eps, told)
        s = told.pop(UNTIL).to(t)
        first, last = position(self.walk, t), position((*self.walk, 0.0), s)
        shortest = len(self.walk) // max(self.counts)
        long = last - first > shortest
        # Processes that share a network ask it equally often: one whose jumps are all short asks it in vain.
        halved = long if long.any() else torch.ones_like(long)
        steps = [first + k for k in range(shortest + 1)]
        jumper = Clip(denoiser) if self.clipped else denoiser
        x_s = torch.empty_like(x_t)
        for rows, who, places in ((halved, jumper, [first, (first + last) // 2, last]), (~long, self.teacher, steps)):
            if rows.any():
                here = {name: value[send(rows, value.device)] for name, value in told.items()}
                there = send(rows, x_t.device)
                times = [at(self.walk, place[rows]) for place in places]
                counts = None if mask is None else mask[send(rows, mask.device)]
                x_s[there] = follow(who, x_t[there], times, here, counts, tells_end=who is jumper)
        target_x0, target_eps = implied(x_t, x_s, schedule(t), schedule(s))
        return self.objective.error(prediction, schedule, target_x0, t, target_eps, mask)
