"""The cost of a walk over some timesteps, step by step: the variational bound, or the error of DDIM steps.

    total = start(t_N) + step(t_N, t_{N-1}) + ... + step(t_1, 0)

Both are measured once at every time that a walk may take; then any walk's cost is a sum. `optimal_timesteps` finds the
walk with the least.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import q_sample
from undiffuse.diffusion.masking import kept, mean_over
from undiffuse.diffusion.samplers import DATA, DPMMultistep
from undiffuse.diffusion.schedules import Schedule
from undiffuse.diffusion.trajectory import Noise, iterate_steps
from undiffuse.diffusion.trajectory import start as pure_noise
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.images import ImageBatch

SAME = 1e-9
"""Times closer than this share of t_max are one."""


@dataclass(frozen=True)
class WalkCosts:
    """The costs of all walks over some times.

    Args:
        times: 0 and G rising times, float64.
        start: of beginning with pure noise at times[i]; infinite for 0.
        step: step[i, j] of going from times[i] to times[j]; infinite unless j < i.
    """

    times: Float[Tensor, "points"]
    start: Float[Tensor, "points"]
    step: Float[Tensor, "points points"]

    def total(self, walk: Float[Tensor, "steps"]) -> float:
        """The cost of a walk: falling times that are among `times`, the last one 0."""
        slack = SAME * float(self.times[-1])
        at = torch.searchsorted(self.times, walk - slack).clamp(max=len(self.times) - 1)
        if not bool(((self.times[at] - walk).abs() <= slack).all()):
            raise UndiffuseError("A walk's cost is known at the times that were measured alone; measure its times, too")
        return float(self.start[at[0]] + self.step[at[:-1], at[1:]].sum())


@dataclass(frozen=True)
class X0Errors:
    """Mean squares over images and dimensions, model space, float64: of x0 - x0_hat(x_t) at rising times, and of x0."""

    times: Float[Tensor, "times"]
    error: Float[Tensor, "times"]
    square: float


@torch.no_grad()
def x0_errors(
    denoiser: Denoiser,
    batches: Iterable[ImageBatch],
    times: Float[Tensor, "times"],
    seed: int = 0,
    on_step: Callable[[], object] = lambda: None,
) -> X0Errors:
    """Measure e(t) on images, each by its mean over the values that count.

    Each image has one noise for all t, so that e is smooth in t: a minimum over hundreds of times would find the luck
    in independent ones. Times are rising and at least t_min.
    """
    error, square, count = torch.zeros(len(times), dtype=torch.float64), 0.0, 0
    for batch in batches:
        x0, mask = kept(batch.x0, batch.mask), None if batch.mask is None else batch.mask.cpu()
        eps = batch.noise(batch.streams(seed, "timesteps"))
        for k, t in enumerate(times):
            x0_hat = denoiser(q_sample(x0, eps, denoiser.schedule(t)), t).x0
            error[k] += float(mean_over((x0_hat - x0).cpu().double().square(), mask).sum())
            on_step()
        square += float(mean_over(x0.cpu().double().square(), mask).sum())
        count += len(x0)
    return X0Errors(times, error / count, square / count)


def bound_costs(schedule: Schedule, measured: X0Errors, bin_width: float = 0.0) -> WalkCosts:
    """The variational bound in nats per dimension of a density, term by term.

    start(t)   = 1/2 ((alpha_t^2 E|x0|^2 + sigma_t^2) / p^2 - 1 + log(p^2 / sigma_t^2))   KL(q(x_t|x0) || N(0, p^2 I))
    step(t, s) = 1/2 (SNR_s - SNR_t) e(t)                                    KL of the step with variance beta-tilde
    step(t, 0) = 1/2 log(2 pi e (e(t) + w^2 / 12))                                       the decoder, -log p(x0|x_t)

    The second line is |x0_weight|^2 e(t) / (2 beta-tilde) of `gaussian.posterior` in short, the discrete loss of Kingma
    et al. 2021 (https://arxiv.org/abs/2107.00630).
    The decoder is the best Gaussian around x0_hat for data spread evenly over bins of width w.

    ``bin_width`` is w, the distance of neighbouring integers in model space; 0 for floats.
    """
    q, p = schedule(measured.times), schedule.prior_std
    prior = 0.5 * ((q.alpha**2 * measured.square + q.sigma**2) / p**2 - 1 + 2 * (math.log(p) - q.sigma.log()))
    decoder = 0.5 * torch.log(2 * math.pi * math.e * (measured.error + bin_width**2 / 12))
    points = len(measured.times) + 1
    step = torch.full((points, points), math.inf, dtype=torch.float64)
    step[1:, 0] = decoder
    gain = 0.5 * (q.snr[None, :] - q.snr[:, None]) * measured.error[:, None]
    step[1:, 1:] = torch.where(measured.times[None, :] < measured.times[:, None], gain, math.inf)
    return WalkCosts(_with(0.0, measured.times), _with(math.inf, prior), step)


def _with(first: float, values: Tensor) -> Tensor:
    return torch.cat([torch.tensor([first], dtype=torch.float64), values])


@torch.no_grad()
def error_costs(
    denoiser: Denoiser,
    times: Float[Tensor, "times"],
    shape: Sequence[int],
    std: float,
    noises: Iterable[Noise],
    on_step: Callable[[], object] = lambda: None,
) -> WalkCosts:
    """Root mean square distance of each DDIM step from the probability-flow ODE, carried on to t = 0.

    From pure noise, the ODE is walked once over all times by DPM-Solver++ 2M; that gives x_t and x0_hat(x_t) at each,
    and with them every DDIM step between two of them without asking the network again,

        d(t, s) = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) x0_hat(x_t) - x_s.

    The flow of Gaussian data, x_s -> std x_s / sqrt(alpha_s^2 std^2 + sigma_s^2), carries it to t = 0. Roots of mean
    squares add up to no less than the root mean square of the sum (Minkowski), so to first order the total bounds the
    error of the walk. ``start`` is what taking x_t to be pure noise is off by.

    Args:
        shape: of one sample, (channels, *spatial).
        std: of the data in model space.
        noises: of the samples that are walked, those at a time whose x_t and x0_hat fit into memory.
    """
    grid = _with(0.0, times)
    q = denoiser.schedule(grid)
    carried = std / ((q.alpha * std) ** 2 + q.sigma**2).sqrt()
    start, step = torch.zeros(len(grid), dtype=torch.float64), torch.zeros(len(grid), len(grid), dtype=torch.float64)
    count = 0
    for noise in noises:
        x_t = pure_noise(denoiser, shape, noise)
        count += len(x_t)
        x, x0_hat = torch.empty(2, len(grid), *x_t.shape)
        for k, at in enumerate(iterate_steps(denoiser, DPMMultistep(DATA, 2), grid.flip(0), x_t, noise)):
            x[-1 - k], x0_hat[-1 - k] = at.x, at.x0
            on_step()
        start += _square(x[-1] - x)
        for i in range(1, len(grid)):
            ratio = q.sigma[:i] / q.sigma[i]
            weight = q.alpha[:i] - q.alpha[i] * ratio
            step[i, :i] += _square(_over(ratio, x[i]) * x[i] + _over(weight, x[i]) * x0_hat[i] - x[:i])
    start, step = carried * (start / count).sqrt(), carried * (step / count).sqrt()
    start[0] = math.inf
    rising = torch.arange(len(grid))
    return WalkCosts(grid, start, torch.where(rising[None, :] < rising[:, None], step, math.inf))


def _over(coefficient: Float[Tensor, "times"], x: Float[Tensor, "batch *shape"]) -> Tensor:
    """A coefficient a time, to multiply one x."""
    return coefficient.to(x.dtype).reshape(-1, *[1] * x.ndim)


def _square(x: Float[Tensor, "times batch *shape"]) -> Float[Tensor, "times"]:
    """Mean square over dimensions, summed over the batch."""
    return x.double().square().flatten(2).mean(2).sum(1)
