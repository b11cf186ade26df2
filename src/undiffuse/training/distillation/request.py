"""What is asked of a distillation, and the trainings that it takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from undiffuse.config.distillation import (
    FILLED_IN,
    ConsistencyConfig,
    DistributionConfig,
    MethodName,
    ProgressiveConfig,
    RegressionConfig,
    StudentConfig,
    ThresholdName,
    student_of,
)
from undiffuse.config.fields import fields_of
from undiffuse.config.files import BUDGETS, override
from undiffuse.config.schema import METHODS as VARIANTS
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import change, sections
from undiffuse.config.students import FARTHEST, LONGEST, check_student
from undiffuse.config.training import EMAConfig, ObjectiveConfig, OptimizerConfig, StartConfig
from undiffuse.diffusion.parameterization import make_parameterization
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.diffusion.schedules import DiscreteSchedule
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.errors import UndiffuseError, counted, one_of, perhaps
from undiffuse.model import Model
from undiffuse.training.distillation.stages import PLANS, Lesson, Plan, Stage, match

NOT_OF_STUDENTS = (
    "loss",
    "time_law",
    "logit_mean",
    "logit_std",
    "logit_uniform",
    "offset_noise",
    "meant_for",
    "dropout",
)
"""Settings of a training that students have no use for, or do worse with."""


@dataclass(frozen=True)
class DistillationRequest:
    """What is asked.

    Args:
        method: see docs/use/distillation.md.
        steps: in how many steps the student is to draw; () for the method's usual ones. The first is the default.
        guidance: of the teacher: nothing (1), a scale that the student has inside, or a range that stays a choice.
        teacher_steps: of the walk that is learned from; 0 for 16, or where its sampler may be better than DDIM twice
            those of the student and at least 4.
        threshold: what happens to x0 outside [-1, 1], for both; None for what the method does well with
            (`Plan.clipped`), and of a student its own.
        settings: of the data, the training and the method, by flat names.
    """

    method: MethodName = "distribution"
    steps: tuple[int, ...] = ()
    guidance: tuple[float, ...] = ()
    teacher_steps: int = 0
    threshold: ThresholdName | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def make_stages(teacher: Model, name: str, request: DistillationRequest) -> list[Stage]:
    """The trainings that lead from a teacher to the student that is asked for.

    Args:
        name: of the teacher in sentences.

    Raises:
        UndiffuseError: the method, the steps or the guidance cannot be had from this teacher.
    """
    if request.method not in PLANS:
        raise UndiffuseError(f"There is no method '{request.method}'{perhaps(request.method, PLANS)}")
    plan, before = PLANS[request.method], student_of(teacher.config.distillation)
    of_method = _of_method(request, plan)
    changed = {name: value for name, value in request.settings.items() if name not in of_method}
    _check_others(changed)
    request = _filled(teacher, request, plan, before, name)
    stride = of_method.get("teacher_stride", ProgressiveConfig.teacher_stride)
    steps = _checked_steps(request, plan, before, name, stride)
    walk = _walk(teacher, request, before) if plan.steps else ()
    inside = _guidance(teacher, request, before, name)
    led = inside.fixed != 1 or bool(inside.choice)
    if led and plan.student is ConsistencyConfig and of_method.get("earlier_by") == "data":
        raise UndiffuseError(
            "Consistency of the data's own noise asks no teacher, and so would forget guidance: leave "
            "`earlier_by=data` out, or choose another `method`"
        )
    shared = {
        "teacher_threshold": request.threshold if teacher.codec.bounded else "none",
        "guidance_inside": inside.fixed,
        "guidance_range": inside.choice,
        **of_method,
    }
    base = override(student_settings(teacher.config), **changed)
    lesson = Lesson(base, changed, shared, walk, steps, 1.0 if before else inside.fixed)
    stages: list[Stage] = []
    if plan.steps:
        to_v = not _takes_long_steps(base, plan.student)
        if to_v:
            lesson = replace(lesson, base=override(base, parameterization="v"))
        if to_v or (inside.choice and not before and not plan.walked):
            stages.append(match(lesson, "guided" if request.guidance else "v"))
            lesson = replace(lesson, teacher_guidance=1.0)
    stages += plan.stages(lesson)
    for stage in stages:  # now, and not when the stages before have taken their minutes
        check_student(stage.config)
    return stages


@dataclass(frozen=True)
class _Inside:
    fixed: float = 1.0
    choice: tuple[float, ...] = ()


def _guidance(teacher: Model, request: DistillationRequest, before: StudentConfig | None, name: str) -> _Inside:
    """The guidance that the student is to have inside."""
    asked = request.guidance
    if before:
        if asked or request.method == "guidance":
            advice = "choose another `method`" if request.method == "guidance" else "leave `guidance` out"
            raise UndiffuseError(
                f"{name} is a student, with its guidance inside already: {advice}, or distil from its teacher, "
                f"{before.first_teacher}"
            )
        return _Inside(before.guidance_inside, before.guidance_range)
    if request.method == "guidance" and not asked:
        raise UndiffuseError("The method 'guidance' needs `guidance`: a scale such as 2, or a range such as 1,4")
    if not asked:
        return _Inside()
    if not teacher.conditions:
        raise UndiffuseError(
            f"{name} is told nothing beside the time, so there is no `guidance` to learn: leave it out, or train a "
            "teacher with `condition`"
        )
    if not teacher.config.conditions.condition_dropout:
        raise UndiffuseError(
            f"{name} never learned to draw without its conditions, so guidance has nothing to lead away from: leave "
            "`guidance` out"
        )
    if len(asked) > 2 or (len(asked) == 2 and not asked[0] < asked[1]):
        raise UndiffuseError(
            f"`guidance` takes one scale or two that rise, low and high; got {', '.join(f'{w:g}' for w in asked)}"
        )
    if far := [scale for scale in asked if not -FARTHEST <= scale <= FARTHEST]:
        raise UndiffuseError(f"`guidance` lies within {FARTHEST:g} of 0, and here it is {far[0]:g}")
    if request.method == "guidance" and asked == (1.0,):
        raise UndiffuseError("Guidance 1 is none, so its student would be its teacher: ask for another scale")
    return _Inside(fixed=asked[0]) if len(asked) == 1 else _Inside(choice=asked)


def _of_method(request: DistillationRequest, plan: Plan) -> dict[str, Any]:
    """The settings of the method itself among all that were given."""
    shared, own = {*fields_of(StudentConfig), *FILLED_IN}, fields_of(plan.student)
    for name in request.settings:
        if name in shared:
            raise UndiffuseError(f"'{name}' of a student is filled in by itself: leave it out")
        if name in VARIANTS.fields and name not in own:
            raise UndiffuseError(f"`method={request.method}` has no `{name}`: leave it out")
    given = {name: value for name, value in request.settings.items() if name in own}
    learner = change(plan.student(), given, "the settings")
    if isinstance(learner, RegressionConfig | DistributionConfig):
        _check_sampler(learner.teacher_sampler)
    return {name: getattr(learner, name) for name in given}


def _check_others(given: dict[str, Any]) -> None:
    """Check that settings are of the data's preparation or of a training, and not of what is the teacher's."""
    homes = sections(TrainConfig)
    for name in given:
        home = homes.get(name)
        if name in BUDGETS:
            raise UndiffuseError(f"A distillation is as long as `minutes` or `updates` say: leave `{name}` out")
        if name == "source":
            raise UndiffuseError("The data are the second argument of a distillation: leave `source` out")
        if name in NOT_OF_STUDENTS:
            raise UndiffuseError(f"`{name}` is not for students: leave it out")
        if home in ("network", "diffusion", "conditions", "start", ""):
            raise UndiffuseError(f"`{name}` is the teacher's, and so its student's: leave it out")


def _check_sampler(name: str) -> None:
    if name not in SAMPLERS:
        raise UndiffuseError(f"There is no sampler '{name}'{perhaps(name, SAMPLERS)}")
    if SAMPLERS[name].stochastic:
        raise UndiffuseError(
            f"The sampler '{name}' adds noise on its way, so its end is no function of its start: learn the walk of "
            "another, such as `teacher_sampler=unipc2`"
        )


def _filled(
    teacher: Model, request: DistillationRequest, plan: Plan, before: StudentConfig | None, name: str
) -> DistillationRequest:
    """What is asked, with the teacher's steps and the threshold where nobody said them."""
    steps, threshold, most = request.teacher_steps, request.threshold, len(before.student_times) if before else 0
    if steps and not plan.steps:
        raise UndiffuseError("A student of guidance learns at every time, and no walk: leave `teacher_steps` out")
    if steps and steps < 2:
        raise UndiffuseError(f"`teacher_steps` is a whole number from 2 on, got {steps}")
    if before and most and steps not in (0, most):
        raise UndiffuseError(f"{name} is a student that takes {most} steps: leave `teacher_steps` out")
    if before and most and threshold not in (None, before.teacher_threshold):
        raise UndiffuseError(
            f"{name} is a student that was made for `threshold={before.teacher_threshold}`: leave `threshold` out"
        )
    if threshold == "dynamic" and plan.several:
        raise UndiffuseError(
            f"A student of the method '{request.method}' learns from its own steps, whose x0 is clipped or left as it "
            "is: use `threshold=clip` or `threshold=none`"
        )
    clipped = plan.clipped or request.guidance or not _takes_long_steps(teacher.config, plan.student)
    usual: ThresholdName = "clip" if clipped else "none"
    own = before.teacher_threshold if before else usual
    steps = most or steps or plan.teacher_steps(request.steps)
    longest = teacher.schedule.T if isinstance(teacher.schedule, DiscreteSchedule) else LONGEST
    if plan.steps and steps > longest:
        raise UndiffuseError(f"{name} takes {longest:,} steps at most, and `teacher_steps` is {steps:,}: ask for fewer")
    return replace(request, teacher_steps=steps, threshold=threshold or own)


