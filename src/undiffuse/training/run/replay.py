"""What a run's metrics.jsonl knows of the steps after its newest checkpoint, which will be taken again.

The decisions of a plan are written there as soon as they are taken. A training that goes on from an earlier step
repeats them, so that it is the same training; the clock decides again where the file ends.
"""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from undiffuse.config.files import BUDGETS
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.step_plan import Decision


@dataclass(frozen=True)
class Recorded:
    """The steps after a checkpoint, which will be taken again, as metrics.jsonl knows them.

    Args:
        decisions: those after the checkpoint's, each with the budget, by flat name, that was given anew with it.
        until: the last step that is known to have been taken; up to there nothing else was decided.
    """

    decisions: tuple[tuple[Decision, dict[str, Any] | None], ...] = ()
    until: int = 0

    @property
    def budget(self) -> dict[str, Any] | None:
        """The last one that was given."""
        return next((budget for _, budget in reversed(self.decisions) if budget), None)

    def to_text(self) -> str:
        return json.dumps([[(astuple(decision), budget) for decision, budget in self.decisions], self.until])

    @classmethod
    def from_text(cls, text: str) -> Recorded:
        """The inverse of `to_text`, for other processes."""
        decisions, until = json.loads(text)
        return cls(tuple((Decision(*numbers), budget) for numbers, budget in decisions), until)


NOTHING = Recorded()
"""Where there is no such file, or it is not to be followed."""


def line_of(decision: Decision, budget: dict[str, Any] | None = None) -> dict[str, Any]:
    """A line of metrics.jsonl: what holds from the step on that comes next."""
    numbers = {name: value for name, value in asdict(decision).items() if name != "step"}
    return {"step": decision.step + 1, "plan": numbers | ({"budget": budget} if budget else {})}


def is_budget(found: Any) -> bool:
    """True for nothing, and for numbers by names of budgets."""
    if not isinstance(found, dict):
        return found is None
    return found.keys() <= set(BUDGETS) and all(isinstance(v, int | float) and v > 0 for v in found.values())


def recorded(path: Path, step: int) -> Recorded:
    """The lines of a run's metrics.jsonl after ``step``; nothing where it cannot be read, for it is only a help."""
    try:
        lines = read_metrics(path, lambda line: isinstance(line.get("step"), int) and line["step"] > step)
        plans = [(line["step"] - 1, dict(line["plan"])) for line in lines if "plan" in line]
        budgets = [plan.pop("budget", None) for _, plan in plans]
        decisions = [Decision(at, **plan) for at, plan in plans]
        if not all(decision.possible for decision in decisions) or not all(map(is_budget, budgets)):
            return NOTHING
    except (OSError, ValueError, TypeError, AttributeError):
        return NOTHING
    taken = [line["step"] for line in lines if "plan" not in line]
    known = [decision.step for decision in decisions]
    return Recorded(tuple(zip(decisions, budgets, strict=True)), max([*taken, *known], default=step))
