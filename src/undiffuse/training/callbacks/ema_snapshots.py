"""The callback that leaves copies of averages, from which others are made after the training (`posthoc_ema`)."""

from __future__ import annotations

import math
from pathlib import Path

from undiffuse.checkpoints.model_file import to_bytes
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.model import Model
from undiffuse.runtime.durable_files import replace_bytes, writing
from undiffuse.training.callbacks.callback import Callback, Training
from undiffuse.training.callbacks.metrics import RESUME
from undiffuse.training.loop import StepResult
from undiffuse.training.optim.ema import Averages
from undiffuse.training.optim.posthoc_ema import copy_name
from undiffuse.training.optim.power_ema import Profile
from undiffuse.training.step_plan import Plan


class Copies(Callback):
    """Writes a copy of each average at equal distances and at the end.

    A training that goes on from an earlier checkpoint comes by the same steps with the same averages, and writes the
    same files again.

    Args:
        writes: whether this process writes; the others help to put sharded tensors together.
    """

    def __init__(self, folder: Path, model: Model, averages: Averages, plan: Plan, writes: bool) -> None:
        self._folder, self._model, self._averages = folder, model, averages
        self._plan, self._writes = plan, writes

    def step(self, training: Training, result: StepResult) -> None:
        if not self._due(result.step):
            return
        for std, tensors in self._averages.state_dicts().items():
            if self._writes:
                with writing(self._folder, RESUME):
                    self._folder.mkdir(exist_ok=True)
                model = self._model
                saved = SavedModel.of(model.config, model.info, tensors, result.step, f"std-{std:g}")
                replace_bytes(self._folder / copy_name(Profile(result.step, std)), to_bytes(saved))

    def _due(self, step: int) -> bool:
        plan, count = self._plan, self._model.config.ema.ema_copies
        if step == plan.total:
            return True
        if plan.before(step - 1) is None:
            return step % max(1, plan.total // count) == 0
        return math.floor(plan.share(step) * count) > math.floor(plan.share(step - 1) * count)