def _checked_steps(
    request: DistillationRequest, plan: Plan, before: StudentConfig | None, name: str, stride: int
) -> tuple[int, ...]:
    steps, method, most = request.steps or plan.steps, request.method, request.teacher_steps
    if not plan.steps:
        if request.steps:
            raise UndiffuseError(
                "A student of guidance is an ordinary model, drawn in any number of steps: leave `steps` out"
            )
        return ()
    shown, asks = ", ".join(map(str, steps)), "asks for {}" if request.steps else "is {} where nobody says"
    if min(steps) < 1 or len(set(steps)) < len(steps):
        raise UndiffuseError(f"`steps` takes different numbers from 1 on, got {shown}")
    if stride < 2:
        raise UndiffuseError(f"`teacher_stride` is a whole number from 2 on, got {stride}")
    advice = "learn from more with `teacher_steps`"
    if before and before.student_steps:
        _check_halved(before, method, name)
        advice = f"distil from its teacher, {before.first_teacher}"
    if not plan.several and len(steps) > 1:
        raise UndiffuseError(
            f"A student of the method '{method}' has one number of steps, and `steps` asks for {shown}: use "
            "`method=jump` for several"
        )
    if max(steps) >= most:
        raise UndiffuseError(
            f"The teacher takes {counted(most, 'step')} and `steps` {asks.format(max(steps))}: ask for fewer, or "
            f"{advice}"
        )
    possible = [most // stride**k for k in range(1, most.bit_length()) if most % stride**k == 0]
    if not set(steps) <= set(possible):
        can = f"students of {', '.join(map(str, possible))} can be made" if possible else "no student can be made"
        raise UndiffuseError(f"From {most} steps of the teacher, {can}, and `steps` {asks.format(shown)}")
    if method == "jump" and any(2 * a != b for a, b in pairwise(sorted(steps))):
        raise UndiffuseError(
            "A jump is learned from two of half its length, so `steps` of jumps are each twice another but the least, "
            f"such as 4,2,1, and here they are {shown}"
        )
    return steps


def _check_halved(before: StudentConfig, method: str, name: str) -> None:
    """Check that a student, who walks by steps of its own, is a teacher of halving, with one walk that is DDIM's."""
    own = sorted(before.student_steps)
    if len(own) > 1 or before.sampler != ProgressiveConfig().sampler:
        raise UndiffuseError(
            f"{name}, distilled by {before.CALLED} for {one_of(own)} step{'s' * (own != [1])}, has no walk that could "
            f"be halved: distil from its teacher, {before.first_teacher}"
        )
    if method != "progressive":
        raise UndiffuseError(
            f"{name} is a student already, and only halving goes on from one: add `method=progressive`, or distil from "
            f"its teacher, {before.first_teacher}"
        )


def _walk(teacher: Model, request: DistillationRequest, before: StudentConfig | None) -> tuple[float, ...]:
    """The teacher's times, as far as they can be trained at: whole numbers on a chain."""
    if before and before.student_times:
        return before.student_times
    return tuple(make_timesteps(teacher.schedule, request.teacher_steps).tolist()[:-1])


def _takes_long_steps(config: TrainConfig, student: type[StudentConfig]) -> bool:
    """Whether a network of this row can say x0 near pure noise, and for consistency is right at data by itself."""
    row = make_parameterization(config.diffusion.parameterization, config.diffusion.sigma_data)
    return row.name not in ("epsilon", "score") and (student is not ConsistencyConfig or row.keeps_data)


def student_settings(config: TrainConfig) -> TrainConfig:
    """A teacher's settings with those that students do better with: no dropout, every t alike, Adam down to nothing."""
    network = override(config, dropout=0.0).network if hasattr(config.network, "dropout") else config.network
    return replace(
        config,
        network=network,
        start=StartConfig(),  # the teacher's own beginning is not the student's
        objective=ObjectiveConfig(),
        optimizer=OptimizerConfig(lr=2e-4, decay="linear", warmup=50, accumulate=config.optimizer.accumulate),
        ema=EMAConfig(ema=(0.99,)),
        loop=replace(config.loop, steps=None, images=None, minutes=None, meant_for=""),
    )
