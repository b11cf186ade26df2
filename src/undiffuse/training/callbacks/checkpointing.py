"""Callbacks that write checkpoints and watch the loader. Others: `progress_line`, `metrics`, `previews`, `trackers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from undiffuse.checkpoints.training_checkpoint import Checkpoint, place_of, save
from undiffuse.training.callbacks.callback import Callback, Training
from undiffuse.training.callbacks.console import Console
from undiffuse.training.callbacks.intervals import Intervals
from undiffuse.training.loop import StepResult
from undiffuse.training.run.signals import Interrupts


class CheckpointWriter(Callback):
    """Saves when it is time, which is also at the end, and when the process was asked to stop.

    Args:
        parent: the folder of checkpoints, of which ``keep`` stay.
        capture: gives the training as it is now.
        before: called before a save; what it makes durable is older than the checkpoint.
        writes: whether this process writes; the others help to put sharded tensors together.
        others: are told of each checkpoint.
    """

    def __init__(
        self,
        parent: Path,
        intervals: Intervals,
        keep: int,
        capture: Callable[[], Checkpoint],
        before: Callable[[Checkpoint], None],
        interrupts: Interrupts,
        writes: bool,
        others: Sequence[Callback] = (),
    ) -> None:
        self._parent, self._intervals, self._keep = parent, intervals, keep
        self._capture, self._before, self._interrupts = capture, before, interrupts
        self._writes, self._others = writes, others
        self.last: Path | None = None

    def step(self, training: Training, result: StepResult) -> None:
        if not self._intervals.saving and self._interrupts.requested is None:
            return
        began = self._intervals.clock()
        checkpoint = self._capture()
        self.last = place_of(checkpoint.state, self._parent)
        if self._writes:
            self._before(checkpoint)
            save(checkpoint, self._parent, self._keep)
            for callback in self._others:
                callback.saved(training, self.last)
        self._intervals.saved(self._intervals.clock() - began)


class LoaderWatch(Callback):
    """Says once if making the batches takes more than half of the time: then a faster disk or CPU would help, and a
    faster GPU would not.

    The loop makes the next batch while the device works on this one, so a share above a half is time in which the
    device has nothing to do.
    """

    def __init__(self, console: Console, window: int = 100) -> None:
        self._console, self._window = console, window
        self._steps, self._loading, self._seconds, self._said = 0, 0.0, 0.0, False

    def step(self, training: Training, result: StepResult) -> None:
        if self._said:
            return
        self._steps += 1
        self._loading += result.loading
        self._seconds += result.seconds
        if self._steps == self._window:
            share = self._loading / self._seconds
            if share > 0.5:
                self._said = True
                self._console.say(f"warning: {share:.0%} of the time goes into loading images, not into training")
            self._steps, self._loading, self._seconds = 0, 0.0, 0.0
