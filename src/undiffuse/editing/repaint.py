"""RePaint: go back up in noise now and then, so that the new part and the known one can agree.

Lugmayr et al. 2022, https://arxiv.org/abs/2201.09865, algorithm 1 and appendix B. Nothing in it is a sampler: it is a
path that turns back, and one rule for a step upward, the forward process q(x_t | x_s).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, q_sample, transition
from undiffuse.diffusion.trajectory import Noise, Sampler
from undiffuse.errors import UndiffuseError

State = TypeVar("State")


def with_returns(times: Float[Tensor, "points"], length: int = 10, repeats: int = 10) -> Float[Tensor, "more"]:
    """A grid that walks every stretch of ``length`` steps ``repeats`` times.

    At the points length, 2 length, ... before the end, the walk jumps ``length`` steps back up, ``repeats`` - 1 times.
    The paper's choice is 10 and 10 on 250 steps, which costs about ten times the evaluations of the plain walk.

    Args:
        times: falling, ending in 0.
        length, repeats: at least 1; repeats = 1 gives the plain grid.
    """
    if length < 1 or repeats < 1:
        raise UndiffuseError(
            f"RePaint needs a jump of at least 1 step and at least 1 pass; it got {length} and {repeats}"
        )
    steps = len(times) - 1
    left = dict.fromkeys(range(length, steps - length + 1, length), repeats - 1)  # by steps to the end
    path, k = [steps], steps
    while k > 0:
        k -= 1
        path.append(k)
        if left.get(k, 0):
            left[k] -= 1
            k += length
            path.append(k)
    return times.flip(0)[torch.tensor(path)]


def resampled(
    denoiser: Denoiser, sampler: Sampler[State], path: Float[Tensor, "points"], x: Batch, noise: Noise
) -> Iterator[Batch]:
    """Walk x along a path that may rise: `undiffuse.diffusion.trajectory.trajectory` where it falls.

    x_t = alpha_ts x_s + sigma_ts z,   z ~ N(0, I)    where it rises from s to t

    What a multistep sampler remembers belongs to the stretch before the jump, so it starts afresh.
    """
    state = sampler.init()
    for t, s in pairwise(path):
        if s < t:
            x, state = sampler.step(denoiser, x, t, s, state, noise)
        else:
            step = transition(denoiser.schedule(t), denoiser.schedule(s))
            x, state = q_sample(x, noise.like(x), step), sampler.init()
        yield x
