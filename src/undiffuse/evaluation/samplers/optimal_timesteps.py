"""Timesteps chosen for one model: the best N of a few hundred times, exactly, by dynamic programming.

A walk's cost is a sum over its steps, so the best walk of k steps that ends at j extends a best walk of k - 1 steps,

    best_k(j) = min_i best_{k-1}(i) + step(i, j),    best_0 = start,

and all best walks of up to N steps over G times cost O(G^2 N) (Watson et al. 2021, "Learning to efficiently sample from
diffusion probabilistic models", https://arxiv.org/abs/2106.03802). `step_costs` has the two costs:

* bound: the variational bound of the chain that has only these times, as in the paper.
* error: how far each DDIM step leads away from the probability-flow ODE.

    costs = measure_error(model, samples=64, steps=(5, 10))
    chosen = learn(model, costs, "error", steps=(5, 10), images=64)
    model.sample(16, times=chosen[1].times)

What a cost is best for is not what images look best by: docs/measure/samplers.md has what both give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.checkpoints.learned_timesteps import Cost, LearnedTimesteps
from undiffuse.diffusion.schedules import DiscreteSchedule, Schedule
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.images import Images
from undiffuse.evaluation.likelihood.units import Units
from undiffuse.evaluation.options import DEFAULT, MeasureOptions
from undiffuse.evaluation.samplers.step_costs import SAME, WalkCosts, bound_costs, error_costs, x0_errors
from undiffuse.model import Model
from undiffuse.model.cascade import check_denoiser
from undiffuse.runtime.torch_modes import own_modes

BASELINES = ("trailing", "leading", "linspace", "quadratic", "log-snr", "karras")
"""The fixed spacings that a choice is compared with."""


def best_walks(costs: WalkCosts, most: int) -> list[Float[Tensor, "steps"]]:
    """The cheapest walks of 1, 2, ..., ``most`` steps, each falling and ending in 0."""
    if not 1 <= most < len(costs.times):
        raise UndiffuseError(
            f"A walk over {len(costs.times) - 1} times has between 1 and {len(costs.times) - 1} steps, not {most}: "
            "raise `candidates` or lower `evaluations`"
        )
    best, origins, walks = costs.start, list[Tensor](), list[Tensor]()
    for _ in range(most):
        best, origin = (best[:, None] + costs.step).min(0)
        origins.append(origin)
        at = [0]
        for origin in reversed(origins):
            at.append(int(origin[at[-1]]))
        walks.append(costs.times[at[::-1]])
    return walks


def candidates(schedule: Schedule, count: int, steps: Sequence[int] = ()) -> Float[Tensor, "times"]:
    """Rising times to choose from: half of them even in t, half even in log-SNR; whole numbers on a chain.

    For each of ``steps``, the times of the fixed spacings are among them, so that no one of those is better.
    """
    chain = isinstance(schedule, DiscreteSchedule)
    half = min(-(-count // 2), schedule.T) if isinstance(schedule, DiscreteSchedule) else -(-count // 2)
    parts = [make_timesteps(schedule, half, spacing)[:-1] for spacing in ("linspace", "log-snr")]
    if chain:
        parts[1] = parts[1].round()
    parts += [make_timesteps(schedule, n, spacing)[:-1] for n in steps for spacing in BASELINES]
    times = torch.cat(parts).sort().values
    apart = times.diff(prepend=torch.zeros(1, dtype=torch.float64))
    return times[apart > SAME * schedule.t_max]  # spacings meet, up to rounding


@own_modes()
def measure_bound(
    model: Model, images: Images, steps: Sequence[int], *, count: int = 200, how: MeasureOptions = DEFAULT
) -> WalkCosts:
    """The bound of images, in nats per dimension of a density, for walks over about ``count`` times.

    Args:
        images: to measure e(t) on.
        steps: numbers of evaluations for which times will be chosen.
        count: times to choose from, beside those of the fixed spacings.
    """
    times = candidates(check_denoiser(model, "a choice of times").schedule, count, steps)
    size = how.size(model)
    with how.asking(model, "bound", math.ceil(len(images) / size) * len(times)) as bar:
        batches = images.batches(size, model.device)
        measured = x0_errors(how.denoiser(model), batches, times, how.seed, bar.update)
    return bound_costs(model.schedule, measured, Units.of(model.info).bin_width)


@own_modes()
def measure_error(
    model: Model, samples: int, steps: Sequence[int], *, count: int = 200, how: MeasureOptions = DEFAULT
) -> WalkCosts:
    """The errors of DDIM steps, in model space, for walks over about ``count`` times.

    They are measured on some samples, whose number is given: no image is needed.
    """
    times = candidates(check_denoiser(model, "a choice of times").schedule, count, steps)
    std = math.sqrt(sum(value**2 for value in model.info.std) / len(model.info.std))
    size = how.size(model)
    starts = range(0, samples, size)
    noises = (Noise(how.seed, range(start, min(start + size, samples)), model.device) for start in starts)
    with how.asking(model, "error", len(starts) * (len(times) + 1)) as bar:
        return error_costs(how.denoiser(model), times, model.shape, std, noises, bar.update)


def learn(model: Model, costs: WalkCosts, cost: Cost, steps: Sequence[int], images: int) -> list[LearnedTimesteps]:
    """The best times for each number of steps, with what a run's file says of them.

    Args:
        images: number of images or samples that the costs were measured on.
    """
    walks = best_walks(costs, max(steps))
    step, sha256 = model.provenance.get("step", 0), model.provenance.get("sha256", "")
    return [
        LearnedTimesteps(tuple(walk[:-1].tolist()), cost, costs.total(walk), images, step, sha256)
        for walk in (walks[n - 1] for n in steps)
    ]
