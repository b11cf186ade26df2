"""Dormand and Prince's embedded Runge-Kutta pair of orders 5 and 4, with a step size of its own for every image.

J. R. Dormand & P. J. Prince 1980, "A family of embedded Runge-Kutta formulae"; step control as in Hairer, Norsett &
Wanner, "Solving Ordinary Differential Equations I", section II.4.

The field's libraries (torchdiffeq, scipy) take one step size for a whole batch, so that an image's likelihood would
depend on the images beside it, and one difficult image would make all others as dear. A denoiser takes a time for each
image anyway. That, and 143 MB of dependencies, is why these seventy lines are ours; the tests compare them with
torchdiffeq's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.diffusion.gaussian import expand
from undiffuse.errors import UndiffuseError

State = tuple[Tensor, ...]
"""Tensors with one row an image. The error is measured in each of them, the largest counts."""
Velocity = Callable[[Tensor, Tensor, State], State]
"""``(rows, times, state of those rows) -> its derivative``; rows (n,) int64, times (n,) float64, both on the CPU."""

NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""The last row is the step of order 5 itself, so that its last stage is the first one of the next step."""
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""Weights of the difference between orders 5 and 4."""
SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0
FIRST = 0.01
"""The first step, as a part of the way."""
MOST = 10_000
"""Steps after which an integration is given up."""


def root_mean_square(values: Tensor) -> Tensor:
    """Of each row: the error of the whole, for integrals."""
    return values.square().mean(1).sqrt()


def largest(values: Tensor) -> Tensor:
    """Of each row: the error of its worst value, for pictures, in which a few pixels may be the difficult ones."""
    return values.abs().amax(1)


@dataclass(frozen=True)
class Tolerance:
    """The bound on the error e of a step: norm(e / (absolute + relative max(|y|, |y_new|))) <= 1 in every row.

    Args:
        norm: (rows, values) -> (rows,).
    """

    relative: float = 1e-5
    absolute: float = 1e-5
    norm: Callable[[Tensor], Tensor] = root_mean_square


PLAIN = Tolerance()


class NotFiniteError(UndiffuseError):
    """The numbers of an integration are no longer finite."""


class TooManyStepsError(UndiffuseError):
    """An integration was given up."""


def integrate(
    velocity: Velocity,
    state: State,
    start: float,
    end: float,
    tolerance: Tolerance = PLAIN,
    on_done: Callable[[int], object] = lambda count: None,
) -> tuple[State, Tensor]:
    """Carry every row of ``state`` from ``start`` to ``end``.

    Args:
        velocity: the right-hand side.
        state: at ``start``; left as it is.
        tolerance: of a step, in every tensor of a row.
        on_done: told how many rows arrived.

    Returns:
        The state at ``end`` and the number of evaluations of each row.

    Raises:
        NotFiniteError: the numbers are no longer finite.
        TooManyStepsError: more than `MOST` steps are needed.
    """
    state = tuple(part.clone() for part in state)
    batch = len(state[0])
    rows = torch.arange(batch)
    time = torch.full((batch,), start, dtype=torch.float64)
    step = torch.full((batch,), FIRST * (end - start), dtype=torch.float64)
    slope = tuple(part.clone() for part in velocity(rows, time, state))
    evaluations = torch.ones(batch, dtype=torch.int64)
    for _ in range(MOST):
        here, first = (tuple(part[rows] for part in parts) for parts in (state, slope))
        last = (end - time[rows] - step[rows]) * (end - start) <= 0  # this step would arrive
        h = torch.where(last, end - time[rows], step[rows])
        new, slopes = _stages(velocity, rows, time[rows], h, here, first)
        ratio = _error(slopes, h, here, new, tolerance)
        if not bool(ratio.isfinite().all()):
            raise NotFiniteError(
                "the ODE's numbers are no longer finite: try other `weights`, or an earlier checkpoint"
            )
        evaluations[rows] += len(STAGES)
        taken = ratio <= 1
        for part, moved in zip((*state, *slope), (*new, *slopes[-1]), strict=True):
            part[rows[taken]] = moved[taken]
        time[rows[taken]] += h[taken]
        step[rows] = h * (SAFETY * ratio.clamp(min=1e-12) ** -0.2).clamp(SHRINK, GROW)
        arrived = taken & last
        if arrived.any():
            on_done(int(arrived.sum()))
            rows = rows[~arrived]
        if not len(rows):
            return state, evaluations
    raise TooManyStepsError(
        f"the ODE needs more than {MOST:,} steps at this tolerance; give a larger `rtol` and `atol`"
    )


def _stages(
    velocity: Velocity, rows: Tensor, time: Tensor, h: Tensor, here: State, first: State
) -> tuple[State, list[State]]:
    """The step of order 5 and the seven slopes behind it."""
    slopes, new = [first], here
    for node, weights in zip(NODES, STAGES, strict=True):
        new = tuple(y + expand(h, y) * move for y, move in zip(here, _combine(weights, slopes), strict=True))
        slopes.append(velocity(rows, time + node * h, new))
    return new, slopes


def _combine(weights: tuple[float, ...], slopes: list[State]) -> State:
    """sum_i w_i k_i."""
    used = [(w, k) for w, k in zip(weights, slopes, strict=True) if w]
    return tuple(torch.stack([w * k[part] for w, k in used]).sum(0) for part in range(len(slopes[0])))


def _error(slopes: list[State], h: Tensor, here: State, new: State, tolerance: Tolerance) -> Tensor:
    """The step's error in units of the tolerance, float64, one number a row."""
    worst = torch.zeros_like(h)
    for e, old, now in zip(_combine(ERROR, slopes), here, new, strict=True):
        allowed = tolerance.absolute + tolerance.relative * torch.maximum(old.abs(), now.abs())
        found = tolerance.norm((expand(h, e) * e / allowed).reshape(len(h), -1))
        worst = torch.maximum(worst, found.cpu().double())
    return worst
