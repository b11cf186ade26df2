"""How many steps: given, or as many as fit into the minutes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor

from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import LoopConfig
from undiffuse.errors import UndiffuseError, counted
from undiffuse.training.loop import TrainState, TrainStep, training
from undiffuse.training.pace import SPARE, Clock
from undiffuse.training.step_plan import Plan

UNTIMED = 3
"""Steps that are run first and not timed: compilation, allocators, caches."""
LEAST = 2
"""Steps that are planned in any case, so that the plan can be corrected after the first one."""
SLOW = 10.0
"""Seconds of measuring after which the second step counts already."""
ENDLESS = 1_000_000_000
"""Steps of a plan that is never carried out."""
FEW_STEPS, A_BEGINNING = 300, 1000
"""Little more than noise comes of fewer (docs/measure/evaluation.md: 200 steps of the demo), and half of the demo."""


@dataclass(frozen=True)
class StepCosts:
    """Seconds of one step, of one grid of samples and of one checkpoint."""

    step: float
    preview: float
    checkpoint: float


def fixed_total(loop: LoopConfig) -> int | None:
    """The number of steps where settings fix it; None for a budget in minutes, which needs `steps_that_fit`."""
    if loop.images is not None:
        return math.ceil(loop.images / loop.batch)
    return loop.steps


def steps_that_fit(loop: LoopConfig, costs: StepCosts, elapsed: float) -> int:
    """The most steps n with which everything is done in ``loop.minutes``, of which ``elapsed`` seconds are gone; two,
    where fewer seem to fit: a machine that is slow at this moment may not be so in the next.

        n step + (n / sample_every + 1) preview + (n / checkpoint_every + 1) checkpoint
            <= 60 (1 - SPARE) minutes - elapsed

    Grids and checkpoints that come by time (`intervals`) are counted as the training goes (`pace`).

    Raises:
        UndiffuseError: the minutes are over.
    """
    assert loop.minutes is not None
    left = 60 * (1 - SPARE) * loop.minutes - elapsed
    if left <= 0:
        raise UndiffuseError(
            f"{counted(loop.minutes, 'minute')} {'is' if loop.minutes == 1 else 'are'} too few: {elapsed:.0f} s went "
            f"into preparations, and one step takes {costs.step:.2g} s; give more `minutes`"
        )
    left -= costs.checkpoint
    per_step = costs.step
    if loop.sample_every != 0:
        left -= costs.preview
    if loop.sample_every:
        per_step += costs.preview / loop.sample_every
    if loop.checkpoint_every:
        per_step += costs.checkpoint / loop.checkpoint_every
    return max(LEAST, math.floor(left / per_step))


def too_short(config: TrainConfig, total: int, step: float | None = None) -> str:
    """A warning of a training too short to learn anything, with what would be enough; '' for any other.

    Args:
        step: seconds of one, where they were measured.
    """
    warmup = config.optimizer.warmup if config.loop.minutes is None else 0  # in minutes it is a part of them
    rising = total <= 2 * warmup
    if config.start.start_from or (total >= FEW_STEPS and not rising):
        return ""
    inside = f", {'all' if total <= warmup else 'half'} of them inside the warm-up of {warmup}" if rising else ""
    enough = max(A_BEGINNING, 10 * warmup)
    need = f"`steps={enough}`"
    if step is not None:
        minutes = math.ceil(1.1 * enough * step / 60)
        need = f"`minutes={minutes}`" if config.loop.minutes is not None else f"{need}, {minutes} min here,"
    words = f"{counted(total, 'step')} {'is' if total == 1 else 'are'}"
    return (
        f"{words} too few to learn from ({counted(total * config.loop.batch, 'image')}{inside}), so samples will look "
        f"like noise: {need} would be a beginning"
    )


def measure_step(
    train_step: TrainStep, train_state: TrainState, seconds: float, clock: Clock = time.monotonic
) -> float:
    """Seconds a step takes, the median of real steps whose effect is undone.

    Args:
        seconds: time to spend on it once the untimed steps are over.
    """
    weights = _copied(train_state.network.state_dict())
    kinds = (train_state.ema, train_state.powers)
    averages = [{key: _copied(tensors) for key, tensors in kind.state_dicts().items()} for kind in kinds]
    learned = _copied(train_state.time_law.tensors())
    groups = [dict(group) for group in train_state.optimizer.param_groups]
    times: list[float] = []
    began = clock()
    for count, _ in enumerate(training(replace(train_step, plan=Plan(ENDLESS)), train_state), start=1):
        if count >= UNTIMED or clock() - began >= max(SLOW, seconds):
            times.append(clock())
        enough = len(times) > 1 and times[-1] - times[0] >= seconds
        processes = train_step.share.group
        if processes.largest(enough and processes.is_main):  # one clock for all processes: they must stop together
            break
    taken = statistics.median(later - earlier for earlier, later in pairwise(times))

    train_state.network.load_state_dict(weights)
    train_state.network.zero_grad(set_to_none=True)
    train_state.optimizer.state.clear()
    for group, before in zip(train_state.optimizer.param_groups, groups, strict=True):
        group.clear()
        group.update(before)
    for kind, kept in zip(kinds, averages, strict=True):
        for key, tensors in kept.items():
            kind.load_state_dict(key, tensors)
    for name, tensor in train_state.time_law.tensors().items():
        tensor.copy_(learned[name])
    train_state.step = train_state.images = train_state.skipped = train_state.skipped_in_a_row = 0
    train_state.seconds = 0.0
    return taken


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
