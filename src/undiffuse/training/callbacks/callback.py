"""What a training calls on its way: its own progress line, metrics, grids, checkpoints, and callbacks of programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undiffuse.config.schema import TrainConfig
from undiffuse.model import Model, build_model
from undiffuse.training.loop import StepResult, TrainState, TrainStep
from undiffuse.training.run.folder import RunFolder

if TYPE_CHECKING:
    from undiffuse.training.callbacks.metrics import MetricsFile


@dataclass
class Training:
    """A training as its callbacks see it, at rest between two steps.

    Args:
        run: the folder of the run.
        train_state, train_step: what a step changes, and what it needs.
        metrics: metrics.jsonl; None in processes that do not write.
    """

    run: RunFolder
    train_state: TrainState
    train_step: TrainStep
    metrics: MetricsFile | None
    ending: str = field(default="", init=False)
    """Why the training is to end now; '' while it goes on."""

    @property
    def config(self) -> TrainConfig:
        return self.train_step.config

    @property
    def folder(self) -> Path:
        return self.run.path

    @property
    def step(self) -> int:
        """Steps done."""
        return self.train_state.step

    @property
    def total(self) -> int:
        """Steps in all, as far as it is decided now."""
        return self.train_step.plan.total

    @property
    def model(self) -> Model:
        """The model that learns, in training mode: leave it as it is."""
        return self.train_step.model

    def averaged(self) -> Model:
        """The model with the first average of the weights, as samples are drawn with; its own network, the same at
        each call."""
        ema = self.train_state.ema
        self.second.network.load_state_dict(ema.state_dict(next(iter(ema.averages))))
        return self.second

    @cached_property
    def second(self) -> Model:
        """The model that `averaged` gives, with the weights of the last call: the one in training is left alone."""
        model = build_model(self.config, self.model.info).to(self.model.device)
        model.network.eval()
        return model

    def log(self, **numbers: float) -> None:
        """Write numbers of this step to metrics.jsonl, and on to the trackers."""
        if self.metrics:
            self.metrics.write({"step": self.step, "logged": {name: float(value) for name, value in numbers.items()}})

    def stop(self, why: str) -> None:
        """End the training after one more step, as if its budget were spent: it is saved, and finished.

        Args:
            why: for the log: 'the validation loss has not fallen for 5 looks'.
        """
        self.ending = why


class Callback:
    """The hooks of a training, which do nothing: override what you need, and give `undiffuse.train` a list of such.

        class Beep(Callback):
            def step(self, training: Training, result: StepResult) -> None:
                if result.step % 1000 == 0:
                    print("beep", result.loss)

    Callbacks are called in the process that writes the run, and take nothing from the training's random streams unless
    they ask torch's global one, which no training uses. What they raise ends the training. A training that goes on
    calls `begin` again.
    """

    def begin(self, training: Training) -> None:
        """Before the first step, or the first one after a resumption."""

    def step(self, training: Training, result: StepResult) -> None:
        """After each step."""

    def line(self, training: Training, line: dict[str, Any]) -> None:
        """After a line of metrics.jsonl was written: of the loss, of a grid of samples, of validation, of `log`."""

    def saved(self, training: Training, checkpoint: Path) -> None:
        """After a checkpoint was written."""

    def end(self, training: Training) -> None:
        """After the last step, and where the training was stopped or failed."""
