"""The objective and the law of times of each method, from a student's settings; a new method is one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from undiffuse.conditioning.student import scales_of
from undiffuse.config.distillation import (
    ConsistencyConfig,
    JumpConfig,
    MatchConfig,
    ProgressiveConfig,
    RegressionConfig,
    StudentConfig,
)
from undiffuse.diffusion.distillation import (
    Annealed,
    Consistency,
    Jump,
    LogNormalRatio,
    Match,
    Neighbors,
    OnGrid,
    Progressive,
    jump_law,
)
from undiffuse.diffusion.losses import Loss, Objective, TimeLaw, Uniform
from undiffuse.diffusion.losses.simple import DISTANCES
from undiffuse.diffusion.parameterization import make_parameterization
from undiffuse.factories.loss import make_weighting
from undiffuse.model import Model
from undiffuse.runtime.process_group import Group
from undiffuse.training.batches import TrainData
from undiffuse.training.distillation.pairs import pairs_of
from undiffuse.training.distillation.teacher import Teacher, as_teacher, load_teacher


@dataclass(frozen=True)
class Method:
    """How the objective and the law of times of a class of settings are made.

    Args:
        loss: of the settings, the distance in the student's space, the teacher.
        law: of the settings.
        data: of the settings, the teacher's model, its data, the seed and the processes: what is learned from, where
            that is not the data.
    """

    loss: Callable[[Any, Objective, Teacher], Loss]
    law: Callable[[Any], TimeLaw]
    data: Callable[[Any, Model, TrainData, int, Group], TrainData] | None = None


def _match(config: MatchConfig, objective: Objective, teacher: Teacher) -> Loss:
    return Match(objective, teacher, scales_of(config))


def _progressive(config: ProgressiveConfig, objective: Objective, teacher: Teacher) -> Loss:
    return Progressive(objective, teacher, config.teacher_times, config.teacher_stride, scales_of(config))


def _consistency(config: ConsistencyConfig, objective: Objective, teacher: Teacher) -> Loss:
    by_teacher = config.earlier_by == "teacher"
    return Consistency(
        Neighbors(config.teacher_times) if by_teacher else Annealed(config.annealing),
        teacher if by_teacher else None,
        config.huber,
        config.pair_weight,
        config.teacher_threshold == "clip",
        scales_of(config),
    )


def _pair_law(config: ConsistencyConfig) -> TimeLaw:
    if config.earlier_by == "teacher":
        return OnGrid(config.teacher_times)
    return LogNormalRatio(config.ratio_mean, config.ratio_std, config.student_times[0])


def _jump(config: JumpConfig, objective: Objective, teacher: Teacher) -> Loss:
    clipped = config.teacher_threshold == "clip"
    return Jump(objective, teacher, config.teacher_times, config.student_steps, clipped, scales_of(config))


METHODS: Mapping[type[StudentConfig], Method] = {
    MatchConfig: Method(_match, lambda config: Uniform()),
    ProgressiveConfig: Method(_progressive, lambda config: OnGrid(config.student_times)),
    ConsistencyConfig: Method(_consistency, _pair_law),
    JumpConfig: Method(_jump, lambda config: jump_law(config.teacher_times, config.student_steps)),
    RegressionConfig: Method(
        lambda config, objective, teacher: objective, lambda config: OnGrid(config.student_times), pairs_of
    ),
}
"""By the class of the settings."""


def student_lesson(model: Model, config: StudentConfig, data: TrainData, group: Group) -> tuple[Loss, TrainData]:
    """What a student minimizes, its teacher on the model's device, and what it learns from."""
    objective, diffusion, method = model.config.objective, model.config.diffusion, METHODS[type(config)]
    space = make_parameterization(diffusion.parameterization, diffusion.sigma_data)
    distance = Objective(space, make_weighting(objective), DISTANCES[objective.distance], objective.clipped_error)
    teacher = load_teacher(config, model.device)
    loss = method.loss(config, distance, as_teacher(teacher, config.teacher_guidance, config.teacher_threshold))
    if method.data:
        data = method.data(config, teacher, data, model.config.loop.seed, group)
    return loss, data


def student_time_law(config: StudentConfig) -> TimeLaw:
    return METHODS[type(config)].law(config)
