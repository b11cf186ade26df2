"""Data for which the way of every point is known in closed form, and students of two numbers a time.

For data N(mu, s^2), with v_t = alpha_t^2 s^2 + sigma_t^2:

    the flow's map    G(x, t, r) = alpha_r mu + sqrt(v_r / v_t) (x - alpha_t mu)
    a DDIM step       x_r = c(t, r) x  (mu = 0),   c(t, r) = (alpha_r alpha_t s^2 + sigma_r sigma_t) / v_t

For any data of one dimension the flow carries quantiles to quantiles: G(x, t, r) = Q_r(P_t(x)), with P_t the
distribution function of x_t and Q_r the inverse of P_r.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from scipy.optimize import brentq
from scipy.special import ndtr
from torch import Tensor, nn

from undiffuse.diffusion import schedules
from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.distillation import times as students_times
from undiffuse.diffusion.distillation.teacher import UNTIL
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser, gaussian_denoiser
from undiffuse.diffusion.gaussian import as_times, expand
from undiffuse.diffusion.losses import Loss, TimeLaw
from undiffuse.diffusion.parameterization import ROWS, Parameterization, V, edm
from undiffuse.diffusion.samplers import DDIM
from undiffuse.diffusion.schedules import VE, VP, RectifiedFlow, Schedule, SubVP, zero_terminal_snr
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, Sampler, trajectory

COSINE, LINEAR = schedules.cosine(), schedules.linear()
SCHEDULES: dict[str, Schedule] = {
    "cosine": COSINE,
    "linear": LINEAR,
    "sigmoid": schedules.sigmoid(),
    "zero-snr": zero_terminal_snr(LINEAR),
    "vp": VP(),
    "sub-vp": SubVP(),
    "ve": VE(),
    "flow": RectifiedFlow(),
}
ALL_ROWS = {**ROWS, "edm": edm()}

DDIM_STD = {
    "cosine": {
        1: 0.000012321,
        2: 0.198520663,
        4: 0.331433346,
        8: 0.409958973,
        16: 0.453023929,
        32: 0.475951455,
        64: 0.487769313,
        128: 0.493808592,
        256: 0.496866114,
        1000: 0.499189297,
    },
    "linear": {
        1: 0.001588253,
        2: 0.071520708,
        4: 0.217608154,
        8: 0.341159463,
        16: 0.415278802,
        32: 0.456019182,
        64: 0.477440250,
        128: 0.488532498,
        256: 0.494183647,
        1000: 0.498495283,
    },
}
"""Of data N(0, 0.25): the std of what N trailing DDIM steps draw, and of a student that takes them in one."""


def can(row: Parameterization, schedule: Schedule) -> bool:
    """Whether the row's output means something everywhere on the schedule."""
    return float(row.determinant(schedule(schedule.t_max)).abs()) > 1e-12


