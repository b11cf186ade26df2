"""Distribution matching: the student's samples, not its walks, become those of the teacher.

Let p be the distribution of the teacher's samples, q that of the student's, and both be noised to a time t. Their
Kullback-Leibler divergence falls fastest where the sample moves along the difference of the two scores, which two
denoisers know: the teacher, and a *critic* that learns to denoise what the student draws. With x a sample of the
student, x_t = alpha_t x + sigma_t z:

    g      = (x0_critic(x_t) - x0_teacher(x_t)) / mean |x - x0_teacher(x_t)|
    loss   = 1/2 |x - sg(x - g)|^2        + the critic's own loss of noise in sg(x)

(Yin et al. 2024, https://arxiv.org/abs/2311.18828, eq. 7-8, and https://arxiv.org/abs/2405.14867 for several steps.)
The scores differ by alpha / sigma^2 times what their x0 do, and that factor goes into the weight of eq. 8, whose
divisor is 1e-3 at least here; |.|^2 is the mean over a sample's values. No walk of the teacher bounds this student: it
may draw better than its teacher does by a deterministic sampler. Neither part of the loss measures quality, for both
chase a target that moves.

A student of several steps takes the ones before in its own way, with new noise after each, and learns in one of them.
The critic is told between which times that step lies: one that is not knows the mixture of all steps' samples alone,
and moves each of them against the others' faults. A chase forgets rare samples, so some batches learn where the
teacher's walk ends instead, from the same point (`Regression`, from the student's own points). By min-SNR weights these
count the less the more noise there is, and from pure noise not at all: a step from there learns by the scores alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.distillation.moves import implied
from undiffuse.diffusion.distillation.regression import points_of
from undiffuse.diffusion.distillation.teacher import SINCE, UNTIL, Scales, ask, scale_rows
from undiffuse.diffusion.distillation.times import Walk, trained_times
from undiffuse.diffusion.gaussian import Batch, q_sample
from undiffuse.diffusion.guidance.conditioned import Conditioned
from undiffuse.diffusion.guidance.threshold import Clip
from undiffuse.diffusion.losses.simple import Objective
from undiffuse.diffusion.losses.time_sampling import TimeLaw
from undiffuse.diffusion.masking import kept, mean_over
from undiffuse.diffusion.schedules import Schedule
from undiffuse.diffusion.trajectory import Noise, Sampler

CHASES, STEPS, OWN_STEP, CRITIC_TIME, STREAM = "chases", "steps", "own step", "critic's time", "stream of noise"
"""What is drawn besides: whether the scores lead or the teacher's walk, how many steps the student takes, which of them
learns, the critic's t, a number of each sample's noise."""
STREAMS = 1 << 52
"""Numbers of streams, whole in float64."""


@dataclass(frozen=True)
class Between(TimeLaw):
    """t / t_max ~ U[low, high]: at the ends of the process the two scores tell nothing of each other."""

    low: float = 0.02
    high: float = 0.98

    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Float[Tensor, "batch"]:
        u = torch.rand(batch, generator=generator, dtype=torch.float64)
        return trained_times(schedule, schedule.t_max * (self.low + (self.high - self.low) * u))


@dataclass(frozen=True)
class DistributionMatching:
    """See the head of this file; x0 of the data is not used, and t is where both scores are asked (`Between`).

    Args:
        objective: the critic's, and the distance from where the teacher goes, both with its weights. At pure noise
            those of `MinSNR` are its SNR, 2e-9 at the end of a cosine chain; with a weight of 1 there a student of one
            step learned the mean of the walks' ends and lost variety (docs/develop/lab-notes.md).
        teacher: as its samples are drawn.
        critic: a denoiser whose network learns with the student's, and is told `SINCE` and `UNTIL` of several steps.
        walk: the student's times where it takes the most steps.
        steps: in how many it draws; fewer than the most are every second, fourth, ... of its times.
        teacher_walk: the teacher's times; the student's are among them.
        sampler: of the teacher's walk, without noise.
        matched: part of the batches that learn by the scores; the others learn by the teacher's walk.
        clipped: samples are clipped to [-1, 1], between the steps and where the critic learns.
        scales: guidance that stays a choice; None where the teacher's is fixed.
    """

    objective: Objective
    teacher: Denoiser
    critic: Denoiser
    walk: Walk
    steps: tuple[int, ...]
    teacher_walk: Walk
    sampler: Sampler[Any]
    matched: float
    clipped: bool = True
    scales: Scales | None = None

    def draw(
        self, schedule: Schedule, t: Float[Tensor, "batch"], progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        # One for all of a batch: no process asks more than others.
        chases = torch.rand((), generator=generator, dtype=torch.float64) < self.matched
        # Each step of each walk as often: a walk of more has more to learn.
        steps = self.steps[int(torch.multinomial(torch.tensor(self.steps).double(), 1, generator=generator))]
        step = torch.randint(steps, (), generator=generator)
        u = torch.rand(len(t), generator=generator, dtype=torch.float64)
        streams = torch.randint(STREAMS, t.shape, generator=generator)
        rows = {
            CHASES: chases.double().expand(len(t)),
            STEPS: torch.full(t.shape, float(steps), dtype=torch.float64),
            OWN_STEP: step.double().expand(len(t)),
            CRITIC_TIME: schedule.from_uniform(u),
            STREAM: streams.double(),
        }
        return rows | scale_rows(self.scales, len(t), generator)

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Batch,
        t: Float[Tensor, "batch"],
        eps: Batch,
        conditions: Mapping[str, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Float[Tensor, "batch"]:
        told = dict(conditions or {})
        drawn = (told.pop(name).cpu().double() for name in (CHASES, STEPS, OWN_STEP, CRITIC_TIME, STREAM))
        chases, steps, step, critic_t, streams = drawn
        walk = (*self.walk[:: len(self.walk) // int(steps[0])], 0.0)[: int(step[0]) + 2]
        noise = Noise(0, [int(stream) for stream in streams], eps.device)
        x_t = self._point(denoiser, eps * denoiser.schedule.prior_std, walk[:-1], noise, told, mask)
        since, until = (torch.full((len(eps),), time, dtype=torch.float64) for time in walk[-2:])
        prediction = denoiser(x_t, since, **told)
        x = kept(prediction.x0, mask)
        critic = Conditioned(self.critic, {SINCE: since, UNTIL: until}) if len(self.walk) > 1 else self.critic
        if chases[0]:
            loss = self._chase(critic, x, t, kept(noise.like(x), mask), told, mask)
        else:
            loss = self._follow(prediction, x_t, since, told, mask)
        sample, z = self._kept_in_range(x.detach()), kept(noise.like(x), mask)
        return loss + self.objective(critic, sample, critic_t, z, told, mask)

    def _point(
        self, denoiser: Denoiser, x: Batch, times: Walk, noise: Noise, told: Mapping[str, Tensor], mask: Tensor | None
    ) -> Batch:
        """x_t of the student's own walk at the last of some times."""
        x, rows = kept(x, mask), torch.ones(len(x), dtype=torch.float64)
        for t, s in pairwise(times):
            before = kept(self._kept_in_range(ask(denoiser, x, t * rows, told).x0), mask)
            x = q_sample(before, kept(noise.like(x), mask), denoiser.schedule(s * rows))
        return x

    def _follow(
        self,
        prediction: Prediction,
        x_t: Batch,
        t: Float[Tensor, "batch"],
        told: Mapping[str, Tensor],
        mask: Tensor | None,
    ) -> Float[Tensor, "batch"]:
        """How far a prediction is from the pair that leads to where the teacher goes from x_t."""
        schedule = self.teacher.schedule
        walk = tuple(time for time in self.teacher_walk if time <= float(t[0]))
        end = points_of(self.teacher, self.sampler, walk, x_t, told, mask)[-1]
        target_x0, target_eps = implied(x_t, end, schedule(t), schedule(0 * t))
        return self.objective.error(prediction, schedule, target_x0, t, target_eps, mask)

    def _chase(
        self,
        critic: Denoiser,
        x: Batch,
        t: Float[Tensor, "batch"],
        z: Batch,
        told: Mapping[str, Tensor],
        mask: Tensor | None,
    ) -> Float[Tensor, "batch"]:
        """1/2 |x - sg(x - g)|^2, whose gradient is along g: see the head of this file."""
        with torch.no_grad():
            x_t = q_sample(x, z, self.teacher.schedule(t))
            real = self.teacher(x_t, t, **told).x0
            fake = (Clip(critic) if self.clipped else critic)(x_t, t, **told).x0
            size = mean_over((x - real).abs(), mask).clamp(min=1e-3)
            target = x - (fake - real) / size.reshape(-1, *[1] * (x.ndim - 1))
        return 0.5 * mean_over((x - target).square(), mask)

    def _kept_in_range(self, x: Batch) -> Batch:
        return x.clamp(-1, 1) if self.clipped else x
