"""How long a training is, and which part of it is spent after every step.

A number of steps or images is fixed: after k of n steps k / n of it are spent. A budget in minutes is not, for the
speed of a machine changes. Its number of steps is decided again and again (`pace`), and every decision is written down:

    after step k the share s of the budget was spent, and there will be n steps in all

    share(i) = s + (1 - s) (i - k) / (n - k)        for the steps i = k .. n after the decision

So what the learning rate is at a step, and everything else that depends on how far the training is, is a function of
the decisions before that step alone. They travel in the checkpoints and in metrics.jsonl, and a training that goes on
repeats those of the steps that it takes again: its bits are those of the training that was not interrupted.

A training that was finished and goes on has a decision that says so: its share begins at 0 again, and ``start`` is
where.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from undiffuse.config.training import OptimizerConfig
from undiffuse.errors import UndiffuseError
from undiffuse.training.optim.optimizer import FALL, learning_rate

WARMUP_SHARE = 0.1
"""Part of a budget in minutes after which the warm-up is over, however many steps it was meant to take."""

Numbers = tuple[int, float, int, int, float]
"""A decision as a checkpoint holds it."""


@dataclass(frozen=True)
class Decision:
    """A number of steps for a training, decided after one of them."""

    step: int
    """Steps done."""
    share: float
    """Part of the budget that was spent, 0 to less than 1."""
    total: int
    """Steps in all."""
    start: int = 0
    """Steps done when the present budget began."""
    spent: float = 0.0
    """Seconds of the present budget that were spent."""

    @property
    def possible(self) -> bool:
        """False for numbers that no training can have decided."""
        return 0 <= self.start <= self.step < self.total and 0 <= self.share < 1 and 0 <= self.spent < math.inf


class Plan:
    """The steps of a training.

    Args:
        total: steps in all, where that is fixed.
        decisions: the first of which replaces ``total``.
    """

    def __init__(self, total: int, decisions: Iterable[Decision] = ()) -> None:
        self._total, self._decisions = total, list(decisions)

    @property
    def total(self) -> int:
        """Steps in all, as far as it is decided now."""
        return self._decisions[-1].total if self._decisions else self._total

    @property
    def decisions(self) -> Sequence[Decision]:
        return tuple(self._decisions)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        return tuple(astuple(decision) for decision in self._decisions)

    @classmethod
    def of(cls, total: int, numbers: Iterable[Numbers]) -> Plan:
        """The plan that a checkpoint holds, if a plan can be so."""
        decisions = [Decision(*each) for each in numbers]
        steps = [decision.step for decision in decisions]
        if not all(decision.possible for decision in decisions) or steps != sorted(steps):
            raise UndiffuseError(
                "the checkpoint's decisions of how many steps to take contradict each other: it is torn"
            )
        return cls(total, decisions)

    def decide(self, decision: Decision) -> None:
        """There will be another number of steps; the steps done keep what they had."""
        self._decisions.append(decision)

    def before(self, step: int) -> Decision | None:
        """The last decision that was taken after at most ``step`` steps; None where the number was fixed."""
        return next((decision for decision in reversed(self._decisions) if decision.step <= step), None)

    def share(self, step: int) -> float:
        """Part of the budget that is spent after ``step`` steps, 0 to 1."""
        decision = self.before(step)
        if decision is None:
            return step / self._total
        left = (step - decision.step) / (decision.total - decision.step)
        return min(1.0, decision.share + (1 - decision.share) * left)

    def start(self, step: int) -> int:
        """Steps done when the budget began that the next step belongs to."""
        decision = self.before(step)
        return decision.start if decision else 0

    def learning_rate(self, config: OptimizerConfig, step: int) -> float:
        """Learning rate of step ``step``, 0 being the first.

        Of a fixed number of steps it is `optimizer.learning_rate`. Where the number was decided, with n steps of the
        present budget, this one included, p of it spent before it and q after it,

            rise = min(1, max(n / w, q / WARMUP_SHARE))     a short budget has a short warm-up
            constant        lr rise
            inverse-sqrt    lr min(rise, sqrt(max(w, 1) / n))
            linear          lr rise (1 - p)
            cosine          lr rise (1 + cos(pi p)) / 2
            wsd             lr rise min(1, 4 (1 - p))
        """
        decision = self.before(step)
        if decision is None:
            return learning_rate(config, step, self._total)
        n, w, p = step + 1 - decision.start, config.warmup, self.share(step)
        rise = min(1.0, max(n / w, self.share(step + 1) / WARMUP_SHARE)) if w else 1.0
        if config.decay == "constant":
            return config.lr * rise
        if config.decay == "inverse-sqrt":
            return config.lr * min(rise, math.sqrt(max(w, 1) / n))
        return config.lr * rise * FALL[config.decay](p)
