"""When a grid of samples is drawn and a checkpoint written: by time and by share of the budget, or every so many steps.

Without `sample_every` there is a grid after half a minute, at twice that, at twice that ..., and at least at every
twelfth of the budget; without `checkpoint_every` a checkpoint after half a minute, a minute, and every two minutes from
there on; both at the end, and both after each third of a budget so short that these would come too late. What is dear
comes less often: grids take a twentieth of the time and checkpoints a tenth, and where a whole grid is too dear for
that, it has fewer samples, the first ones.

None of that is a part of the training: it takes nothing from the training's random streams. Among many processes it is
rank 0 whose clock decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from undiffuse.config.training import LoopConfig
from undiffuse.runtime.process_group import Group
from undiffuse.training.pace import Timer
from undiffuse.training.step_plan import Plan

FIRST = 30.0
"""Seconds until the first grid and the first checkpoint, and the least between two of them."""
SHORT, SOON = 1 / 3, 5.0
"""Part of the budget after which these come although it is earlier, and the least seconds between two all the same."""
GRIDS = 12
"""Grids in a long training, beside the early ones."""
SAVED_EVERY = 120.0
"""Most seconds between two checkpoints that cost little."""
DRAWING, SAVING = 0.05, 0.1
"""Parts of the time since the last one that a grid and a checkpoint may take."""
FIRST_ONE = 0.2
"""Part of the time so far that a single sample, the first one, may take."""
PATIENCE = 300.0
"""Seconds after which a smaller grid is drawn, where a whole one is still too dear."""
LAST, LAST_SECONDS = 0.1, 3.0
"""Part of the whole time that the last grid may take, and the seconds that it may take in any case."""
LAST_ONE = 0.25
"""Part of the whole time that a single sample at the end may take."""
FEWER = (16, 4, 1)
"""Samples in a grid where all of them are too dear."""


@dataclass
class GridCosts:
    """Seconds that grids of at most ``count`` samples take.

    Args:
        evaluations: of the network, each on a micro-batch, that so many samples take.
        measure: the seconds of one of them.
        evaluation: these seconds, where they are known already.
    """

    count: int
    evaluations: Callable[[int], int]
    measure: Callable[[], float]
    evaluation: float | None = None

    def seconds(self, samples: int) -> float:
        """The cost of so many samples; it is measured where it is not known."""
        if self.evaluation is None:
            self.evaluation = self.measure()
        return self.evaluations(samples) * self.evaluation

    def within(self, seconds: float) -> int:
        """Samples of a grid that may take so long; 0 where not even one may."""
        sizes = [self.count, *(fewer for fewer in FEWER if fewer < self.count)]
        return next((size for size in sizes if self.seconds(size) <= seconds), 0)

    def one_within(self, seconds: float) -> int:
        """Samples that cost what a single one does, which may take so long; 0 where it takes longer."""
        least = self.seconds(1)
        return self.within(least) if least <= seconds else 0

    def at_end(self, seconds: float) -> int:
        """Samples of the grid at the end of a training of so many seconds; 0 where a single one is too dear."""
        return self.within(max(LAST * seconds, LAST_SECONDS)) or self.one_within(LAST_ONE * seconds)


class Intervals:
    """Decides what is looked at after each step.

    Args:
        costs: of grids; needed in rank 0 alone.
        checkpoint: seconds of one, where they are measured already.

    Attributes:
        group: the processes.
        samples: of the grid to be drawn now; 0 for none.
        saving: whether a checkpoint is written now.
        clock: by which looks are timed.
        seconds: that they have taken in this process.
    """

    def __init__(
        self,
        loop: LoopConfig,
        plan: Plan,
        timer: Timer,
        group: Group,
        costs: GridCosts | None,
        checkpoint: float = 0.0,
    ) -> None:
        self._loop, self._plan, self._timer, self.group = loop, plan, timer, group
        self._costs, self._any = costs, False
        self._timed = loop.sample_every is None or loop.checkpoint_every is None
        self._zero = timer.clock()
        self._drawn = self._saved = 0.0
        self._share = self._saved_share = 0.0
        self._save_seconds = checkpoint
        self.samples, self.saving = 0, False
        self.clock, self.seconds = timer.clock, 0.0

    def __call__(self, step: int) -> None:
        """Decide what is done after ``step`` steps; all processes must call this at the same time."""
        self.samples, self.saving = self._grid(step), self._checkpoint(step)
        if self._timed and not self.group.is_single:
            found = self.group.largest(2 * self.samples + self.saving if self.group.is_main else 0)
            self.samples, self.saving = found // 2, bool(found % 2)

    def again(self, step: int) -> None:
        """The same for the step that a training goes on from: its checkpoint is there, its grid may be missing."""
        self._any = step > 0
        self._share = self._saved_share = self._plan.share(step)
        self(step)
        if self._loop.sample_every is None and step != self._plan.total:
            self.samples = 0
        self.saving = False

    def sampled(self, samples: int, seconds: float) -> None:
        if self._costs:
            self._costs.evaluation = seconds / self._costs.evaluations(samples)

    def drawn(self, step: int, seconds: float) -> None:
        self.seconds += seconds
        self._any, self._drawn, self._share = True, self._now, self._plan.share(step)

    def saved(self, seconds: float) -> None:
        self.seconds += seconds
        self._save_seconds, self._saved = seconds, self._now

    def looked(self, seconds: float) -> None:
        """Count seconds that are no step's, of a look that has no interval of its own."""
        self.seconds += seconds

    def reserve(self, seconds: float) -> float:
        """Seconds of the last grid and the last checkpoint in a training of so many seconds, as far as known."""
        every, costs = self._loop.sample_every, self._costs
        if every == 0 or costs is None or costs.evaluation is None:
            return self._save_seconds
        return self._save_seconds + costs.seconds(costs.count if every else costs.at_end(seconds))

    @property
    def _now(self) -> float:
        """Seconds in this process; those of the budget are set back where decisions are repeated."""
        return self._timer.clock() - self._zero

    def _grid(self, step: int) -> int:
        every, costs, last = self._loop.sample_every, self._costs, step == self._plan.total
        if every is not None:
            return self._loop.sample_count if every and step and (step % every == 0 or last) else 0
        if costs is None or not step:
            return 0
        now = self._now
        if not last:
            part = self._plan.share(step) - self._share
            if now - self._drawn < _least(part) or (self._any and now < 2 * self._drawn and part < 1 / GRIDS):
                return 0
        if costs.evaluation is None:
            costs.evaluation = costs.measure()
        if last:
            if costs.at_end(self._timer.spent) < costs.count:  # a neighbour may be gone since that was measured
                costs.evaluation = costs.measure()
            return costs.at_end(self._timer.spent)
        since = now - self._drawn
        found = costs.within(DRAWING * since)
        if not found and not self._any:
            return costs.one_within(FIRST_ONE * since)
        return found if found == costs.count or not self._any or since >= PATIENCE else 0

    def _checkpoint(self, step: int) -> bool:
        every = self._loop.checkpoint_every
        if step == self._plan.total:
            return True
        if every is not None:
            return bool(every) and step % every == 0
        since = self._now - self._saved
        soon = self._now >= 2 * self._saved or since >= SAVED_EVERY
        share = self._plan.share(step)
        found = since >= max(_least(share - self._saved_share), self._save_seconds / SAVING) and soon
        if found:
            self._saved_share = share
        return found


def _least(part: float) -> float:
    """The least seconds between two looks, where this part of the budget was spent since the last one."""
    return SOON if part >= SHORT else FIRST
