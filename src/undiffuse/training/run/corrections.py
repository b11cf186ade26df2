"""Between two steps of a training its plan is corrected, in all processes alike, and it is noted what was decided."""

from __future__ import annotations

import json
from dataclasses import astuple
from typing import Any

from undiffuse.errors import counted
from undiffuse.training.callbacks.intervals import Intervals
from undiffuse.training.callbacks.progress_line import duration
from undiffuse.training.callbacks.reporting import Reporting
from undiffuse.training.pace import Pace, Timer
from undiffuse.training.plan import Decision, Plan
from undiffuse.training.run.replay import Recorded, line_of

SAID = 0.2
"""Part of the steps by which a plan must change to be told of; metrics.jsonl has every decision."""


class Corrections:
    """Repeats what was decided before, and then decides anew by the clock of rank 0.

    Args:
        plan: what is corrected.
        timer: of the budget.
        pace: what decides; None where the number of steps is fixed, and in all processes but rank 0.
        seconds: the budget, where it is one of time.
        replay: what to repeat, and the budget with which a run goes on, if that was given anew.
        reporting: where decisions are written and told.
    """

    def __init__(
        self,
        plan: Plan,
        timer: Timer,
        pace: Pace | None,
        seconds: float | None,
        replay: tuple[Recorded, dict[str, Any] | None],
        intervals: Intervals,
        reporting: Reporting,
    ) -> None:
        self._plan, self._timer, self._pace, self._budget = plan, timer, pace, seconds
        self._recorded, self._given = replay
        self._intervals, self._group = intervals, intervals.group
        self._metrics, self._console = reporting.metrics, reporting.console
        self._said = plan.total

    def begin(self, step: int) -> None:
        """Before the first step, when ``step`` are done already."""
        for decision in self._plan.decisions:
            if decision.step == step:
                self._write(decision, self._given)
        self._repeat(step)

    def __call__(self, step: int) -> None:
        """After ``step`` steps, and all that was done with the last of them."""
        repeated = self._repeat(step)
        if self._budget is None:
            return
        found = None
        if self._pace:
            found = self._pace.decide(step, self._intervals.seconds, self._intervals.reserve(self._budget))
        if repeated or step < self._recorded.until:
            return
        if self._group.largest(int(found is not None)):
            numbers = self._group.broadcast_text(lambda: json.dumps(astuple(found) if found else ()))
            self._take(Decision(*json.loads(numbers)))

    def _repeat(self, step: int) -> bool:
        decision = self._recorded.at(step)
        if decision is None or decision in self._plan.decisions:
            return False
        self._timer.spent = decision.spent
        if self._pace:
            self._pace.repeated()
        self._take(decision, self._recorded.budget_of(decision))
        return True

    def _take(self, decision: Decision, budget: dict[str, Any] | None = None) -> None:
        self._plan.decide(decision)
        self._write(decision, budget)
        if abs(decision.total - self._said) > SAID * self._said:
            self._said = decision.total
            left = f", for {duration(max(0.0, self._budget - decision.spent))} are left" if self._budget else ""
            self._console.say(f"at step {decision.step:,} the plan is {counted(decision.total, 'step')}{left}")

    def _write(self, decision: Decision, budget: dict[str, Any] | None) -> None:
        if self._metrics:
            self._metrics.write(line_of(decision, budget))
