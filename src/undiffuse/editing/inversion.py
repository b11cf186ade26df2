"""The noise that a picture comes from: DDIM's walk, backwards.

A step of DDIM from t to s < t is  x_s = f(x_t) = alpha_s x0(x_t, t) + sigma_s eps(x_t, t).  Backwards, x_s is given and
x_t wanted:

    plain   x_t = alpha_t x0(x_s, s) + sigma_t eps(x_s, s)     Euler's step of the same ODE in the other direction (Song
            et al. 2021, section 4.3, https://arxiv.org/abs/2010.02502), with an error that falls with the step
    exact   the solution of f(x_t) = x_s by fixed-point iteration (Pan et al. 2023, https://arxiv.org/abs/2309.04907)

                x_t <- x_t - p (f(x_t) - x_s)

The slope of f lies between sigma_s / sigma_t, where x0 does not move with x_t, and alpha_s / alpha_t, where it follows,
and p is the inverse of the slope that the last two iterates saw (Barzilai & Borwein 1988,
https://doi.org/10.1093/imanum/8.1.141), kept within these bounds; Pan et al.'s iteration has p = alpha_t / alpha_s,
which is taken here at s = 0. There the slope may be 0, where the model's x0 cannot be the picture's, and what is left
of the error is what `Inversion` reports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.config.students import walking_student
from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Marginal, Time
from undiffuse.diffusion.samplers.exponential import euler_step
from undiffuse.editing.editor import Editor, MicroBatch, Pictures
from undiffuse.editing.options import InvertOptions, unheeded
from undiffuse.editing.students import home_sampler, into_noise
from undiffuse.errors import counted, in_one_sentence
from undiffuse.model.sample_request import warn

POOR_PSNR = 25.0
"""dB between a picture and its reconstruction below which edits of the latent are edits of another picture."""


@dataclass(frozen=True)
class Inverter:
    """The inverse of a walk.

    Args:
        exact: solve each step instead of taking Euler's.
        iterations: evaluations that a step may take, at least 1.
        within: largest error of x_s, in model space, at which an iteration stops.
    """

    exact: bool = InvertOptions.exact
    iterations: int = InvertOptions.iterations
    within: float = InvertOptions.within

    def __post_init__(self) -> None:
        warn(unheeded(InvertOptions(exact=self.exact, iterations=self.iterations, within=self.within)))

    def step(self, denoiser: Denoiser, x_s: Batch, s: Time, t: Time) -> Batch:
        """x_t, given x_s at s < t."""
        schedule = denoiser.schedule
        q_s, q_t = schedule(s), schedule(t)
        known = torch.clamp(s, min=min(schedule.t_min, float(t)))  # no network was asked about data
        x_t = euler_step(denoiser(x_s, known), q_t)
        if not self.exact:
            return x_t
        least, most = _slopes(q_s, q_t)
        gain = x_t.new_full((len(x_t), *[1] * (x_t.ndim - 1)), 2 / (least + most) if least else 1 / most)
        error, best, lowest = x_t, x_t, x_t.new_full((len(x_t),), math.inf)
        for k in range(self.iterations):
            before, error = error, euler_step(denoiser(x_t, t), q_s) - x_s
            largest = error.abs().flatten(1).amax(1)
            best = torch.where(_column(largest < lowest, x_t), x_t, best)
            lowest = torch.minimum(lowest, largest)
            if float(lowest.max()) <= self.within:
                break
            if k and least:  # x_t moved by -gain before, and the error by their difference
                seen = _column((before * (before - error)).flatten(1).sum(1), x_t)
                moved = gain * _column(before.square().flatten(1).sum(1), x_t)
                gain = torch.where(seen > 0, moved / seen, 1 / most).clamp(1 / most, 1 / least)
            x_t = x_t - gain * error
        return best


def _slopes(q_s: Marginal, q_t: Marginal) -> tuple[float, float]:
    """The least and the largest slope of f; where x_t says nothing of x0, alpha_t = 0, there is one alone."""
    least, most = float(q_s.sigma / q_t.sigma), float(q_s.alpha / q_t.alpha)
    return least, most if math.isfinite(most) else least


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class Inversion:
    """Latents, and how well they give the pictures back.

    Args:
        latents: x_T of each picture; of the prior's standard deviation where the model fits.
        reconstructions: DDIM's walk home from them, on the same times.
        error: root mean square difference from the picture, in model space, one a picture.
        evaluations: of the network, for the inversion of a picture; the most that an exact one may take.
        better: what gives pictures back better.
    """

    latents: Pictures
    reconstructions: Pictures
    error: Float[Tensor, "count"]
    evaluations: int
    better: str = "take more steps, or `exact`"

    @property
    def psnr(self) -> Float[Tensor, "count"]:
        """20 log10(2 / error) dB: 2 is the range of model space."""
        return 20 * torch.log10(2 / self.error.clamp(min=1e-12))

    @property
    def warning(self) -> str | None:
        poor = int((self.psnr < POOR_PSNR).sum())
        if not poor:
            return None
        return (
            f"{poor} of {counted(len(self.error), 'picture')} {'comes' if poor == 1 else 'come'} back with less than "
            f"{POOR_PSNR:g} dB from their latents (the worst with {float(self.psnr.min()):.1f}): {self.better}"
        )


@in_one_sentence
def invert(editor: Editor, x0: Pictures, inverter: Inverter | None = None) -> Inversion:
    """Latents of pictures under deterministic DDIM, and what they give back.

    Args:
        editor: its times are walked, in both directions; its sampler is not asked. Of a student the way into noise is
            its first teacher's. Finer grids invert better, and the
            step from data costs least where the grid ends near it: `spacing` leading or linspace.
        x0: in model space.
    """
    inverter = inverter or Inverter()
    latents = to_noise(editor, x0, inverter)
    back = from_noise(editor, latents)
    error = (back - x0.cpu()).flatten(1).square().mean(1).sqrt()
    steps = into_noise(editor).plan.steps
    evaluations = steps * (1 + (inverter.iterations if inverter.exact else 0))
    if student := walking_student(editor.model.config):
        return Inversion(latents, back, error, evaluations, f"ask its teacher, {student.first_teacher}")
    return Inversion(latents, back, error, evaluations)


def to_noise(editor: Editor, x0: Pictures, inverter: Inverter) -> Pictures:
    there = into_noise(editor)

    def work(batch: MicroBatch) -> Tensor:
        denoiser, x = there.denoiser(batch.indices), batch.of(x0)
        for s, t in pairwise(there.plan.times.flip(0)):
            x = inverter.step(denoiser, x, s, t)
            batch.tick()
        return x

    return there.run(len(x0), there.plan.steps, work)


def from_noise(editor: Editor, latents: Pictures) -> Pictures:
    """DDIM's pictures of given x_T, or a student's own."""
    return editor.walk(
        len(latents),
        editor.plan.times,
        lambda batch: (editor.denoiser(batch.indices), batch.of(latents)),
        home_sampler(editor),
    )
