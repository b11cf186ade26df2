"""The sampling loop that everything else consumes: the command line, the animations, the tests and the browser.

A sampler knows one step. The loop has no progress bar, no device code and no pictures in it: it is a generator, and
whoever iterates over it adds those. `trajectory` yields x alone, `iterate_steps` what the denoiser saw, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import Batch, Time, Times
from undiffuse.diffusion.schedules import Schedule
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


def slerp(
    a: Float[Tensor, "#rows *shape"], b: Float[Tensor, "#rows *shape"], part: Float[Tensor, "..."]
) -> Float[Tensor, "rows *shape"]:
    """Points on the arc between two vectors, taken over everything but the first axis (Shoemake 1985).

    slerp = sin((1 - u) w) / sin w  a + sin(u w) / sin w  b,   cos w = <a, b> / |a| |b|

    Latents of high dimension lie on a sphere; on the straight line between two of them their length, the noise's
    variance, would fall to a half. For vectors (nearly) on one line it is the straight one. At u = 0 it is a and at
    u = 1 b, to the bit.
    """
    cosine = torch.cosine_similarity(a.double().flatten(1), b.double().flatten(1))
    angle = cosine.clamp(-1, 1).acos().reshape(-1, *[1] * (a.ndim - 1))
    part = part.double()
    arc = ((1 - part) * angle).sin() / angle.sin() * a + (part * angle).sin() / angle.sin() * b
    return torch.where(angle.sin() < 1e-6, torch.lerp(a.double(), b.double(), part), arc).to(a.dtype)


class NoiseBetween(Noise):
    """Noise on the arc from that of one seed to that of another, in every draw: its walks morph from one to the other.

    z = slerp(z_first, z_second, part): standard normal numbers again, the first's own at 0 and the second's at 1.

    Args:
        first, second: of the same samples, on the CPU.
        part: of the arc, in [0, 1].
        device: where the noise is wanted.
    """

    def __init__(self, first: Noise, second: Noise, part: float, device: torch.device | str = "cpu") -> None:
        self.first, self.second, self.part = first, second, torch.tensor(part, dtype=torch.float64)
        self.device = torch.device(device)

    def normal(self, shape: Sequence[int]) -> Batch:
        return send(slerp(self.first.normal(shape), self.second.normal(shape), self.part), self.device)


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


@dataclass(frozen=True)
class SamplingStep:
    """A sampler at one of its times: where it stands, and what the denoiser predicted from there.

    Args:
        t: the time.
        x: x_t.
        x0, eps: the predicted data and noise; at the last time x0 is the sample itself and eps None.
        evaluations: of the denoiser, from the start of the walk to here.
    """

    t: float
    x: Batch
    x0: Batch
    eps: Batch | None
    evaluations: int

    def rows(self, rows: Sequence[int]) -> SamplingStep:
        """These rows of the batch, on the CPU."""
        x = self.x[rows].cpu()
        x0 = x if self.x0 is self.x else self.x0[rows].cpu()  # at the end they are one, and one wait is enough
        eps = None if self.eps is None else self.eps[rows].cpu()
        return SamplingStep(self.t, x, x0, eps, self.evaluations)

    @classmethod
    def join(cls, parts: Sequence[SamplingStep]) -> SamplingStep:
        """The steps of several batches at one time as that of one batch."""
        if len(parts) == 1:
            return parts[0]
        x, x0 = torch.cat([part.x for part in parts]), torch.cat([part.x0 for part in parts])
        eps = [part.eps for part in parts if part.eps is not None]
        return cls(parts[0].t, x, x0, torch.cat(eps) if eps else None, parts[0].evaluations)


class Recording:
    """A denoiser that counts its evaluations and keeps the first prediction of each step, which is at the step's own t.

    Attributes:
        evaluations: so far.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.evaluations = 0
        self._first: Prediction | None = None

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        prediction = self.denoiser(x_t, t, **conditions)
        self.evaluations += 1
        if self._first is None:
            self._first = prediction
        return prediction

    def take(self) -> Prediction:
        """The first prediction since the last call."""
        first, self._first = self._first, None
        assert first is not None, "a sampler's step asks its denoiser at least once"
        return first


def iterate_steps(
    denoiser: Denoiser, sampler: Sampler[State], times: Float[Tensor, "points"], x: Batch, noise: Noise
) -> Iterator[SamplingStep]:
    """Walk x from times[0] down to times[-1] without gradients, yielding every time of the walk, both ends too."""
    recording = Recording(denoiser)
    walk = trajectory(recording, sampler, times, x, noise)
    for t in times[:-1].tolist():
        with torch.no_grad():
            x_s = next(walk)
        seen = recording.take()
        yield SamplingStep(t, x, seen.x0, seen.eps, recording.evaluations)
        x = x_s
    yield SamplingStep(float(times[-1]), x, x, None, recording.evaluations)


def start(denoiser: Denoiser, shape: Sequence[int], noise: Noise) -> Batch:
    """The pure noise that a trajectory starts from."""
    return denoiser.schedule.prior_std * noise.normal(shape)


@torch.no_grad()
def sample(
    denoiser: Denoiser, sampler: Sampler[State], times: Float[Tensor, "points"], shape: Sequence[int], noise: Noise
) -> Batch:
    """The ends of trajectories that start from pure noise, in model space, on the noise's device.

    There is one for each stream of the noise, and all are walked as one batch: draw thousands in parts.

    Args:
        denoiser, sampler, times: as for `trajectory`.
        shape: of one sample, (channels, *spatial).
        noise: ``Noise(seed, indices)``. A sample's rounding may depend on those beside it, for a convolution's does;
            `undiffuse.Model.sample` keeps neighbours alike, so that there a sample's bits are its own.
    """
    x = start(denoiser, shape, noise)
    for x_s in trajectory(denoiser, sampler, times, x, noise):
        x = x_s
    return x
