"""A training by undiffuse as a `Trainee`: its own state, steps and loop, in slices of time, without a run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from benchmarks.lib.judge import TrainingData, model_space
from undiffuse.checkpoints.training_checkpoint import save
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.model import Model, build_model
from undiffuse.training.build import make_train_state, make_train_step, to_checkpoint
from undiffuse.training.loop import StepResult, TrainStep, training
from undiffuse.training.step_plan import Plan

GUESS = 0.15
"""Seconds a step may take, before the first slice tells."""
MICRO_BATCH = 100


class Ours:
    """One training of a configuration.

    A learning rate that falls to 0 at the last step needs to know which step that will be. So the number of steps is
    fitted again at the start of each slice, to the time that is left and the time that a step took so far. It is the
    only thing about the schedule that alternation changes.

    Args:
        name: in tables.
        config: every setting; its budget is ignored.
        data: what is learned.
    """

    def __init__(self, name: str, config: TrainConfig, data: TrainingData) -> None:
        self.name, self.config = name, config
        self.model = build_model(config, data.info)
        self.train_state = make_train_state(self.model)
        self.task: TrainStep = make_train_step(self.model, data, total=1)
        self._loop: Iterator[StepResult] = iter(())

    @property
    def steps(self) -> int:
        return self.train_state.step

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.network.parameters())

    def plan(self, spent: float, left: float) -> None:
        per_step = spent / self.steps if self.steps else GUESS
        total = self.steps + max(1, round(left / per_step))
        self.task = replace(self.task, plan=Plan(total))
        self._loop = training(self.task, self.train_state)

    def step(self) -> None:
        """One step; a few at the learning rate of the last one where steps turned out to be faster than planned."""
        if self.steps == self.task.plan.total:
            self.task = replace(self.task, plan=Plan(self.steps + 1))
            self._loop = training(self.task, self.train_state)
        next(self._loop)

    def averaged(self) -> Model:
        """A model with the first average of the weights as they are now, to draw from; the training is not touched."""
        rate = self.config.ema.ema[0]
        model = build_model(self.config, self.model.info)
        model.network.load_state_dict(self.train_state.ema.state_dict(rate))
        model.network.eval()
        return model

    def draw(self, n: int, seed: int, settings: SampleConfig | None = None) -> Tensor:
        """Samples in [-1, 1] of 256 levels, (n, 1, 28, 28), with the averaged weights."""
        settings = (settings or SampleConfig()).changed(micro_batch=min(n, MICRO_BATCH))
        return model_space(self.averaged().sample(n, seed=seed, settings=settings).array)

    def keep(self, folder: Path) -> Path:
        """Write a checkpoint that `undiffuse.load` and every command read."""
        return save(to_checkpoint(self.train_state, self.model, total=self.steps), folder)
