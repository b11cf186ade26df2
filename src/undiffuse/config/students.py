"""Who is a student, and the check of its settings: for whoever trains by them, and reads them in a stranger's file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

from undiffuse.config.diffusion import SCHEDULES, DiffusionConfig
from undiffuse.config.distillation import (
    DistributionConfig,
    ProgressiveConfig,
    RegressionConfig,
    StudentConfig,
    student_of,
)
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError

LONGEST = 100_000
"""Times of a walk."""
FARTHEST = 1000.0
"""Guidance, either way: as far as samples can be asked for."""
LETTERS = 4096
"""Of a path."""
CONTINUOUS = ("vp", "sub-vp")
"""Schedules whose time goes from 0 to 1, without a chain of timesteps."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def walking_student(config: TrainConfig) -> StudentConfig | None:
    """The settings of a student that walks by steps of its own; None of any other model."""
    student = student_of(config.distillation)
    return student if student and student.student_steps else None


def check_student(config: TrainConfig, where: str = "") -> None:
    """Check the section `distillation`, if there is a teacher.

    Args:
        where: the name of a file, which a message begins with.

    Raises:
        UndiffuseError: there can be no such student.
    """
    student = student_of(config.distillation)
    if student is None:
        return
    said = f"{where}: " if where else ""
    for name in ("teacher", "teacher_weights", "origin"):
        text = getattr(student, name)
        if len(text) > LETTERS or not text.isprintable():
            raise UndiffuseError(f"{said}`{name}` names a model, and here it is no name: {text!r:.40}")
    for name in ("teacher_sha256", "origin_sha256"):
        if (text := getattr(student, name)) and not _SHA256.fullmatch(text):
            raise UndiffuseError(f"{said}`{name}` is 64 digits of a hash, and here it is {text!r:.40}")
    for name in ("teacher_times", "student_times"):
        _check_times(getattr(student, name), config.diffusion, f"{said}`{name}`")
    _check_steps(student.student_steps, len(student.student_times), f"{said}`student_steps`")
    for name in ("teacher_guidance", "guidance_inside"):
        if not -FARTHEST <= (scale := getattr(student, name)) <= FARTHEST:
            raise UndiffuseError(f"{said}`{name}` lies within {FARTHEST:g} of 0, and here it is {scale:g}")
    scales = student.guidance_range
    if scales and not (len(scales) == 2 and -FARTHEST <= scales[0] < scales[1] <= FARTHEST):
        raise UndiffuseError(
            f"{said}`guidance_range` is two rising numbers within {FARTHEST:g} of 0, and here it is {_shown(scales)}"
        )
    if isinstance(student, ProgressiveConfig):
        stride = student.teacher_stride
        if stride < 1 or len(student.teacher_times) % stride or not student.teacher_times:
            raise UndiffuseError(
                f"{said}`teacher_stride` divides the teacher's {len(student.teacher_times)} steps, and here it is "
                f"{stride}"
            )
    walks = isinstance(student, RegressionConfig | DistributionConfig)
    if walks and not student.student_steps:
        raise UndiffuseError(
            f"{said}`student_steps` of a student that learns a walk are one or more, and here are none"
        )
    if walks and student.student_times != student.teacher_times[:: _stride(student)]:
        raise UndiffuseError(f"{said}`student_times` are every n-th of `teacher_times`, and here they are not")
    for name, least in {"annealing": 1.0, "ratio_std": 0.0, "huber": 0.0, "critic_lr": 0.0}.items():
        if not (value := getattr(student, name, math.inf)) > least:
            raise UndiffuseError(f"{said}`{name}` is more than {least:g}, and here it is {value:g}")
    for name in ("own_times", "matched"):
        if not 0 <= (share := getattr(student, name, 0.0)) <= 1:
            raise UndiffuseError(f"{said}`{name}` lies from 0 to 1, and here it is {share:g}")


def _stride(student: StudentConfig) -> int:
    return max(1, len(student.teacher_times) // max(1, len(student.student_times)))


def longest_time(process: DiffusionConfig) -> float:
    """The end of a process; infinite where only the schedule itself knows it, which is registered or given."""
    if process.schedule in CONTINUOUS:
        return 1.0
    return float(process.timesteps) if process.betas or process.schedule in SCHEDULES else math.inf


def _check_times(times: Sequence[float], process: DiffusionConfig, name: str) -> None:
    last = longest_time(process)
    if len(times) > LONGEST:
        raise UndiffuseError(f"{name} has at most {LONGEST:,} times, and here it has {len(times):,}")
    if times and not (times[0] <= last and times[-1] > 0 and all(t > s for t, s in pairwise(times))):
        raise UndiffuseError(f"{name} falls, from {last:g} at most to more than 0, and here it is {_shown(times)}")


def _check_steps(steps: Sequence[int], most: int, name: str) -> None:
    if len(set(steps)) < len(steps) or len(steps) > 64 or not all(n >= 1 and most % n == 0 for n in steps):
        raise UndiffuseError(
            f"{name} has different divisors of the student's {most} times, and here it is {_shown(steps)}"
        )
    if steps and not most:
        raise UndiffuseError(f"{name} needs `student_times`, and here there are none")


def _shown(numbers: Sequence[float]) -> str:
    few = ", ".join(f"{number:.6g}" for number in numbers[:4])
    return f"{few}{', ...' if len(numbers) > 4 else ''}" or "nothing"