def numbers(*values: float) -> Tensor:
    """A batch of samples of one value, (batch, 1)."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def time(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def walk_of(schedule: Schedule, steps: int) -> tuple[float, ...]:
    return tuple(make_timesteps(schedule, steps)[:-1].tolist())


def walk_by(denoiser: Denoiser, sampler: Sampler, walk: tuple[float, ...], x: Tensor, noise: Noise | None = None):
    """x at the end of a walk."""
    with torch.no_grad():
        return [x, *trajectory(denoiser, sampler, time(*walk, 0.0), x, noise or Noise(0, range(len(x))))][-1]


def ddim(denoiser: Denoiser, walk: tuple[float, ...], x: Tensor) -> Tensor:
    return walk_by(denoiser, DDIM(), walk, x)


def linear_map(denoiser: Denoiser, sampler: Sampler, walk: tuple[float, ...]) -> tuple[float, float]:
    """(a, b) of a walk that maps x to a x + b: noise N(0, 1) ends as N(b, a^2)."""
    zero, one = walk_by(denoiser, sampler, walk, numbers(0, 1))[:, 0].tolist()
    return one - zero, zero


@dataclass(frozen=True)
class Gaussian:
    """Data N(mean, std^2)."""

    schedule: Schedule = COSINE
    mean: float = 0.0
    std: float = 0.5

    def denoiser(self) -> MixtureDenoiser:
        return gaussian_denoiser(self.schedule, (1,), self.mean, self.std)

    def flow(self, x: Tensor, t: float, r: float) -> Tensor:
        (alpha_t, v_t), (alpha_r, v_r) = self._moments(t), self._moments(r)
        return alpha_r * self.mean + (v_r / v_t).sqrt() * (x - alpha_t * self.mean)

    def factor(self, t: float, r: float) -> float:
        q_t, q_r = self.schedule(t), self.schedule(r)
        return float((q_r.alpha * q_t.alpha * self.std**2 + q_r.sigma * q_t.sigma) / self._moments(t)[1])

    def _moments(self, t: float) -> tuple[Tensor, Tensor]:
        q_t = self.schedule(t)
        return q_t.alpha, (q_t.alpha * self.std) ** 2 + q_t.sigma**2


@dataclass(frozen=True)
class Mixture:
    """Data of one dimension: equal parts of N(m, std^2) for each of the means."""

    schedule: Schedule = COSINE
    means: tuple[float, ...] = (-1.0, 1.0)
    std: float = 0.1

    def denoiser(self) -> MixtureDenoiser:
        return MixtureDenoiser(self.schedule, numbers(*self.means), self.std)

    def below(self, x: float, t: float) -> float:
        """P(x_t < x)."""
        alpha, sigma = (float(value) for value in self.schedule(t))
        spread = (alpha**2 * self.std**2 + sigma**2) ** 0.5
        return float(sum(ndtr((x - alpha * mean) / spread) for mean in self.means) / len(self.means))

    def flow(self, x: float, t: float, r: float) -> float:
        share = self.below(x, t)
        return float(brentq(lambda y: self.below(y, r) - share, -20, 20, xtol=1e-14))

    def posterior(self, x: float, t: float, points: int = 20_001) -> tuple[Tensor, Tensor, Tensor]:
        """x0 in fine steps and the eps with which it makes x_t = x, (points, 1), and their share, (points,)."""
        alpha, sigma = self.schedule(t)
        x0 = torch.linspace(-2.5, 2.5, points, dtype=torch.float64)[:, None]
        eps = (x - alpha * x0) / sigma
        density = sum((-((x0 - mean) ** 2) / (2 * self.std**2)).exp() for mean in self.means)
        weight = (density * (-(eps**2) / 2).exp())[:, 0]
        return x0, eps, weight / weight.sum()


@dataclass(frozen=True)
class By:
    """A denoiser that is a function of x_t, t and conditions."""

    schedule: Schedule
    answer: Callable[..., Prediction]

    def __call__(self, x_t: Tensor, t, **conditions: Tensor) -> Prediction:
        return self.answer(x_t, as_times(t), **conditions)


@dataclass(frozen=True)
class Answers:
    """A denoiser that answers with the pair whose DDIM step takes x_t where ``way`` says, by the row that it has.

    Args:
        way: (x_t, t) -> (x~, e~).
    """

    schedule: Schedule
    way: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    row: Parameterization = V

    def __call__(self, x_t: Tensor, t, **conditions: Tensor) -> Prediction:
        t = as_times(t)
        q_t = self.schedule(t)
        return Prediction(*self.row.solve(self.row.mix(*self.way(x_t, t), q_t), x_t, q_t))


class LinearStudent(nn.Module):
    """F(x, t) = a_t x + b_t, with two numbers for each time of a walk; of a jump for each pair of its times.

    It starts as a network does that says nothing, F = 0.
    """

    def __init__(self, schedule: Schedule, walk: tuple[float, ...], row: Parameterization = V, jumps: bool = False):
        super().__init__()
        self.schedule, self.walk, self.row = schedule, walk, row
        size = (len(walk), len(walk) + 1) if jumps else (len(walk),)
        self.a = nn.Parameter(torch.zeros(size, dtype=torch.float64))
        self.b = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    def forward(self, x_t: Tensor, t, **conditions: Tensor) -> Prediction:
        t = as_times(t).expand(len(x_t))
        place = (students_times.position(self.walk, t),)
        if self.a.ndim == 2:
            until = as_times(conditions[UNTIL]).expand(len(x_t))
            place = (*place, students_times.position((*self.walk, 0.0), until))
        output = expand(self.a[place], x_t) * x_t + expand(self.b[place], x_t)
        return Prediction(*self.row.solve(output, x_t, self.schedule(t)))


def learn(
    loss: Loss,
    student: nn.Module,
    law: TimeLaw,
    data: Gaussian,
    steps: int,
    rate: float = 0.05,
    shape: tuple[int, ...] = (16, 16),
    seed: int = 0,
) -> nn.Module:
    """Train a student as the trainer does: draw t and what the loss wants beside it, then Adam, its rate falling to 0.

    Args:
        shape: of the batch, its first axis the samples.
    """
    dice = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(student.parameters(), rate, betas=(0.9, 0.95), eps=1e-15)
    for step in range(steps):
        t = law.draw(student.schedule, shape[0], dice)
        told: Mapping[str, Tensor] = loss.draw(student.schedule, t, step / steps, dice)
        x0, eps = torch.randn(2, *shape, generator=dice, dtype=torch.float64)
        losses = loss(student, data.mean + data.std * x0, t, eps, told)
        optimizer.zero_grad()
        (law.weight(t) * losses).mean().backward()
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimizer.step()
    return student.eval()


def chain(walk: tuple[float, ...]) -> list[tuple[float, float]]:
    """(t, s) of a walk's steps, the one to data too."""
    return list(pairwise((*walk, 0.0)))
