"""A budget in minutes that holds on a machine whose speed changes: how many steps, decided again as the training goes.

    n = i + (what is left of the minutes) / (seconds of a step, as they were lately)        after step i

One look at the speed, at the start, plans twice the steps or half of them where a neighbour comes or goes. So it is
looked at after every step, and what follows from it is decided some dozens of times in a training, more often towards
its end. `plan` says what a decision is, and how a training that goes on repeats the decisions of the one before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from undiffuse.training.step_plan import Decision, Plan

Clock = Callable[[], float]

SPARE = 0.01
"""Part of the minutes that is planned for nothing."""
LATELY = 0.1
"""Part of the budget after which the seconds of a step count half for the speed."""
LOOKS = 50
"""Looks at the speed in a training, before those at its end."""
WORTH = 0.02
"""Part of the remaining steps by which a plan must be wrong to be changed."""

ALL = 0.999
"""Share of a budget that is over, although one more step is taken."""


class Timer:
    """Seconds of the present budget that were spent, in this process and, as far as it is told, in those before it."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self._zero = clock()

    @property
    def spent(self) -> float:
        return self.clock() - self._zero

    @spent.setter
    def spent(self, seconds: float) -> None:
        self._zero = self.clock() - seconds


class Pace:
    """Decides how many steps fit.

    Args:
        plan: what is corrected; its last decision is the plan so far.
        seconds: the budget.
        step: seconds of a step, as they were measured.
    """

    def __init__(self, plan: Plan, timer: Timer, seconds: float, step: float) -> None:
        self._plan, self._timer, self._budget = plan, timer, seconds
        self._steps, self._seconds = 1.0, step
        self._last = self._looked = self._began = timer.spent
        self._others = 0.0

    def repeated(self) -> None:
        """Go on from a timer that was set to what it was at a decision of before."""
        self._last = self._looked = self._timer.spent

    def decide(self, step: int, others: float = 0.0, reserve: float = 0.0) -> Decision | None:
        """The decision after ``step`` steps; None where the plan stays. To be called after every step.

        Args:
            others: seconds that were not spent on steps in this process: on grids, on checkpoints.
            reserve: seconds that the last grid and the last checkpoint will take.
        """
        now = self._timer.spent
        taken = max(0.0, now - self._last - (others - self._others))
        self._others = others
        forget = 0.5 ** (taken / (LATELY * self._budget))
        self._seconds, self._steps = forget * self._seconds + taken, forget * self._steps + 1
        self._last = now
        if step >= self._plan.total:
            return None
        end = self._budget * (1 - SPARE) - reserve
        left = end - now
        if step + 1 < self._plan.total and now - self._looked < min(self._budget / LOOKS, max(0.0, left) / 4):
            return None
        self._looked = now
        elapsed = max(now - self._began, 1e-9)
        # seconds of a step, with its part of the grids and checkpoints
        per_step = max(self._seconds / self._steps, 1e-9) / (1 - min(0.5, self._others / elapsed))
        total = step + max(1, math.floor(left / per_step))
        remaining = self._plan.total - step
        if abs(total - self._plan.total) < max(1.0, WORTH * remaining):
            return None
        return Decision(step, self._share(now, end), total, self._plan.start(step), now)

    def _share(self, now: float, end: float) -> float:
        """Part of the budget that is spent: it has gone on evenly with the time since the last decision."""
        last = self._plan.decisions[-1]
        if now >= end or last.spent >= end:
            return max(last.share, ALL)
        return last.share + (1 - last.share) * (now - last.spent) / (end - last.spent)
