"""What a network can predict, one row each.

A network predicts a mix of data and noise, F = p x0 + q eps. With x_t = alpha x0 + sigma eps these are two equations in
two unknowns, so every parameterization gives x0 and eps by the same two lines:

    x0  = (q x_t - sigma F) / (alpha q - sigma p)
    eps = (alpha F - p x_t) / (alpha q - sigma p)

A parameterization *is* its row (p, q); there is no table of conversions to keep in step.

References:
    epsilon   Ho et al. 2020, section 3.2
    v         Salimans & Ho 2022, appendix D, https://arxiv.org/abs/2202.00512
    flow      Lipman et al. 2023, https://arxiv.org/abs/2210.02747
    score     Song et al. 2021, https://arxiv.org/abs/2011.13456
    edm       Karras et al. 2022, table 1, https://arxiv.org/abs/2206.00364
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.diffusion.gaussian import Batch, Marginal, expand
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError


def _unscaled(q_t: Marginal) -> Tensor:
    return torch.ones_like(q_t.alpha)


@dataclass(frozen=True)
class Parameterization:
    """A row: the network predicts F = p x0 + q eps of an input scaled by ``input_scale``.

    Args:
        name: as in settings and files.
        row: (alpha, sigma) -> (p, q), float64.
        input_scale: (alpha, sigma) -> the factor on x_t before the network sees it; 1 unless the row says otherwise.
    """

    name: str
    row: Callable[[Marginal], tuple[Tensor, Tensor]]
    input_scale: Callable[[Marginal], Tensor] = _unscaled

    def mix(self, x0: Batch, eps: Batch, q_t: Marginal) -> Batch:
        """F = p x0 + q eps: the network's target, or its output again from a prediction of both."""
        p, q = self.row(q_t)
        return expand(p, x0) * x0 + expand(q, x0) * eps

    def solve(self, output: Batch, x_t: Batch, q_t: Marginal) -> tuple[Batch, Batch]:
        """(x0, eps) from the network's output F at x_t."""
        p, q = self.row(q_t)
        alpha, sigma = q_t
        det = self.determinant(q_t)
        x0 = expand(q / det, x_t) * x_t - expand(sigma / det, x_t) * output
        eps = expand(alpha / det, x_t) * output - expand(p / det, x_t) * x_t
        if not sigma.all():  # x_t is data: x0 needs no network, and a row may not say what the noise is
            clean = expand(sigma, x_t) == 0
            x0 = torch.where(clean, x_t / expand(alpha, x_t), x0)
            eps = torch.where(clean & ~eps.isfinite(), 0.0, eps)
        return x0, eps

    def determinant(self, q_t: Marginal) -> Tensor:
        """alpha q - sigma p: where it is 0 the output does not determine x0 and eps."""
        p, q = self.row(q_t)
        return q_t.alpha * q - q_t.sigma * p

    @property
    def keeps_data(self) -> bool:
        """Whether x0 of a network's finite output tends to x_t as sigma does to 0: f(x, 0) = x without a boundary
        condition. It does where F says something of eps there, q != 0."""
        one, none = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        q = self.row(Marginal(one, none))[1]
        return bool(q.isfinite() and q != 0)

    def check(self, schedule: Schedule) -> None:
        """Check that this row is not singular on a schedule at the noisy end (epsilon and score where alpha_T = 0)."""
        end = schedule(torch.tensor(schedule.t_max, dtype=torch.float64))
        if self.determinant(end).abs() < 1e-12:
            raise UndiffuseError(
                f"A schedule that ends in pure noise (alpha = 0) needs a prediction that still means something there; "
                f"'{self.name}' does not: use `parameterization=v` or x0"
            )


EPSILON = Parameterization("epsilon", lambda q: (torch.zeros_like(q.alpha), torch.ones_like(q.alpha)))
"""F = eps. Singular where alpha = 0."""

X0 = Parameterization("x0", lambda q: (torch.ones_like(q.alpha), torch.zeros_like(q.alpha)))
"""F = x0. Where sigma = 0, at data itself, it says nothing of eps, which is 0 there: the limit for a smooth density."""

V = Parameterization("v", lambda q: (-q.sigma, q.alpha))
"""F = alpha eps - sigma x0. Never singular where alpha^2 + sigma^2 = 1."""

FLOW = Parameterization("flow", lambda q: (-torch.ones_like(q.alpha), torch.ones_like(q.alpha)))
"""F = eps - x0, the velocity of the straight line from data to noise."""

SCORE = Parameterization("score", lambda q: (torch.zeros_like(q.alpha), -1 / q.sigma))
"""F = -eps / sigma, the score of q(x_t | x0). Singular where alpha = 0, and like x0 where sigma = 0."""


def edm(sigma_data: float = 0.5) -> Parameterization:
    """Karras et al.'s preconditioning: unit-variance input and target at every noise level.

    With m^2 = sigma^2 + alpha^2 sigma_data^2 (the variance of x_t):
    F = sigma / (sigma_data m) x0 - sigma_data alpha / m eps, of the input x_t / m.

    In terms of c_skip, c_out, c_in this is D = c_skip x + c_out F(c_in x) with their table 1, for any alpha.

    Args:
        sigma_data: standard deviation of the data in model space, positive.
    """
    if sigma_data <= 0:
        raise UndiffuseError(f"sigma_data is a standard deviation and must be positive; it is {sigma_data}")

    def spread(q: Marginal) -> Tensor:
        return (q.sigma**2 + (q.alpha * sigma_data) ** 2).sqrt()

    return Parameterization(
        "edm",
        lambda q: (q.sigma / (sigma_data * spread(q)), -sigma_data * q.alpha / spread(q)),
        lambda q: 1 / spread(q),
    )


ROWS = {row.name: row for row in (EPSILON, X0, V, FLOW, SCORE)}
"""The rows without a parameter, by name."""


def make_parameterization(name: str, sigma_data: float = 0.5) -> Parameterization:
    """The row that a configuration names."""
    return edm(sigma_data) if name == "edm" else ROWS[name]
