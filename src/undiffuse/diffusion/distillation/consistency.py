"""Consistency: the student's x0 is the same from every point of a way, f(x_t, t) = f(x_s, s), and f(x, 0) = x.

    loss = w (sqrt(|f(x_t, t) - sg f(x_s, s)|^2 / d + c^2) - c)

With a teacher, x_s is its DDIM step from x_t (consistency distillation, Song et al. 2023,
https://arxiv.org/abs/2303.01469). Without one, x_s = alpha_s x0 + sigma_s eps of the same x0 and eps: its mean given
x_t is that very step, and the rest of it a bias that vanishes as s comes near t (consistency training; Geng et al.
2024, https://arxiv.org/abs/2406.14548, let s come near t as the training goes on, and start from a diffusion model).

The target passes no gradient, or all would collapse to a constant. The distance is that of pseudo-Huber on the whole
sample, which minds outliers less (Song & Dhariwal 2023, https://arxiv.org/abs/2310.14189).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.distillation.progressive import follow
from undiffuse.diffusion.distillation.teacher import EARLIER, Scales, ask, scale_rows
from undiffuse.diffusion.distillation.times import Walk, at, position, trained_times
from undiffuse.diffusion.gaussian import Batch, q_sample
from undiffuse.diffusion.guidance.threshold import Clip
from undiffuse.diffusion.losses.simple import noise_and_predict, overshoots
from undiffuse.diffusion.masking import kept, mean_over
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.devices import send


@runtime_checkable
class Earlier(Protocol):
    """The time s < t at which the student is asked for its target."""

    def __call__(self, schedule: Schedule, t: Float[Tensor, "batch"], progress: float) -> Float[Tensor, "batch"]: ...


@dataclass(frozen=True)
class Neighbors:
    """s is the next time of a walk, of which t is one."""

    walk: Walk

    def __call__(self, schedule: Schedule, t: Float[Tensor, "batch"], progress: float) -> Float[Tensor, "batch"]:
        return at(self.walk, position(self.walk, t) + 1)


@dataclass(frozen=True)
class Annealed:
    """s comes near t in stages (Geng et al. 2024, section 3.2), with r = sigma / alpha:

    r_s = r_t max(0, 1 - q^-(k + 1) (1 + 8 sigmoid(-r_t))),   k = 0, 1, ..: the stage of the training

    Args:
        q: what the gap is divided by from stage to stage.
        stages: of equal length.
        gap: s is about this part of the process earlier or more, and never t itself. A network was never asked between
            the times that it learned, and next to each other its answers differ by what its time embedding does there.
    """

    q: float = 2.0
    stages: int = 8
    gap: float = 0.004

    def __call__(self, schedule: Schedule, t: Float[Tensor, "batch"], progress: float) -> Float[Tensor, "batch"]:
        stage = min(int(progress * self.stages), self.stages - 1)
        q_t = schedule(t)
        ratio = q_t.sigma / q_t.alpha
        share = (1 - self.q ** -(stage + 1.0) * (1 + 8 * torch.sigmoid(-ratio))).clamp(min=0)
        s = schedule.inverse_log_snr(-2 * (ratio * share).log())  # 0 where the share is 0
        s = torch.minimum(s, t - max(self.gap * schedule.t_max, schedule.t_min))
        return torch.where(s < schedule.t_min, 0.0, trained_times(schedule, s))


@dataclass(frozen=True)
class Consistency:
    """See the head of this file.

    Args:
        earlier: where the student is asked for its target.
        teacher: who steps there, as its samples are drawn; None: the data do.
        c: of pseudo-Huber, for the root mean square over a sample's values; positive, for at an error of 0 the square
            root alone has no slope.
        weighting: w is 1 over the distance of the two noise levels, in r = sigma / alpha ('ratio', Geng et al.) or in
            atan r ('angle'), which does not fade towards pure noise. For 16 steps of a cosine chain the first weight
            is a 200,000th of the last by 'ratio', and as large as that by 'angle'.
        clipped: the target is clipped to [-1, 1], as samples are; where it lies at an end, to overshoot that end costs
            nothing.
        scales: guidance that stays a choice; None where the teacher's is fixed.
    """

    earlier: Earlier
    teacher: Denoiser | None = None
    c: float = 0.00054
    weighting: Literal["ratio", "angle"] = "ratio"
    clipped: bool = True
    scales: Scales | None = None

    def __post_init__(self) -> None:
        if self.c <= 0:
            raise UndiffuseError(f"The c of a pseudo-Huber distance is positive; it is {self.c:g}")

    def draw(
        self, schedule: Schedule, t: Float[Tensor, "batch"], progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        return {EARLIER: self.earlier(schedule, t, progress)} | scale_rows(self.scales, len(t), generator)

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
        s = told.pop(EARLIER).to(t)
        q_t, q_s = schedule(t), schedule(s)
        x_t, prediction = noise_and_predict(denoiser, x0, t, eps, told)
        x_s = q_sample(x0, eps, q_s) if self.teacher is None else follow(self.teacher, x_t, [t, s], told, mask)
        target = ask(Clip(denoiser) if self.clipped else denoiser, x_s, s, told).x0  # x_s itself where s = 0
        squares = (prediction.x0 - target).square()
        if self.clipped:
            squares = squares.masked_fill(overshoots(prediction.x0, target), 0)
        error = (mean_over(squares, mask) + self.c**2).sqrt() - self.c
        ratio_t, ratio_s = q_t.sigma / q_t.alpha, q_s.sigma / q_s.alpha
        weight = 1 / (ratio_t - ratio_s if self.weighting == "ratio" else ratio_t.atan() - ratio_s.atan())
        return send(weight.to(error.dtype), error.device) * error
