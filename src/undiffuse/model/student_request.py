"""What a student can be asked: its x0 is where a walk of its own ends, and not E[x0 | x_t], so it walks that way alone.

Settings at their defaults become the student's own. What it cannot do is refused by a sentence that names the model
that can: the first teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from undiffuse.config.distillation import StudentConfig, student_of
from undiffuse.config.sampling import SampleConfig, Solver
from undiffuse.config.schema import TrainConfig
from undiffuse.config.students import walking_student
from undiffuse.diffusion.samplers import SAMPLERS, STUDENT_SAMPLERS
from undiffuse.errors import UndiffuseError, one_of, quoted

DEFAULTS = SampleConfig().flat()
OF_SOLVERS = ("spacing", "eta", "variance", "churn", "tolerance")
"""What a student's steps leave nothing to be said of."""
OF_GUIDES = ("avoid", "weak", "classifier", "guidance_rescale", "guidance_interval", "guidance_rule")
"""Guidance that needs E[x0 | x_t], or a scale that is not inside yet."""


def as_made_for(settings: SampleConfig, student: StudentConfig | None, bounded: bool = True) -> SampleConfig:
    """The settings with a student's walk, threshold and guidance.

    Args:
        student: None where the model is none.
        bounded: x0 has bounds; where it has none, no threshold keeps it there.

    Raises:
        UndiffuseError: another walk, threshold or guidance than the student has is asked for, or a student's sampler of
            a model that is none.
    """
    if student is None or not student.student_steps:
        _check_ordinary(settings.solver)
    if student is None:
        return settings
    if not bounded:
        student = replace(student, teacher_threshold="none")
    settings = _guided(settings, student)
    if not student.student_steps:
        return settings
    flat, walk = settings.flat(), student.walk(_steps(settings.solver, student))
    for name in ("sampler", "threshold"):
        if flat[name] not in (walk[name], DEFAULTS[name]):
            raise refused(f"`{name}={flat[name]}`", student)
    for name in OF_SOLVERS:
        if flat[name] != DEFAULTS[name]:
            raise refused(f"`{name}={flat[name]}`", student)
    return settings.changed(**walk)


def check_typed(given: Mapping[str, Any], config: TrainConfig) -> None:
    """Check what somebody wrote out for a model of these settings, a default among it: nothing typed is passed over.

    Raises:
        UndiffuseError: as for `as_made_for`.
    """
    student = student_of(config.distillation)
    if student is None:
        return
    if student.guidance_range and "guidance" in given:
        _check_scale(given["guidance"], student)
    if not student.student_steps:
        return
    inside = {"sampler": student.sampler, "threshold": student.teacher_threshold, "eta": Solver.eta}
    if not student.guidance_range and given.get("guidance", student.guidance_inside) != student.guidance_inside:
        raise _other_guidance(given["guidance"], student)
    for name in ("sampler", "threshold", *OF_SOLVERS):
        if name in given and given[name] != inside.get(name):
            raise refused(f"`{name}={given[name]}`", student)
    if (steps := given.get("steps")) is not None and steps not in student.student_steps:
        raise _other_steps(steps, student)


def check_denoises(config: TrainConfig, what: str) -> None:
    """Check that x0 of a model of these settings is E[x0 | x_t].

    Args:
        what: needs that, such as "a likelihood".

    Raises:
        UndiffuseError: it is a student's, who walks by steps of its own.
    """
    if student := walking_student(config):
        raise UndiffuseError(
            f"{what[:1].upper()}{what[1:]} needs E[x0 | x_t], and x0 of this model, distilled by {student.CALLED}, is "
            f"where a walk of {_steps_in_words(student)} ends: ask its teacher, {student.first_teacher}"
        )


def refused(what: str, student: StudentConfig) -> UndiffuseError:
    """The error for what a student cannot do, naming who can."""
    if not student.student_steps:
        low, high = student.guidance_range
        return UndiffuseError(
            f"This student is told its guidance, from {low:g} to {high:g}, and does nothing with {what}: leave it out, "
            f"or ask its teacher, {student.first_teacher}"
        )
    return UndiffuseError(
        f"This model was distilled by {student.CALLED} for a walk of its own, {_steps_in_words(student)} by "
        f"`sampler={student.sampler}`, and does nothing with {what}: leave it out, or ask its teacher, "
        f"{student.first_teacher}"
    )


def _check_ordinary(solver: Solver) -> None:
    name = solver.sampler
    if name in STUDENT_SAMPLERS and name not in SAMPLERS:
        raise UndiffuseError(
            f"`sampler={name}` is for {STUDENT_SAMPLERS[name].note}, and this model is none: leave it out, or make a "
            "student of it by undiffuse distill"
        )


def _steps(solver: Solver, student: StudentConfig) -> int:
    if solver.times:
        if solver.times not in [student.times_of(steps) for steps in student.student_steps]:
            raise refused("other `times` than its own", student)
        return len(solver.times)
    if solver.steps in student.student_steps:
        return solver.steps
    if solver.steps != Solver.steps:
        raise _other_steps(solver.steps, student)
    return student.student_steps[0]


def _steps_in_words(student: StudentConfig) -> str:
    steps = sorted(student.student_steps)
    return f"{one_of(steps)} step{'s' * (steps != [1])}"


def _other_steps(steps: int, student: StudentConfig) -> UndiffuseError:
    return UndiffuseError(
        f"This model was distilled by {student.CALLED} for {_steps_in_words(student)} and `steps` is {steps}: leave it "
        f"out, or ask its teacher, {student.first_teacher}"
    )


def _guided(settings: SampleConfig, student: StudentConfig) -> SampleConfig:
    flat, guidance = settings.flat(), settings.guide.guidance
    for name in OF_GUIDES:
        if flat[name] and (student.student_steps or student.guidance_range):
            raise refused(f"`{name}={_shown(flat[name])}`", student)
    if student.guidance_range:
        if guidance == DEFAULTS["guidance"]:
            return settings.changed(guidance=student.guidance_unsaid)
        _check_scale(guidance, student)
        return settings
    if guidance == DEFAULTS["guidance"] or not student.student_steps:
        return settings
    if guidance == student.guidance_inside:
        return settings.changed(guidance=DEFAULTS["guidance"])
    raise _other_guidance(guidance, student)


def _check_scale(guidance: float, student: StudentConfig) -> None:
    low, high = student.guidance_range
    if not low <= guidance <= high:
        raise UndiffuseError(
            f"This student learned guidance from {low:g} to {high:g} and `guidance` is {guidance:g}: take one there, "
            f"or ask its teacher, {student.first_teacher}"
        )


def _other_guidance(guidance: float, student: StudentConfig) -> UndiffuseError:
    return UndiffuseError(
        f"This student has guidance {student.guidance_inside:g} inside and `guidance` is {guidance:g}: leave it out, "
        f"or ask its teacher, {student.first_teacher}"
    )


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else quoted(value)
