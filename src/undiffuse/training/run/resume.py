"""What may be asked of a training that goes on, and what may not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from undiffuse.checkpoints.training_checkpoint import State
from undiffuse.config.files import BUDGETS, override
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten
from undiffuse.errors import UndiffuseError, counted
from undiffuse.training.budget import fixed_total
from undiffuse.training.run.replay import NOTHING, Recorded
from undiffuse.training.run.validate import check
from undiffuse.training.step_plan import Decision, Plan

FREE = (
    *("source", "pairs", "device", "compile", "parallel", "teacher", "teacher_weights", "origin"),
    *("sample_every", "sample_count", "checkpoint_every", "validate_every", "patience", "keep", "track"),
)
"""Settings that may be changed on resuming: they do not change what is learned (data are compared by their content,
teachers by their weights)."""


@dataclass(frozen=True)
class NewBudget:
    """A budget that takes the place of the run's.

    Args:
        decision: where the training stands in it; of a budget in minutes the total is still to be measured.
    """

    given: dict[str, Any]
    decision: Decision


@dataclass(frozen=True)
class Going:
    """The way in which a run goes on.

    Args:
        plan: its steps, before a new budget.
        recorded: what was decided after the checkpoint.
    """

    config: TrainConfig
    plan: Plan
    recorded: Recorded
    budget: NewBudget | None = None


def reconcile(config: TrainConfig, state: State, given: dict[str, Any], recorded: Recorded = NOTHING) -> Going:
    """The settings and the steps with which a run goes on.

    What is given again must be what the run has. Two things may differ: the settings in `FREE`, and the budget.

    * Where the learning rate does not depend on the last step, more steps give the weights of a run that was longer
      from the start.
    * A run that is finished goes on with a new budget, so many minutes or up to so many steps in all, and its learning
      rate rises and falls once more.
    * One that is not finished goes on in another budget from the share of it that is spent.

    Args:
        config, state: of the checkpoint.
        given: settings by flat name, as the user gave them.
    """
    wanted = flatten(override(config, **given))
    has = flatten(config)
    for name in given:
        if name not in (*FREE, *BUDGETS) and wanted[name] != has[name]:
            raise UndiffuseError(
                f"the run has {name}={has[name]!r}, so it cannot go on with {name}={wanted[name]!r}; "
                "leave it out, or start a run under another `name`"
            )
    new = override(config, **{name: given[name] for name in given if name in FREE})
    plan = Plan.of(state.total, state.decisions)
    asked = {name: wanted[name] for name in given if name in BUDGETS and given[name] is not None}
    if recorded.budget and asked in ({}, recorded.budget):  # it was asked for before, and nothing of it was saved
        new = override(new, **recorded.budget)
        check(new)
        return Going(new, plan, recorded)
    finished = state.step >= plan.total
    same = all(has[name] == value for name, value in asked.items())
    if not asked or (same and not (finished and "minutes" in asked)):
        check(new)
        return Going(new, plan, recorded)
    longer = override(new, **asked)
    check(longer)
    total = fixed_total(longer.loop)
    words = " and ".join(f"{name}={value:g}" for name, value in asked.items())
    if total is not None and total <= state.step:
        more = {"steps": state.step + 1000, "images": (state.step + 1000) * config.loop.batch}
        advice = " or ".join(f"`{name}={more[name]}`" for name in asked if name in more)
        raise UndiffuseError(
            f"the run has {counted(state.step, 'step')} already, so it cannot go on with {words}, which counts all of "
            f"them; give more, such as {advice}, or the `minutes` that it shall go on"
        )
    if total is not None and not plan.decisions and config.optimizer.decay in ("constant", "inverse-sqrt"):
        if total < plan.total:
            raise UndiffuseError(
                f"the run was planned for {counted(plan.total, 'step')}, so it cannot go on with {words}; "
                "give more `steps` or none"
            )
        return Going(longer, Plan(total), NOTHING)
    share, start, spent = (0.0, state.step, 0.0) if finished else _within(config, state, plan)
    if longer.loop.minutes is not None and spent >= 60 * longer.loop.minutes:
        raise UndiffuseError(f"the run has spent {spent / 60:.3g} minutes already, so it cannot go on with {words}")
    decision = Decision(state.step, share, total or state.step + 1, start, spent)
    return Going(longer, plan, NOTHING, NewBudget(asked, decision))


def _within(config: TrainConfig, state: State, plan: Plan) -> tuple[float, int, float]:
    """Share, start and seconds of the budget of a run that is not finished; those of before count for minutes alone."""
    spent = state.spent or state.seconds
    return plan.share(state.step), plan.start(state.step), spent if config.loop.minutes is not None else 0.0
