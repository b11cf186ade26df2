"""Between two steps of a training its plan is corrected, in all processes alike, and it is noted what was decided."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

from undiffuse.errors import counted
from undiffuse.training.callbacks.console import Console
from undiffuse.training.callbacks.intervals import Intervals
from undiffuse.training.callbacks.metrics import MetricsFile
from undiffuse.training.callbacks.progress_line import duration
from undiffuse.training.pace import Pace, Timer
from undiffuse.training.run.replay import NOTHING, Recorded, line_of
from undiffuse.training.step_plan import Decision, Plan

ENDING = 0.999
"""The largest share of a budget after which a training ends early: a share of 1 would be over."""
SAID = 0.2
"""Part of the steps by which a plan must change to be told of; metrics.jsonl has every decision."""


@dataclass(frozen=True)
class Outset:
    """The state of the clock and the log when a training begins or goes on.

    Args:
        step: seconds of a step; 0 where that is not known.
        evaluation: seconds of an evaluation for grids.
        checkpoint: seconds of one.
        recorded: decisions to be repeated.
        budget: that a run goes on with, by flat name, if it was given anew.
        window: sums since the last line of metrics.jsonl, see `metrics.Window`.
    """

    timer: Timer
    step: float = 0.0
    evaluation: float | None = None
    checkpoint: float = 0.0
    recorded: Recorded = NOTHING
    budget: dict[str, Any] | None = None
    window: tuple[float, ...] = ()


class Corrections:
    """Repeats what was decided before, and then decides anew by the clock of rank 0.

    Args:
        seconds: the budget, where it is one of time.
        metrics: where decisions are written, in rank 0.
    """

    def __init__(
        self,
        plan: Plan,
        outset: Outset,
        seconds: float | None,
        intervals: Intervals,
        metrics: MetricsFile | None,
        console: Console,
    ) -> None:
        self._plan, self._timer, self._budget = plan, outset.timer, seconds
        self._recorded, self._given = outset.recorded, outset.budget
        self._intervals, self._group = intervals, intervals.group
        self._pace = Pace(plan, outset.timer, seconds, outset.step) if self._group.is_main and seconds else None
        self._metrics, self._console, self._said = metrics, console, plan.total

    def begin(self, step: int) -> None:
        """Before the first step, when ``step`` are done already."""
        for decision in self._plan.decisions:
            if decision.step == step:
                self._write(decision, self._given)
        self._repeat(step)

    def __call__(self, step: int, ending: Callable[[], str] | None = None) -> None:
        """After ``step`` steps, and all that was done with the last of them.

        Args:
            ending: in rank 0 why the training is to end, '' while it goes on; None where nobody can end it.
        """
        repeated = self._repeat(step)
        if ending and not repeated and step >= self._recorded.until and self._end(step, ending):
            return
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

    def _end(self, step: int, ending: Callable[[], str]) -> bool:
        """Decide that the next step is the last one, where somebody wants that; whether it is."""
        why = self._group.broadcast_text(ending)
        if why and step + 1 < self._plan.total:
            share = min(self._plan.share(step), ENDING)
            self._console.say(f"step {step}: {why}: the training ends")
            self._take(Decision(step, share, step + 1, self._plan.start(step), self._timer.spent))
        return bool(why)

    def _repeat(self, step: int) -> bool:
        recorded = next((pair for pair in self._recorded.decisions if pair[0].step == step), None)
        if recorded is None or recorded[0] in self._plan.decisions:
            return False
        decision, budget = recorded
        self._timer.spent = decision.spent
        if self._pace:
            self._pace.repeated()
        self._take(decision, budget)
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
