"""Denoisers: the one contract that samplers, guidance, evaluation and distillation see.

A denoiser looks at x_t and t and says what data and what noise it sees in it. Whatever a network predicts, however its
time embedding is indexed and its input scaled, ends here. Guidance, thresholding and edits are denoisers around
denoisers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.diffusion.gaussian import Batch, Marginal, Times, as_times, expand
from undiffuse.diffusion.parameterization import Parameterization
from undiffuse.diffusion.schedules import DiscreteSchedule, Schedule
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.devices import send


@dataclass(frozen=True)
class Prediction:
    """The data and the noise that a denoiser sees in x_t = alpha x0 + sigma eps.

    Args:
        x0, eps: the predicted data and noise, consistent with each other and x_t.
        variance_fraction: in [0, 1] per element where the network learned its variance: 0 is beta-tilde, 1 is beta.
    """

    x0: Batch
    eps: Batch
    variance_fraction: Batch | None = None

    def with_x0(self, x0: Batch, x_t: Batch, q_t: Marginal) -> Prediction:
        """The prediction with another x0 and the eps that goes with it: eps = (x_t - alpha x0) / sigma.

        Without re-deriving eps after clipping x0, DDIM with eta = 1 is no longer DDPM.
        """
        return Prediction(x0, noise_in(x_t, x0, q_t, self.eps), self.variance_fraction)


def noise_in(x_t: Batch, x0: Batch, q_t: Marginal, unseen: Batch) -> Batch:
    """eps = (x_t - alpha x0) / sigma; where sigma = 0, x_t is data and says nothing of the noise: ``unseen``."""
    eps = (x_t - expand(q_t.alpha, x_t) * x0) / expand(q_t.sigma, x_t)
    return eps if q_t.sigma.all() else torch.where(expand(q_t.sigma, x_t) == 0, unseen, eps)


@runtime_checkable
class Denoiser(Protocol):
    """``(x_t, t, **conditions) -> Prediction``, at t in (0, t_max] of its schedule, t of shape () or (batch,)."""

    @property
    def schedule(self) -> Schedule: ...

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction: ...


TimeInput = Callable[[Schedule, Float[Tensor, "*batch"]], Float[Tensor, "*batch"]]


def chain_index(schedule: Schedule, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """t - 1, the index 0..T-1 that Ho et al. embed; 999 t / t_max on a continuous schedule (Song et al. 2021)."""
    return t - 1 if isinstance(schedule, DiscreteSchedule) else 999 * t / schedule.t_max


def scaled_index(schedule: Schedule, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """1000 / T times `chain_index`, in [0, 1000) whatever the chain's length (Nichol & Dhariwal 2021's code)."""
    return chain_index(schedule, t) * (1000 / schedule.t_max if isinstance(schedule, DiscreteSchedule) else 1)


def noise_angle(schedule: Schedule, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """1000 (2 / pi) atan(sigma / alpha): the noise level itself, in [0, 1000], the same for every schedule."""
    q_t = schedule(t)
    return torch.atan2(q_t.sigma, q_t.alpha) * (2000 / math.pi)


def log_sigma(schedule: Schedule, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """ln(sigma / alpha) / 4, c_noise of Karras et al. 2022, table 1: the noise level; infinite where alpha = 0."""
    q_t = schedule(t)
    return (q_t.sigma / q_t.alpha).log() / 4


TIME_INPUTS: dict[str, TimeInput] = {
    "index": chain_index,
    "scaled-index": scaled_index,
    "log-snr": noise_angle,
    "log-sigma": log_sigma,
}


NumberInput = Callable[[Schedule, Float[Tensor, "batch"]], Float[Tensor, "batch numbers"]]


def times_of(schedule: Schedule, t: Times, x: Batch) -> Float[Tensor, "*batch"]:
    """Times of any honest type as schedules have them, one for all of x or one for each sample.

    Raises:
        UndiffuseError: there are more or fewer, or the process has no such time.
    """
    t = as_times(t)
    if t.shape not in ((), (1,), (len(x),)):
        raise UndiffuseError(f"A denoiser takes one time, or one for each of {len(x)} samples, not {list(t.shape)}")
    if not ((t >= 0) & (t <= schedule.t_max * (1 + 1e-9))).all():
        raise UndiffuseError(
            f"Times lie from 0, where data are, to {schedule.t_max:g}, where noise is; got {t.tolist()}"
        )
    return t


class NetworkDenoiser:
    """A network as a denoiser.

    Args:
        network: ``network(x, time, **conditions) -> F``, with time float32 of shape (batch,); F has x's channels, or
            twice as many where it also learned a variance.
        schedule: the process it was trained on.
        parameterization: what F means.
        time_input: what its time embedding sees, a name in `TIME_INPUTS`.
        number_inputs: what the network sees of conditions that are one number for each sample, by name.

    Raises:
        UndiffuseError: if the parameterization is singular on the schedule, or its time input is infinite.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        parameterization: Parameterization,
        time_input: Literal["index", "scaled-index", "log-snr", "log-sigma"] = "index",
        number_inputs: Mapping[str, NumberInput] | None = None,
    ) -> None:
        parameterization.check(schedule)
        self.network = network
        self.schedule = schedule
        self.parameterization = parameterization
        self.time_input = TIME_INPUTS[time_input]
        self.number_inputs = number_inputs or {}
        if not self.time_input(schedule, torch.tensor(schedule.t_max, dtype=torch.float64)).isfinite():
            raise UndiffuseError(
                "A schedule that ends in pure noise (alpha = 0) has no ln(sigma/alpha) there: use `time_input=log-snr`"
            )

    def with_inputs(self, number_inputs: Mapping[str, NumberInput]) -> NetworkDenoiser:
        """The same network, told more numbers."""
        told = copy.copy(self)
        told.number_inputs = {**self.number_inputs, **number_inputs}
        return told

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        t = times_of(self.schedule, t, x_t)
        q_t = self.schedule(t)
        time = send(self.time_input(self.schedule, t).float(), x_t.device).expand(len(x_t))
        for name in self.number_inputs.keys() & conditions.keys():
            number = as_times(conditions[name]).cpu().expand(len(x_t))
            conditions[name] = self.number_inputs[name](self.schedule, number).float()
        told = {name: send(torch.as_tensor(value), x_t.device) for name, value in conditions.items()}
        output = self.network(expand(self.parameterization.input_scale(q_t), x_t) * x_t, time, **told)
        output = output.to(x_t.dtype)  # the state stays in float32 around a bfloat16 network
        if (len(output), *output.shape[2:]) != (len(x_t), *x_t.shape[2:]):
            raise UndiffuseError(
                "A network must return as many samples as it gets, of the same sides; "
                f"it got the shape {list(x_t.shape)} and returned {list(output.shape)}"
            )
        if output.shape[1] == x_t.shape[1]:
            return Prediction(*self.parameterization.solve(output, x_t, q_t))
        if output.shape[1] != 2 * x_t.shape[1]:
            raise UndiffuseError(
                f"A network must return as many channels as it gets, or twice as many with a learned variance; "
                f"it got {x_t.shape[1]} and returned {output.shape[1]}"
            )
        output, fraction = output.chunk(2, dim=1)
        return Prediction(*self.parameterization.solve(output, x_t, q_t), variance_fraction=(fraction + 1) / 2)
