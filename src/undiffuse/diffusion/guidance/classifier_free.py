"""Away from one prediction and beyond another: the line that all guidance without a classifier walks on.

    D = D_weak + w (D_strong - D_weak)

of x0 and of eps alike (they are linear in each other at one x_t, so the two stay consistent). w = 1 is the strong
denoiser itself, w = 0 the weak one, and w > 1 goes beyond. What differs is who is weak:

    classifier-free   the same network without its condition     Ho & Salimans 2022, https://arxiv.org/abs/2207.12598
    negative          the same network under a condition to avoid
    autoguidance      a smaller or less trained network          Karras et al. 2024, https://arxiv.org/abs/2406.02507
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import Batch, Times, as_times
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.devices import send

Scale = float | Float[Tensor, "batch"]


@runtime_checkable
class GuidanceRule(Protocol):
    """The rule by which two predictions become one: with what is wanted, and without."""

    @property
    def scale(self) -> Scale:
        """How far guidance leads; 1 is the model as it is."""
        ...

    def active(self, schedule: Schedule, t: Float[Tensor, "*batch"]) -> bool:
        """Whether there is anything to do at one of the times t; else the weak prediction is not made."""
        ...

    def mix(
        self, strong: Prediction, weak: Prediction, x_t: Batch, t: Float[Tensor, "*batch"], schedule: Schedule
    ) -> Prediction:
        """The guided prediction at x_t, of those with and without what is wanted."""
        ...


@dataclass(frozen=True)
class Guidance:
    """The scale of guidance, where it acts, and how the contrast that it adds is taken back.

    Args:
        scale: w, one number or one for each sample of the batch.
        rescale: in [0, 1]: how much of x0's standard deviation is brought back to the strong prediction's (Lin et al.
            2023, section 3.4, https://arxiv.org/abs/2305.08891; they advise 0.7).
        interval: noise levels sigma / alpha, (above, up to), at which w applies; outside it is 1 (Kynkaanniemi et al.
            2024, https://arxiv.org/abs/2404.07724).

    Raises:
        UndiffuseError: for numbers outside these ranges.
    """

    scale: Scale = 1.0
    rescale: float = 0.0
    interval: tuple[float, float] = (0.0, math.inf)

    def __post_init__(self) -> None:
        if not 0 <= self.rescale <= 1:
            raise UndiffuseError(f"The rescaling of guidance lies in [0, 1]; it is {self.rescale:g}")
        low, high = self.interval
        if not 0 <= low < high:
            raise UndiffuseError(
                f"The interval of guidance is two noise levels sigma/alpha, 0 <= low < high; it is {low:g}, {high:g}"
            )

    def active(self, schedule: Schedule, t: Float[Tensor, "*batch"]) -> bool:
        """Whether there is anything to do at one of the times t."""
        plain = isinstance(self.scale, float | int) and self.scale == 1
        return not plain and bool(self._inside(schedule, t).any())

    def mix(
        self, strong: Prediction, weak: Prediction, x_t: Batch, t: Float[Tensor, "*batch"], schedule: Schedule
    ) -> Prediction:
        """weak + w (strong - weak), its spread brought back as `rescale` says; the variance is the strong one's.

        x0 <- (r std(strong x0) / std(x0) + 1 - r) x0 for each sample, and eps follows from it.
        """
        w = self.at(schedule, t)
        if isinstance(w, Tensor):
            w = send(w.to(x_t.dtype), x_t.device).reshape(-1, *[1] * (x_t.ndim - 1))
        x0 = weak.x0 + w * (strong.x0 - weak.x0)
        mixed = Prediction(x0, weak.eps + w * (strong.eps - weak.eps), strong.variance_fraction)
        if not self.rescale:
            return mixed
        before, now = spread(strong.x0), spread(x0)
        # Without spread there is no contrast to bring back: a model whose mean is flat says so at pure noise.
        ratio = torch.where(now == 0, 1.0, before / now.clamp(min=torch.finfo(x0.dtype).tiny))
        return mixed.with_x0((self.rescale * ratio + 1 - self.rescale) * x0, x_t, schedule(t))

    def at(self, schedule: Schedule, t: Float[Tensor, "*batch"]) -> Scale:
        """w of each sample, which is 1 at times outside the interval."""
        inside = self._inside(schedule, t)
        return self.scale if inside.all() else torch.where(inside, self.scale, 1.0)

    def _inside(self, schedule: Schedule, t: Float[Tensor, "*batch"]) -> Bool[Tensor, "*batch"]:
        q_t = schedule(t)
        level = q_t.sigma / q_t.alpha  # infinite at pure noise
        return (self.interval[0] < level) & (level <= self.interval[1])


@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance: both predictions of one network, by one evaluation of a batch of twice the size.

    Args:
        denoiser: of a model that was trained with its conditions dropped now and then.
        conditions: what is wanted, one tensor a name.
        without: what is not: the null conditions, or a negative one, under the same names.
        guidance: how far.
    """

    denoiser: Denoiser
    conditions: Mapping[str, Tensor]
    without: Mapping[str, Tensor]
    guidance: GuidanceRule = field(default_factory=Guidance)

    def __post_init__(self) -> None:
        if set(self.conditions) != set(self.without):
            raise UndiffuseError(
                f"Guidance needs the same conditions with and without: {sorted(self.conditions)} and "
                f"{sorted(self.without)}"
            )

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        t = as_times(t)
        if not self.guidance.active(self.schedule, t):
            return self.denoiser(x_t, t, **self.conditions)
        both = {name: torch.cat([wanted, self.without[name]]) for name, wanted in self.conditions.items()}
        times = torch.cat([t, t]) if t.ndim else t
        prediction = self.denoiser(torch.cat([x_t, x_t]), times, **both)
        strong, weak = halves(prediction)
        return self.guidance.mix(strong, weak, x_t, t, self.schedule)


@dataclass(frozen=True)
class Autoguided:
    """A good denoiser led away from what a worse one does: a smaller network, or an earlier checkpoint.

    Args:
        denoiser: the good one.
        weak: the worse one, of the same schedule and data.
        guidance: how far.
    """

    denoiser: Denoiser
    weak: Denoiser
    guidance: GuidanceRule = field(default_factory=Guidance)

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        t = as_times(t)
        strong = self.denoiser(x_t, t, **conditions)
        if not self.guidance.active(self.schedule, t):
            return strong
        return self.guidance.mix(strong, self.weak(x_t, t, **conditions), x_t, t, self.schedule)


def spread(x: Batch) -> Tensor:
    """Standard deviation of each sample over everything but the batch, in a shape that multiplies x."""
    flat = x.flatten(1)
    return flat.std(1, correction=min(1, flat.shape[1] - 1)).reshape(-1, *[1] * (x.ndim - 1))


def halves(both: Prediction) -> tuple[Prediction, Prediction]:
    """The predictions of the first and of the second half of a batch."""
    n = len(both.x0) // 2
    fraction = both.variance_fraction
    return (
        Prediction(both.x0[:n], both.eps[:n], None if fraction is None else fraction[:n]),
        Prediction(both.x0[n:], both.eps[n:], None if fraction is None else fraction[n:]),
    )
