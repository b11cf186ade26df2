"""A trained model as somebody's teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.conditioning.request import null_conditions
from undiffuse.config.distillation import StudentConfig, has_critic, student_of
from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.distillation.teacher import SCALE
from undiffuse.diffusion.gaussian import Batch, Times
from undiffuse.diffusion.guidance import THRESHOLDS, ClassifierFree, Conditioned, Guidance
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.factories.network import CRITIC
from undiffuse.model import Model, load_model
from undiffuse.networks.conditions import Condition
from undiffuse.training.run.finetune import fill


@dataclass(frozen=True)
class Teacher:
    """A denoiser as its samples are drawn: guided, its x0 kept in range.

    Args:
        denoiser: of the model.
        conditions: that the model knows; others are not passed on.
        guidance: the scale, where no `SCALE` is given.
        threshold: a name in `THRESHOLDS`.
    """

    denoiser: Denoiser
    conditions: tuple[Condition, ...]
    guidance: float = 1.0
    threshold: str = "clip"

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        rows = {c.name: conditions[c.name] for c in self.conditions if c.name in conditions}
        return THRESHOLDS[self.threshold](self._guided(rows, conditions))(x_t, t)

    def _guided(self, rows: Mapping[str, Tensor], conditions: Mapping[str, Tensor]) -> Denoiser:
        scale = self.guidance if SCALE in rows else conditions.get(SCALE, self.guidance)
        if not rows or (isinstance(scale, float) and scale == 1):
            return Conditioned(self.denoiser, rows)
        first = next(iter(rows.values()))
        without = {
            name: null.to(first.device).expand_as(rows[name])
            for name, null in null_conditions(self.conditions, rows).items()
        }
        return ClassifierFree(self.denoiser, rows, without, Guidance(scale))


def load_teacher(config: StudentConfig, device: torch.device) -> Model:
    """The teacher that a student's settings name.

    Raises:
        UndiffuseError: it is not there, or has other weights than when the settings were made.
    """
    try:
        model = load_model(config.teacher, config.teacher_weights)
    except UndiffuseError as error:
        raise UndiffuseError(
            f"A student's training asks its teacher, {quoted(config.teacher)}: {error}; where it was moved, repeat "
            "undiffuse distill with its new place and `resume`"
        ) from error
    if config.teacher_sha256 and model.provenance["sha256"] != config.teacher_sha256:
        raise UndiffuseError(
            f"The teacher {config.teacher} has other weights now than when this student began: bring them back "
            f"(sha256 {config.teacher_sha256[:12]}...)"
        )
    return model.to(device)


def start_critic(model: Model) -> None:
    """Give a student's critic, if it has one, the weights of the teacher: at first both say the same."""
    student = student_of(model.config.distillation)
    if student is None or not has_critic(student):
        return
    fill(model.network.get_submodule(CRITIC), model, load_teacher(student, model.device), student.teacher)


def as_teacher(model: Model, guidance: float = 1.0, threshold: str = "clip") -> Teacher:
    """A model whose weights stay as they are, as a teacher."""
    model.network.eval().requires_grad_(False)
    return Teacher(model.denoiser, model.conditions, guidance, threshold)
