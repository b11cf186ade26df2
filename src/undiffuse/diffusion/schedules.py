"""Schedules: the curve t -> (alpha, sigma) of the forward process, and its inverse through the log-SNR.

A schedule answers for the process alone. Which t a sampler visits is `timesteps`; what the network's embedding sees of
t is `denoiser`; how t is drawn in training is `losses`.

* Everything is float64 on the CPU: a float32 cumulative product is off by 1.7e-4 relative at t = 1.
* A discrete chain gathers its table exactly at integer t and interpolates between them, so that one trained model
  serves discrete samplers and ODE/SDE solvers alike.
* t = 0 is data: alpha = 1, sigma = 0, log-SNR = +inf.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.gaussian import Marginal, Times
from undiffuse.errors import UndiffuseError


class Schedule(ABC):
    """The curve t -> (alpha, sigma) for t in [0, t_max]; log-SNR falls strictly with t."""

    t_max: float
    """The end of the process: T for a discrete chain, usually 1 for a continuous one."""

    prior_std: float = 1.0
    """Standard deviation of the noise that sampling starts from."""

    @abstractmethod
    def __call__(self, t: Times) -> Marginal:
        """(alpha, sigma) at times t, float64."""

    @property
    def t_last(self) -> float:
        """The last time at which x_t holds something of the data: t_max, and just before it where alpha is 0 there."""
        if float(self(torch.tensor(self.t_max, dtype=torch.float64)).alpha) > 0:
            return self.t_max
        return self.t_max - min(self.t_min, (self.t_max - self.t_min) / 2)

    @abstractmethod
    def inverse_log_snr(self, log_snr: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The t at which log(alpha^2 / sigma^2) has this value, clamped to [0, t_max]."""

    def log_snr(self, t: Times) -> Float[Tensor, "*batch"]:
        """log(alpha^2 / sigma^2) at times t."""
        return self(t).log_snr

    def from_uniform(self, u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Map u in [0, 1) to the times that training may draw, evenly."""
        return self.t_min + u * (self.t_max - self.t_min)

    @property
    def t_min(self) -> float:
        """The smallest time at which a network is asked: log-SNR is still finite there."""
        return 1e-3 * self.t_max


class DiscreteSchedule(Schedule):
    """A chain of T steps given by alpha-bar_0 = 1 > alpha-bar_1 > ... > alpha-bar_T >= 0 (Ho et al. 2020, eq. 4).

    alpha_t = sqrt(alpha-bar_t),   sigma_t = sqrt(1 - alpha-bar_t)

    Between integers the log-SNR is interpolated linearly; in a cell where it is infinite at one end (the first, and the
    last of a chain with zero terminal SNR) alpha-bar is.

    Args:
        alpha_bar: T + 1 values, strictly decreasing from 1.

    Raises:
        UndiffuseError: if the values do not describe a chain.
    """

    def __init__(self, alpha_bar: Tensor | Sequence[float]) -> None:
        alpha_bar = torch.as_tensor(alpha_bar, dtype=torch.float64)
        valid = (
            alpha_bar.ndim == 1
            and len(alpha_bar) >= 2
            and bool(torch.isfinite(alpha_bar).all())
            and alpha_bar[0] == 1
            and alpha_bar[-1] >= 0
            and bool((alpha_bar.diff() < 0).all())
        )
        if not valid:
            raise UndiffuseError(
                "A schedule's alpha-bar must fall strictly from alpha-bar_0 = 1 to alpha-bar_T >= 0; "
                f"these {len(alpha_bar) if alpha_bar.ndim else 0} values do not: give betas between 0 and 1 instead"
            )
        self.alpha_bar = alpha_bar
        self.T = len(alpha_bar) - 1
        self.t_max = float(self.T)
        self._log_snr = alpha_bar.log() - (-alpha_bar).log1p()

    @classmethod
    def from_betas(cls, betas: Tensor | Sequence[float]) -> DiscreteSchedule:
        """alpha-bar_t = prod_{i <= t} (1 - beta_i), for T variances beta in (0, 1]."""
        betas = torch.as_tensor(betas, dtype=torch.float64)
        if not (betas.ndim == 1 and len(betas) and bool(((betas > 0) & (betas <= 1)).all())):
            raise UndiffuseError("A schedule's betas must be a list of numbers in (0, 1]; these are not")
        return cls(torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)]))

    @property
    def betas(self) -> Float[Tensor, "steps"]:
        """beta_1 .. beta_T: beta_t = 1 - alpha-bar_t / alpha-bar_{t-1}."""
        return 1 - self.alpha_bar[1:] / self.alpha_bar[:-1]

    @property
    def t_min(self) -> float:
        return 1.0

    def __call__(self, t: Times) -> Marginal:
        t = torch.as_tensor(t, dtype=torch.float64).clamp(0, self.T)
        left = t.floor().long()
        right = (left + 1).clamp(max=self.T)
        part = t - left
        log_snr = torch.lerp(self._log_snr[left], self._log_snr[right], part)
        linear = torch.lerp(self.alpha_bar[left], self.alpha_bar[right], part)
        alpha_bar = torch.where(log_snr.isfinite(), log_snr.sigmoid(), linear)
        alpha_bar = torch.where(part == 0, self.alpha_bar[left], alpha_bar)  # integers gather exactly
        return Marginal(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())

    def inverse_log_snr(self, log_snr: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        log_snr = torch.as_tensor(log_snr, dtype=torch.float64)
        log_snr = log_snr.clamp(min=self._log_snr[-1])
        # The cell [left, left + 1] in which the value lies; the table falls, searchsorted wants it to rise.
        left = (torch.searchsorted(-self._log_snr, -log_snr, right=True) - 1).clamp(0, self.T - 1)
        start, end = self._log_snr[left], self._log_snr[left + 1]
        part = (start - log_snr) / (start - end)
        linear = (self.alpha_bar[left] - log_snr.sigmoid()) / (self.alpha_bar[left] - self.alpha_bar[left + 1])
        return left + torch.where(start.isfinite() & end.isfinite(), part, linear)

    def from_uniform(self, u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Integers 1..T, each for an equal share of u."""
        return (u * self.T).floor().clamp(max=self.T - 1) + 1


class VP(Schedule):
    """The variance-preserving SDE with linear beta(t) on t in [0, 1] (Song et al. 2021, eq. 29 and appendix B).

    log alpha_t = -1/4 t^2 (beta_max - beta_min) - 1/2 t beta_min,   sigma_t^2 = 1 - alpha_t^2
    """

    t_max = 1.0

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        if not 0 < beta_min < beta_max:
            raise UndiffuseError(f"VP needs 0 < beta_min < beta_max; it got {beta_min} and {beta_max}")
        self.beta_min, self.beta_max = beta_min, beta_max

    def __call__(self, t: Times) -> Marginal:
        t = torch.as_tensor(t, dtype=torch.float64)
        log_alpha = _linear_beta_log_alpha(t, self.beta_min, self.beta_max)
        return Marginal(log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt())

    def inverse_log_snr(self, log_snr: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        log_snr = torch.as_tensor(log_snr, dtype=torch.float64)
        log_alpha = 0.5 * torch.nn.functional.logsigmoid(log_snr)  # alpha^2 = sigmoid(log_snr)
        return _linear_beta_time(log_alpha, self.beta_min, self.beta_max).clamp(0, self.t_max)


class SubVP(Schedule):
    """The sub-VP SDE, VP's alpha with less noise beside it, on t in [0, 1] (Song et al. 2021, eq. 29 and appendix B).

    log alpha_t = -1/4 t^2 (beta_max - beta_min) - 1/2 t beta_min,   sigma_t = 1 - alpha_t^2
    """

    t_max = 1.0

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        if not 0 < beta_min < beta_max:
            raise UndiffuseError(f"SubVP needs 0 < beta_min < beta_max; it got {beta_min} and {beta_max}")
        self.beta_min, self.beta_max = beta_min, beta_max

    def __call__(self, t: Times) -> Marginal:
        t = torch.as_tensor(t, dtype=torch.float64)
        log_alpha = _linear_beta_log_alpha(t, self.beta_min, self.beta_max)
        return Marginal(log_alpha.exp(), -torch.expm1(2 * log_alpha))

    def inverse_log_snr(self, log_snr: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        log_snr = torch.as_tensor(log_snr, dtype=torch.float64)
        # (1 - alpha^2) / alpha = r is -2 sinh(log alpha) = r, with r = exp(-log_snr / 2).
        log_alpha = -torch.asinh(torch.exp(-0.5 * log_snr) / 2).clamp(max=1e6)  # finite beyond the process
        return _linear_beta_time(log_alpha, self.beta_min, self.beta_max).clamp(0, self.t_max)


def _linear_beta_log_alpha(t: Tensor, beta_min: float, beta_max: float) -> Tensor:
    return -0.25 * t**2 * (beta_max - beta_min) - 0.5 * t * beta_min


def _linear_beta_time(log_alpha: Tensor, beta_min: float, beta_max: float) -> Tensor:
    # The positive root of the quadratic above, in the form without cancellation.
    root = (beta_min**2 - 4 * (beta_max - beta_min) * log_alpha).sqrt()
    return -4 * log_alpha / (beta_min + root)


class VE(Schedule):
    """The variance-exploding process in Karras et al.'s form: alpha = 1, sigma = t <= sigma_max (2022, table 1)."""

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        if not 0 < sigma_min < sigma_max:
            raise UndiffuseError(f"VE needs 0 < sigma_min < sigma_max; it got {sigma_min} and {sigma_max}")
        self.sigma_min, self.t_max, self.prior_std = sigma_min, sigma_max, sigma_max

    @property
    def t_min(self) -> float:
        return self.sigma_min

    def __call__(self, t: Times) -> Marginal:
        t = torch.as_tensor(t, dtype=torch.float64)
        return Marginal(torch.ones_like(t), t)

    def inverse_log_snr(self, log_snr: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return torch.exp(-0.5 * torch.as_tensor(log_snr, dtype=torch.float64)).clamp(0, self.t_max)


class RectifiedFlow(Schedule):
    """The straight line from data to noise: alpha = 1 - t, sigma = t <= 1 (Liu et al. 2022; Lipman et al. 2023)."""

    t_max = 1.0

    def __call__(self, t: Times) -> Marginal:
        t = torch.as_tensor(t, dtype=torch.float64)
        return Marginal(1 - t, t)

    def inverse_log_snr(self, log_snr: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        # alpha / sigma = exp(log_snr / 2) = (1 - t) / t
        return torch.sigmoid(-0.5 * torch.as_tensor(log_snr, dtype=torch.float64))


def _from_reference_betas(betas: Tensor) -> DiscreteSchedule:
    # Betas are quoted for T = 1000. A chain of another length keeps the same curve over t / T by
    # alpha -> alpha^(1000 / T), which stays in (0, 1) for any T; scaling beta itself leaves it at T < 20.
    return DiscreteSchedule.from_betas(1 - (1 - betas) ** (1000 / len(betas)))


def linear(T: int = 1000, start: float = 1e-4, end: float = 0.02) -> DiscreteSchedule:
    """beta_t linear in t (Ho et al. 2020, section 4); start and end are those of T = 1000, reshaped for other T."""
    return _from_reference_betas(torch.linspace(start, end, T, dtype=torch.float64))


def quadratic(T: int = 1000, start: float = 1e-4, end: float = 0.02) -> DiscreteSchedule:
    """sqrt(beta_t) linear in t."""
    return _from_reference_betas(torch.linspace(math.sqrt(start), math.sqrt(end), T, dtype=torch.float64) ** 2)


def scaled_linear(T: int = 1000, start: float = 0.00085, end: float = 0.012) -> DiscreteSchedule:
    """The quadratic schedule with the end points of latent diffusion (Rombach et al. 2022)."""
    return quadratic(T, start, end)


def sigmoid(
    T: int = 1000, start: float = 1e-4, end: float = 0.02, low: float = -6.0, high: float = 6.0
) -> DiscreteSchedule:
    """beta_t rising as a sigmoid of t from start to end (Xu et al. 2022, GeoDiff)."""
    rise = torch.linspace(low, high, T, dtype=torch.float64).sigmoid()
    return _from_reference_betas(start + (end - start) * rise)


def cosine(T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> DiscreteSchedule:
    """alpha-bar as a squared cosine (Nichol & Dhariwal 2021, eq. 17).

    alpha-bar_t = f(t) / f(0),   f(t) = cos^2((t/T + s) / (1 + s) pi/2),   beta_t <= max_beta
    """
    t = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.cos((t + s) / (1 + s) * math.pi / 2) ** 2
    return DiscreteSchedule.from_betas((1 - f[1:] / f[:-1]).clamp(max=max_beta))


def zero_terminal_snr(schedule: DiscreteSchedule) -> DiscreteSchedule:
    """Stretch a chain so that x_T carries nothing of the data (Lin et al. 2023, algorithm 1, https://arxiv.org/abs/2305.08891).

    sqrt(alpha-bar) is shifted to end in 0 and scaled to keep its value at t = 1.
    """
    root = schedule.alpha_bar[1:].sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return DiscreteSchedule(torch.cat([schedule.alpha_bar[:1], root**2]))


CHAINS = {
    "linear": linear,
    "scaled-linear": scaled_linear,
    "quadratic": quadratic,
    "cosine": cosine,
    "sigmoid": sigmoid,
}


BETWEEN = {"linear": 1.0, "scaled-linear": 0.5, "quadratic": 0.5}
"""Chains that are linear in this power of beta, between their first and their last."""


def between(name: str, T: int, start: float, end: float) -> DiscreteSchedule:
    """The chain of T betas from ``start`` to ``end`` as they are, on a curve of `CHAINS`.

    Raises:
        UndiffuseError: a curve that is not given by its ends, or ends that are no betas.
    """
    if not (0 < start < 1 and 0 < end < 1):
        raise UndiffuseError(f"`beta_start` and `beta_end` must lie between 0 and 1; they are {start} and {end}")
    if name == "sigmoid":
        rise = torch.linspace(-6.0, 6.0, T, dtype=torch.float64).sigmoid()
        return DiscreteSchedule.from_betas(start + (end - start) * rise)
    if name not in BETWEEN:
        raise UndiffuseError(f"`schedule={name}` is not given by a first and a last beta; leave out `beta_start`")
    power = BETWEEN[name]
    return DiscreteSchedule.from_betas(torch.linspace(start**power, end**power, T, dtype=torch.float64) ** (1 / power))
