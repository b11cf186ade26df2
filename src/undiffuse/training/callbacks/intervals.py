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
from undiffuse.training.plan import Plan

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


@dataclass(frozen=True)
class Drawing:
    """What a grid costs.

    Args:
        evaluation: measures the seconds of one evaluation of the network on a micro-batch.
        evaluations: how many of them so many samples take.
    """

    evaluation: Callable[[], float]
    evaluations: Callable[[int], int]


def samples_within(seconds: float, count: int, evaluation: float, evaluations: Callable[[int], int]) -> int:
    """Samples of a grid that may take so long, at most ``count``; 0 where not even one may.

    Args:
        evaluation, evaluations: as of `Drawing`, the seconds being known.
    """
    sizes = [count, *(fewer for fewer in FEWER if fewer < count)]
    return next((size for size in sizes if evaluations(size) * evaluation <= seconds), 0)


def last_samples(seconds: float, count: int, evaluation: float, evaluations: Callable[[int], int]) -> int:
    """Samples of the grid at the end of a training of so many seconds; 0 where a single one is too dear."""
    found = samples_within(max(LAST * seconds, LAST_SECONDS), count, evaluation, evaluations)
    return found or one_within(LAST_ONE * seconds, count, evaluation, evaluations)


def one_within(seconds: float, count: int, evaluation: float, evaluations: Callable[[int], int]) -> int:
    """Samples that cost what a single one does, which may take so long; 0 where it takes longer."""
    least = evaluations(1) * evaluation
    return samples_within(least, count, evaluation, evaluations) if least <= seconds else 0


class Intervals:
    """Decides what is looked at after each step.

    Args:
        loop: the settings.
        plan: the training's.
        timer: seconds since it began.
        group: processes that must agree.
        drawing: what grids cost; needed in rank 0 alone.
        evaluation, checkpoint: seconds of an evaluation and of a checkpoint, where they are measured already.

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
        drawing: Drawing | None,
        evaluation: float | None = None,
        checkpoint: float = 0.0,
    ) -> None:
        self._loop, self._plan, self._timer, self.group = loop, plan, timer, group
        self._drawing, self._evaluation, self._any = drawing, evaluation, False
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
        """So many samples took so long."""
        if self._drawing:
            self._evaluation = seconds / self._drawing.evaluations(samples)

    def drawn(self, step: int, seconds: float) -> None:
        """A grid was drawn."""
        self.seconds += seconds
        self._any, self._drawn, self._share = True, self._now, self._plan.share(step)

    def saved(self, seconds: float) -> None:
        """A checkpoint was written."""
        self.seconds += seconds
        self._save_seconds, self._saved = seconds, self._now

    def reserve(self, seconds: float) -> float:
        """What the last grid and the last checkpoint of a training of so many seconds take, as far as it is known."""
        every, count = self._loop.sample_every, self._loop.sample_count
        if every == 0 or self._evaluation is None or self._drawing is None:
            return self._save_seconds
        evaluations = self._drawing.evaluations
        samples = count if every else last_samples(seconds, count, self._evaluation, evaluations)
        return self._save_seconds + evaluations(samples) * self._evaluation

    @property
    def _now(self) -> float:
        """Seconds in this process; those of the budget are set back where decisions are repeated."""
        return self._timer.clock() - self._zero

    def _grid(self, step: int) -> int:
        every, count, last = self._loop.sample_every, self._loop.sample_count, step == self._plan.total
        if every is not None:
            return count if every and step and (step % every == 0 or last) else 0
        if self._drawing is None or not step:
            return 0
        now = self._now
        if not last:
            part = self._plan.share(step) - self._share
            if now - self._drawn < _least(part) or (self._any and now < 2 * self._drawn and part < 1 / GRIDS):
                return 0
        if self._evaluation is None:
            self._evaluation = self._drawing.evaluation()
        if last:
            found = last_samples(self._timer.spent, count, self._evaluation, self._drawing.evaluations)
            if found < count:  # a neighbour may be gone since that was measured
                self._evaluation = self._drawing.evaluation()
            return last_samples(self._timer.spent, count, self._evaluation, self._drawing.evaluations)
        since = now - self._drawn
        found = samples_within(DRAWING * since, count, self._evaluation, self._drawing.evaluations)
        if not found and not self._any:
            return one_within(FIRST_ONE * since, count, self._evaluation, self._drawing.evaluations)
        return found if found == count or not self._any or since >= PATIENCE else 0

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
    """Seconds between two looks at least, where this part of the budget was spent since the last one."""
    return SOON if part >= SHORT else FIRST
