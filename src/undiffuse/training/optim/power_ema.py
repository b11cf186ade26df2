"""Averages over a training that weigh its steps by a power of their number, and how others are made of some of them.

The average of the weights theta(i) over steps i <= t whose profile is a power of i,

    average_t = integral p_t(i) theta(i) di        p_t(i) = (gamma + 1) i^gamma / t^(gamma + 1)   on [0, t],

remembers the same part of the training at any time, where an exponential one remembers the same number of steps. That
part is its *relative width*, the standard deviation of i / t:

    std^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))

The update average_t = rate average_(t-1) + (1 - rate) theta(t) with rate = (1 - 1/t)^(gamma + 1) gives theta(i) just
the integral of p_t over (i - 1, i], without an approximation.

How long an average should be is known when samples have been looked at, which is after the training. But an average is
linear in theta: from copies of two of them, saved on the way, any other is a sum, whose profile comes as close to the
wanted one as least squares can bring it (Karras et al. 2024, https://arxiv.org/abs/2312.02696, section 3, appendix C).
Ours asks besides that the sum's weights add up to one, so that what did not change in the training stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from undiffuse.errors import UndiffuseError

WIDEST = 0.28
"""An average over everything alike (gamma = 0) has a relative width of sqrt(1/12) = 0.2887."""


@dataclass(frozen=True)
class Profile:
    """One average of some steps.

    Args:
        step: the last step in it, at least 1.
        std: its relative width.
    """

    step: int
    std: float


def check_widths(widths: Sequence[float]) -> None:
    """Raise an UndiffuseError unless all are relative widths that differ."""
    if len(set(widths)) < len(widths) or not all(0 < std <= WIDEST for std in widths):
        raise UndiffuseError(
            f"a relative width of an average is more than 0 and at most {WIDEST}, and each stands once; "
            f"got {','.join(f'{std:g}' for std in widths)}"
        )


def exponent(std: float) -> float:
    """gamma of a relative width: the positive root of gamma^3 + 7 gamma^2 + (16 - std^-2) gamma + 12 - std^-2 = 0."""
    check_widths([std])
    inverse = std**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def overlap(a: Profile, b: Profile) -> float:
    """The integral of the product of two profiles."""
    if a.step > b.step:
        a, b = b, a
    first, last = exponent(a.std), exponent(b.std)
    return float((first + 1) * (last + 1) / (first + last + 1) * (a.step / b.step) ** last / b.step)


def combine(copies: Sequence[Profile], wanted: Profile) -> tuple[NDArray[np.float64], float]:
    """The sum of copies that comes closest to a wanted average.

        minimise |sum_k w_k p_k - p|^2   subject to   sum_k w_k = 1

    Returns:
        The weights w, and |sum_k w_k p_k - p| / |p|: 0 where the wanted one can be had exactly.
    """
    if not copies:
        raise UndiffuseError("expected copies of averages to make another one of, got none")
    count = len(copies)
    system = np.ones((count + 1, count + 1))
    system[:count, :count] = [[overlap(a, b) for b in copies] for a in copies]
    system[count, count] = 0
    against, length = np.array([overlap(copy, wanted) for copy in copies]), overlap(wanted, wanted)
    # Lengths of one, so that the constraint weighs as much as the rest, whatever the steps' number.
    system[:count, :count] /= length
    weights = np.linalg.lstsq(system, np.append(against / length, 1.0), rcond=1e-13)[0][:count]
    square = weights @ system[:count, :count] @ weights - 2 * weights @ against / length + 1
    return weights, math.sqrt(max(0.0, float(square)))
