"""The observer that leaves copies of averages, from which others are made after the training (`averaging`)."""

from __future__ import annotations

from pathlib import Path

from undiffuse.averaging import copy_name
from undiffuse.files import replace_bytes
from undiffuse.model import Model
from undiffuse.modelfile import ModelFile
from undiffuse.power_profile import Profile
from undiffuse.training.ema import PowerAverages
from undiffuse.training.loop import StepResult


class Copies:
    """Writes a copy of each average at equal distances and at the end.

    A training that goes on from an earlier checkpoint comes by the same steps with the same averages, and writes the
    same files again.

    Args:
        folder: where to.
        model, averages: what is written.
        total: steps of the training.
        writes: whether this process writes; the others help to put sharded tensors together.
    """

    def __init__(self, folder: Path, model: Model, averages: PowerAverages, total: int, writes: bool) -> None:
        self._folder, self._model, self._averages = folder, model, averages
        self._total, self._writes = total, writes
        self._every = max(1, total // model.config.ema.ema_copies)

    def __call__(self, result: StepResult) -> None:
        if result.step % self._every and result.step != self._total:
            return
        for std, tensors in self._averages.state_dicts().items():
            if self._writes:
                self._folder.mkdir(exist_ok=True)
                profile = Profile(result.step, std)
                file = ModelFile(self._model.config, self._model.info, result.step, f"std-{std:g}", tensors)
                replace_bytes(self._folder / copy_name(profile), file.to_bytes())
