"""Edits by students: they walk by times of their own, and pictures go into noise by their first teacher."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.checkpoints.find import is_there
from undiffuse.config.distillation import StudentConfig
from undiffuse.config.sampling import Compute
from undiffuse.config.students import walking_student
from undiffuse.diffusion.samplers import DDIM
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Sampler
from undiffuse.editing.defaults import TO_NOISE, own_strength
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model, load_model

if TYPE_CHECKING:
    from undiffuse.editing.editor import Editor


def own_times_from(times: Float[Tensor, "points"], strength: float, t_max: float) -> Float[Tensor, "fewer"]:
    """The times of a student's walk from the one that a strength names; (0,) for 0.

    Raises:
        UndiffuseError: it names none.
    """
    if strength == 0:
        return times[-1:]
    return times[times <= own_strength(times.tolist(), t_max, strength) * t_max + 1e-9]


def home_sampler(editor: Editor) -> Sampler[Any]:
    """The way home from latents: a student's own, for others DDIM."""
    return editor.plan.sampler if walking_student(editor.model.config) else DDIM()


def into_noise(editor: Editor) -> Editor:
    """The editor that takes pictures into noise: for a student that of its first teacher, guided by nothing.

    A student's steps are too long to be turned round. From the noise that its teacher finds, one that learned its walk
    draws what its teacher would; one of distributions, or with fresh noise in its steps, another picture of its kind.
    """
    from undiffuse.editing.editor import edit_plan

    student = walking_student(editor.model.config)
    if student is None:
        return editor
    teacher = _first_teacher(editor.model, student)
    own = editor.plan.settings
    asked = {name: value for name, value in own.flat().items() if name in ("classes", "text", "vector", "image")}
    compute = {"micro_batch": own.compute.micro_batch, "precision": own.compute.precision, "weights": Compute.weights}
    settings = TO_NOISE.changed(**asked, **compute)
    steps = min(settings.solver.steps, teacher.config.diffusion.timesteps)
    plan = edit_plan(teacher, settings.changed(steps=steps))
    first = editor.plan.times[:1]
    below = make_timesteps(teacher.schedule, steps, settings.solver.spacing)
    return replace(editor, plan=replace(plan, times=torch.cat([first, below[below < first]])))


def _first_teacher(model: Model, student: StudentConfig) -> Model:
    """The model that a student's walk descends from.

    Raises:
        UndiffuseError: it is not where it was, or has other weights.
    """
    path, models = Path(student.origin), model.resources.models
    if path not in models:
        if not student.origin or not is_there(path):
            raise UndiffuseError(
                f"A student's pictures go into noise by its first teacher, {student.first_teacher}, which is not "
                "there: bring it back, or draw new pictures"
            )
        models[path] = model.resources.open_model(path)
    others = iter((student.teacher_weights, "raw"))  # it may have been asked with others than its usual ones
    while models[path].provenance["sha256"] != student.origin_sha256 and (weights := next(others, None)):
        with suppress(UndiffuseError):
            models[path] = load_model(path, weights)
    teacher = models[path].to(model.device)
    if teacher.provenance["sha256"] != student.origin_sha256:
        raise UndiffuseError(
            f"A student's pictures go into noise by its first teacher, and {student.first_teacher} has other weights "
            f"than then (sha256 {student.origin_sha256[:12]}...): bring those back, or draw new pictures"
        )
    return teacher
