"""The sampling loop that everything else consumes: the command line, the animations, the tests and the browser.

A sampler knows one step. The loop has no progress bar, no device code and no pictures in it: it is a generator, and
whoever iterates over it adds those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time
from undiffuse.runtime.devices import send
from undiffuse.runtime.random_streams import generator

State = TypeVar("State")


class Noise:
    """Standard normal noise with one stream per sample.

    Sample i of seed s gets the same noise whatever is drawn beside it, on whatever device: the streams are CPU
    generators.

    Args:
        seed: the user's seed.
        indices: which samples of the seed this batch holds.
        device: where the noise is wanted.
    """

    def __init__(self, seed: int, indices: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.generators = [generator(seed, "sample", index) for index in indices]
        self.device = torch.device(device)

    def normal(self, shape: Sequence[int]) -> Batch:
        """The next noise of ``shape`` (without the batch axis) of every stream."""
        return send(torch.stack([torch.randn(*shape, generator=g) for g in self.generators]), self.device)

    def like(self, x: Batch) -> Batch:
        """The next noise in the shape and dtype of x."""
        return self.normal(x.shape[1:]).to(x.dtype)


@runtime_checkable
class Sampler(Protocol[State]):
    """The rule for one step t -> s.

    A sampler is frozen: what it must remember from step to step is the state that it returns, so that one sampler
    serves many trajectories at once.
    """

    @property
    def order(self) -> int:
        """Order of convergence in the step size."""
        ...

    def init(self) -> State:
        """The state before the first step."""
        ...

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: State, noise: Noise) -> tuple[Batch, State]:
        """x_s and the next state, given x_t at t > s."""
        ...


def trajectory(
    denoiser: Denoiser, sampler: Sampler[State], times: Float[Tensor, "points"], x: Batch, noise: Noise
) -> Iterator[Batch]:
    """Walk x from times[0] down to times[-1], yielding x after every step."""
    state = sampler.init()
    for t, s in pairwise(times):
        x, state = sampler.step(denoiser, x, t, s, state, noise)
        yield x


def start(denoiser: Denoiser, shape: Sequence[int], noise: Noise) -> Batch:
    """The pure noise that a trajectory starts from."""
    return denoiser.schedule.prior_std * noise.normal(shape)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    sampler: Sampler[State],
    times: Float[Tensor, "points"],
    shape: Sequence[int],
    indices: Sequence[int],
    *,
    seed: int = 0,
    micro_batch: int = 16,
    device: torch.device | str = "cpu",
    on_step: Callable[[], object] = lambda: None,
) -> Float[Tensor, "count *shape"]:
    """Samples ``indices`` of a seed, in model space, on the CPU.

    Sample i is always computed in slot i mod micro_batch, beside the same neighbours, because a convolution's rounding
    may depend on the batch and the position in it. So its bits depend on (seed, i, micro_batch), not on how many
    samples were asked for.

    Args:
        denoiser, sampler, times: as for `trajectory`.
        shape: of one sample, (channels, *spatial).
        indices: which samples of the seed.
        micro_batch: samples per evaluation of the network.
        on_step: called after every step of every micro-batch, for a progress bar.
    """
    blocks = sorted({index // micro_batch for index in indices})
    made: dict[int, Tensor] = {}
    for block in blocks:
        members = range(block * micro_batch, (block + 1) * micro_batch)
        noise = Noise(seed, members, device)
        x = start(denoiser, shape, noise)
        for x_s in trajectory(denoiser, sampler, times, x, noise):
            x = x_s
            on_step()
        made.update(zip(members, x.cpu(), strict=True))
    return torch.stack([made[index] for index in indices]) if indices else torch.empty(0, *shape)
