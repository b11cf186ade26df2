"""What may be asked of a training that goes on, and what may not."""

from __future__ import annotations

from typing import Any

from undiffuse.checkpoint import State
from undiffuse.config import TrainConfig
from undiffuse.config_file import BUDGETS, flatten, override
from undiffuse.errors import UndiffuseError
from undiffuse.training.budget import fixed_total
from undiffuse.training.check import check

FREE = (
    *("source", "pairs", "device", "compile", "parallel"),
    *("sample_every", "sample_count", "checkpoint_every", "keep", "track"),
)
"""Settings that may be changed on resuming: they do not change what is learned (data are compared by their content)."""


def reconcile(config: TrainConfig, state: State, given: dict[str, Any]) -> tuple[TrainConfig, int]:
    """The settings and the number of steps with which a run goes on.

    What is given again must be what the run has. Two things may differ: the settings in `FREE`, and the budget, which
    may grow where the learning rate does not depend on the last step: the weights are then those of a run that was
    longer from the start.

    Args:
        config, state: of the checkpoint.
        given: settings by flat name, as the user gave them.

    Raises:
        UndiffuseError: a setting contradicts the run's, or the budget cannot be changed so.
    """
    wanted = flatten(override(config, **given))
    has = flatten(config)
    for name in given:
        if name not in (*FREE, *BUDGETS) and wanted[name] != has[name]:
            raise UndiffuseError(
                f"the run has {name}={has[name]!r}, so it cannot go on with {name}={wanted[name]!r}; "
                "leave it out, or start a run under another --name"
            )
    new = override(config, **{name: given[name] for name in given if name in FREE})
    asked = {name: given[name] for name in given if name in BUDGETS and given[name] is not None}
    if not asked or all(has[name] == wanted[name] for name in asked):
        check(new)
        return new, state.total
    longer = override(new, **asked)
    check(longer)
    total = fixed_total(longer.loop)
    words = " and ".join(f"{name}={value:g}" for name, value in asked.items())
    if total is None or total < state.total:
        raise UndiffuseError(
            f"the run was planned for {state.total:,} steps, so it cannot go on with {words}; give more --steps or none"
        )
    if total > state.total and config.optimizer.decay in ("linear", "cosine"):
        raise UndiffuseError(
            f"the run's learning rate reaches 0 at step {state.total:,} (decay={config.optimizer.decay}), so it cannot "
            f"go on with {words}; start a run under another --name"
        )
    return longer, total
