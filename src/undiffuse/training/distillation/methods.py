"""The objective and the law of times of each method, from a student's settings; a new method is one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from undiffuse.conditioning.student import critic_inputs, scales_of
from undiffuse.config.distillation import (
    ConsistencyConfig,
    DistillationConfig,
    DistributionConfig,
    JumpConfig,
    MatchConfig,
    ProgressiveConfig,
    RegressionConfig,
    StudentConfig,
)
from undiffuse.config.sampling import Solver
from undiffuse.diffusion.distillation import (
    Annealed,
    Between,
    Consistency,
    DistributionMatching,
    Jump,
    LogNormalRatio,
    Match,
    Neighbors,
    OnGrid,
    Progressive,
    Regression,
    jump_law,
)
from undiffuse.diffusion.losses import Loss, Objective, TimeLaw, Uniform
from undiffuse.diffusion.losses.simple import DISTANCES
from undiffuse.diffusion.parameterization import make_parameterization
from undiffuse.diffusion.trajectory import Sampler
from undiffuse.factories.loss import make_weighting
from undiffuse.factories.network import CRITIC
from undiffuse.factories.sampler import make_sampler
from undiffuse.model import Model
from undiffuse.training.distillation.teacher import Teacher, as_teacher, load_teacher


@dataclass(frozen=True)
class Method:
    """How the objective and the law of times of a class of settings are made.

    Args:
        loss: of the settings, the distance in the student's space, the teacher, the student's model.
        law: of the settings.
    """

    loss: Callable[[Any, Objective, Teacher, Model], Loss]
    law: Callable[[Any], TimeLaw]


def _match(config: MatchConfig, objective: Objective, teacher: Teacher, model: Model) -> Loss:
    return Match(objective, teacher, scales_of(config))


def _progressive(config: ProgressiveConfig, objective: Objective, teacher: Teacher, model: Model) -> Loss:
    return Progressive(objective, teacher, config.teacher_times, config.teacher_stride, scales_of(config))


def _consistency(config: ConsistencyConfig, objective: Objective, teacher: Teacher, model: Model) -> Loss:
    by_teacher = config.earlier_by == "teacher"
    return Consistency(
        Neighbors(config.teacher_times) if by_teacher else Annealed(config.annealing),
        teacher if by_teacher else None,
        c=config.huber,
        weighting=config.pair_weight,
        clipped=config.teacher_threshold == "clip",
        scales=scales_of(config),
    )


def _pair_law(config: ConsistencyConfig) -> TimeLaw:
    if config.earlier_by == "teacher":
        return OnGrid(config.teacher_times)
    times = config.student_times
    return LogNormalRatio(config.ratio_mean, config.ratio_std, first=times[0], own=times, share=config.own_times)


def _jump(config: JumpConfig, objective: Objective, teacher: Teacher, model: Model) -> Loss:
    clipped = config.teacher_threshold == "clip"
    return Jump(objective, teacher, config.teacher_times, config.student_steps, clipped, scales_of(config))


def _regression(config: RegressionConfig, objective: Objective, teacher: Teacher, model: Model) -> Loss:
    steps = len(config.student_times)
    return Regression(objective, teacher, _walking(config), config.teacher_times, steps, scales_of(config))


def _distribution(config: DistributionConfig, objective: Objective, teacher: Teacher, model: Model) -> Loss:
    critic = model.with_network(model.network.get_submodule(CRITIC)).denoiser
    return DistributionMatching(
        objective,
        teacher,
        critic=critic.with_inputs(critic_inputs(config)),
        walk=config.student_times,
        steps=config.student_steps,
        teacher_walk=config.teacher_times,
        sampler=_walking(config),
        matched=config.matched,
        clipped=config.teacher_threshold == "clip",
        scales=scales_of(config),
    )


def _walking(config: RegressionConfig | DistributionConfig) -> Sampler[Any]:
    """The sampler of the teacher's walk."""
    return make_sampler(Solver(sampler=config.teacher_sampler, steps=len(config.teacher_times)))


METHODS: Mapping[type[StudentConfig], Method] = {
    MatchConfig: Method(_match, lambda config: Uniform()),
    ProgressiveConfig: Method(_progressive, lambda config: OnGrid(config.student_times)),
    ConsistencyConfig: Method(_consistency, _pair_law),
    JumpConfig: Method(_jump, lambda config: jump_law(config.teacher_times, config.student_steps)),
    DistributionConfig: Method(_distribution, lambda config: Between()),
    RegressionConfig: Method(_regression, lambda config: OnGrid(config.student_times)),
}
"""By the class of the settings."""


def student_objective(model: Model, config: StudentConfig) -> Loss:
    """What a student minimizes, its teacher on the model's device."""
    objective, diffusion = model.config.objective, model.config.diffusion
    space = make_parameterization(diffusion.parameterization, diffusion.sigma_data)
    distance = Objective(space, make_weighting(objective), DISTANCES[objective.distance], objective.clipped_error)
    teacher = as_teacher(load_teacher(config, model.device), config.teacher_guidance, config.teacher_threshold)
    return METHODS[type(config)].loss(config, distance, teacher, model)


def student_time_law(config: StudentConfig) -> TimeLaw:
    return METHODS[type(config)].law(config)


def module_rates(config: DistillationConfig) -> dict[str, float]:
    """Learning rates of modules of a student's network, in units of the others'."""
    return {CRITIC: config.critic_lr} if isinstance(config, DistributionConfig) else {}
