"""What a student can be asked: its x0 is where a walk of its own ends, and not E[x0 | x_t], so it walks that way alone.

Settings at their defaults become the student's own. What it cannot do is refused by a sentence that names the model
that can: the first teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from undiffuse.config.distillation import StudentConfig
from undiffuse.config.sampling import SampleConfig, Solver
from undiffuse.errors import UndiffuseError, quoted

DEFAULTS = SampleConfig().flat()


def as_made_for(settings: SampleConfig, student: StudentConfig) -> SampleConfig:
    """The settings with the student's walk, threshold and guidance.

    Raises:
        UndiffuseError: another walk, threshold or guidance than the student has is asked for.
    """
    settings = _guided(settings, student)
    if not student.student_steps:
        return settings
    flat, solver = settings.flat(), settings.solver
    walk = student.walk(_steps(solver, student))
    for name, value in walk.items():
        if name not in ("steps", "times") and flat[name] not in (value, DEFAULTS[name]):
            raise refused(f"`{name}={flat[name]}`", student)
    for name in ("spacing", "eta"):
        if flat[name] != DEFAULTS[name]:
            raise refused(f"`{name}={flat[name]}`", student)
    return settings.changed(**walk)


def check_typed(given: Mapping[str, Any], student: StudentConfig) -> None:
    """Check what somebody wrote out, a default among it: nothing typed is passed over.

    Raises:
        UndiffuseError: as for `as_made_for`.
    """
    for name, value in student.walk().items():
        if name in given and name not in ("steps", "times") and given[name] != value:
            raise refused(f"`{name}={given[name]}`", student)
    if (steps := given.get("steps")) is not None and student.student_steps and steps not in student.student_steps:
        raise _other_steps(steps, student)


def refused(what: str, student: StudentConfig) -> UndiffuseError:
    """The error for what a student cannot do, naming who can."""
    steps = " or ".join(map(str, sorted(student.student_steps)))
    return UndiffuseError(
        f"This model was distilled by {student.CALLED} for a walk of its own, {steps} steps by "
        f"`sampler={student.sampler}`, and does nothing with {what}: leave it out, or ask its teacher, "
        f"{quoted(student.origin)}"
    )


def _steps(solver: Solver, student: StudentConfig) -> int:
    if solver.times:
        if solver.times not in [student.times_of(steps) for steps in student.student_steps]:
            raise refused("other `times`", student)
        return len(solver.times)
    if solver.steps in student.student_steps:
        return solver.steps
    if solver.steps != Solver.steps:
        raise _other_steps(solver.steps, student)
    return student.student_steps[0]


def _other_steps(steps: int, student: StudentConfig) -> UndiffuseError:
    can = " or ".join(map(str, sorted(student.student_steps)))
    return UndiffuseError(
        f"This model was distilled by {student.CALLED} for {can} steps and `steps` is {steps}: take one of these, or "
        f"ask its teacher, {quoted(student.origin)}"
    )


def _guided(settings: SampleConfig, student: StudentConfig) -> SampleConfig:
    guide = settings.guide
    for name in ("avoid", "weak", "classifier", "guidance_rescale", "guidance_interval"):
        if student.student_steps and getattr(guide, name):
            raise refused(f"`{name}={settings.flat()[name]}`", student)
    if student.guidance_range:
        low, high = student.guidance_range
        if not low <= guide.guidance <= high:
            raise UndiffuseError(
                f"This student learned guidance from {low:g} to {high:g} and `guidance` is {guide.guidance:g}: take "
                f"one there, or ask its teacher, {quoted(student.origin)}"
            )
        return settings
    if guide.guidance == 1 or not student.student_steps:
        return settings
    if guide.guidance == student.guidance_inside:
        return settings.changed(guidance=1.0)
    raise UndiffuseError(
        f"This student has guidance {student.guidance_inside:g} inside and `guidance` is {guide.guidance:g}: leave it "
        f"out, or ask its teacher, {quoted(student.origin)}"
    )
