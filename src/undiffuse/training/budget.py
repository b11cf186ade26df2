"""How many steps: given, or as many as fit into the minutes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor

from undiffuse.config import LoopConfig
from undiffuse.errors import UndiffuseError
from undiffuse.training.ema import Averages
from undiffuse.training.loop import Learner, Task, training

Clock = Callable[[], float]

SPARE = 0.03
"""Part of the minutes that is planned for nothing: the speed that was measured is not the speed that will be."""
UNTIMED = 3
"""Steps that are run first and not timed: compilation, allocators, caches."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one step, of one grid of samples and of one checkpoint."""

    step: float
    preview: float
    checkpoint: float


def fixed_total(loop: LoopConfig) -> int | None:
    """The number of steps where settings fix it; None for a budget in minutes, which needs `steps_that_fit`."""
    if loop.images is not None:
        return math.ceil(loop.images / loop.batch)
    return loop.steps


def steps_that_fit(loop: LoopConfig, costs: Costs, elapsed: float) -> int:
    """The most steps n with which everything is done in ``loop.minutes``, of which ``elapsed`` seconds are gone.

        n step + (n / sample_every + 1) preview + (n / checkpoint_every + 1) checkpoint
            <= 60 (1 - SPARE) minutes - elapsed

    Raises:
        UndiffuseError: not even one step fits.
    """
    assert loop.minutes is not None
    left = 60 * (1 - SPARE) * loop.minutes - elapsed - costs.checkpoint
    per_step = costs.step
    if loop.sample_every:
        left -= costs.preview
        per_step += costs.preview / loop.sample_every
    if loop.checkpoint_every:
        per_step += costs.checkpoint / loop.checkpoint_every
    steps = math.floor(left / per_step)
    if steps < 1:
        raise UndiffuseError(
            f"{loop.minutes:g} minutes are too few: {elapsed:.0f} s went into preparations, one step takes "
            f"{costs.step:.2g} s and drawing samples {costs.preview:.0f} s; give more --minutes or --sample-every 0"
        )
    return steps


def measure_step(task: Task, learner: Learner, seconds: float, clock: Clock = time.monotonic) -> float:
    """Seconds a step takes, the median of real steps whose effect is undone.

    Args:
        task, learner: of a training that has not begun.
        seconds: time to spend on it once the untimed steps are over.
        clock: seconds, monotonic.
    """
    weights = _copied(learner.network.state_dict())
    kinds: tuple[Averages, ...] = (learner.ema, learner.powers)
    averages = [{key: _copied(tensors) for key, tensors in kind.state_dicts().items()} for kind in kinds]
    learned = _copied(learner.time_law.tensors())
    times: list[float] = []
    for count, _ in enumerate(training(replace(task, total=UNTIMED + 1_000_000), learner), start=1):
        if count >= UNTIMED:
            times.append(clock())
        enough = len(times) > 1 and times[-1] - times[0] >= seconds
        group = task.share.group
        if group.largest(enough and group.leads):  # one clock for all processes: they must stop together
            break
    taken = statistics.median(later - earlier for earlier, later in pairwise(times))

    learner.network.load_state_dict(weights)
    learner.network.zero_grad(set_to_none=True)
    learner.optimizer.state.clear()
    for kind, kept in zip(kinds, averages, strict=True):
        for key, tensors in kept.items():
            kind.load_state_dict(key, tensors)
    for name, tensor in learner.time_law.tensors().items():
        tensor.copy_(learned[name])
    learner.step = learner.images = learner.skipped = learner.skipped_in_a_row = 0
    learner.seconds = 0.0
    return taken


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
