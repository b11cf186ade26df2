"""What a student is and what it cost, in words for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from undiffuse.config.distillation import (
    ConsistencyConfig,
    DistributionConfig,
    JumpConfig,
    MatchConfig,
    ProgressiveConfig,
    RegressionConfig,
    StudentConfig,
    student_of,
)
from undiffuse.config.schema import TrainConfig
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.errors import counted, one_of

LEARNING = 3
"""Evaluations of the student for a sample that it learns from: one, and its gradient as two."""


def in_words(student: StudentConfig) -> str:
    """'4 evaluations, distilled from digits (sha256 713914...) by halving, guidance 2 inside'."""
    first, *others = student.student_steps or (0,)
    more = f" ({one_of(others)} if asked)" if others else ""
    how = counted(first, "evaluation") + more if first else "an ordinary model for any sampler"
    sha256 = f" (sha256 {student.origin_sha256[:6]}...)" if student.origin_sha256 else ""
    found = f"{how}, distilled from {student.first_teacher}{sha256} by {student.CALLED}"
    if student.guidance_range:
        low, high = student.guidance_range
        return f"{found}, guidance from {low:g} to {high:g} is a choice"
    return found + (f", guidance {student.guidance_inside:g} inside" if student.guidance_inside != 1 else "")


def walk_in_words(student: StudentConfig) -> str:
    """The walk that it makes where nobody says anything: 'jump at t = 1000, 750, 500, 250'."""
    if not student.student_steps:
        return "any"
    times = student.times_of(student.student_steps[0])
    shown = ", ".join(f"{t:.6g}" for t in times[:8]) + (", ..." if len(times) > 8 else "")
    return f"{student.sampler} at t = {shown}"


def spent_in_words(config: TrainConfig, step: int) -> str:
    """The evaluations of networks that a student's training took, and what is counted; '' where there is no teacher."""
    student = student_of(config.distillation)
    if student is None:
        return ""
    target, samples = TARGETS[type(student)](student), step * config.loop.batch
    return (
        f"{round(samples * (LEARNING + target)):,} in this training: {LEARNING} of the student for each of {samples:,} "
        f"samples, its gradient as two, {target:.3g} for the target"
    )


def _per_teacher(student: StudentConfig) -> int:
    """Evaluations of one answer of the teacher: two where it is guided."""
    first = student.teacher_sha256 == student.origin_sha256
    return 2 if student.teacher_guidance != 1 or (student.guidance_range and first) else 1


def _match(student: MatchConfig) -> float:
    return _per_teacher(student)


def _progressive(student: ProgressiveConfig) -> float:
    return student.teacher_stride * _per_teacher(student)


def _consistency(student: ConsistencyConfig) -> float:
    return 1 + (_per_teacher(student) if student.earlier_by == "teacher" else 0)


def _jump(student: JumpConfig) -> float:
    """Each jump of each number of them is learned equally often: the shortest, which are those of the largest number,
    from the teacher, the others from two own jumps."""
    counts = student.student_steps or (1,)
    jumps, shortest = sum(counts), max(counts)
    by_teacher = len(student.teacher_times) // shortest * _per_teacher(student)
    return (shortest * by_teacher + (jumps - shortest) * 2) / jumps


def _regression(student: RegressionConfig) -> float:
    return _walk_from(student, student.teacher_times[0])


def _walk_from(student: RegressionConfig | DistributionConfig, t: float) -> float:
    """A walk of the teacher from t; what a sampler takes more in some steps is left out."""
    known = SAMPLERS.get(student.teacher_sampler)
    each = (known.evaluations_per_step if known else None) or 1
    return each * sum(time <= t for time in student.teacher_times) * _per_teacher(student)


def _distribution(student: DistributionConfig) -> float:
    """The student's steps before the one that learns, teacher and critic or a walk of the teacher, the critic's own
    learning; each step of each walk is as frequent as the others."""
    asked, part = 1 + _per_teacher(student), student.matched
    return LEARNING + fmean(
        before + part * asked + (1 - part) * _walk_from(student, t)
        for steps in student.student_steps
        for before, t in enumerate(student.times_of(steps))
    )


TARGETS: Mapping[type[StudentConfig], Callable[[Any], float]] = {
    MatchConfig: _match,
    ProgressiveConfig: _progressive,
    ConsistencyConfig: _consistency,
    JumpConfig: _jump,
    RegressionConfig: _regression,
    DistributionConfig: _distribution,
}
"""Evaluations for the target of a sample, on average, by the class of the settings."""
