"""The trainings that each method takes; a new method is one row of `PLANS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from undiffuse.config.fields import fields_of
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import StartConfig
from undiffuse.model import Model
from undiffuse.training.run.finetune import ADAPTING

STARTING = {"optimizer": "muon", "lr": 1e-3, "decay": "linear"}
"""Settings for the regression that distribution matching starts from: the quickest way to a rough student."""
CHASING = {"lr": 1e-4, "decay": "wsd", "beta1": 0.0, "beta2": 0.99, "weighting": "min-snr"}
"""Settings for two networks that chase each other: no momentum, and the same rate for most of the time."""
WALKING = {"optimizer": "muon", "lr": 5e-4, "decay": "linear"}
"""Settings for a target that stays where it is, or all but."""


def usual_settings(student: StudentConfig) -> Mapping[str, Any]:
    """Settings that the training of such a student does well with, in place of those of all students."""
    return next(plan.usual(student) for plan in PLANS.values() if type(student) is plan.student)


@dataclass(frozen=True)
class Stage:
    """One training of a distillation.

    Args:
        called: what its run's name ends in: '8-steps'.
        config: its settings but for the teacher, who for a later stage is not there yet.
        part: of the budget, in units of the shortest stage.
        teaches: its student is the next stage's teacher; otherwise that one's student starts from its weights alone.
    """

    called: str
    config: TrainConfig
    part: int = 1
    teaches: bool = True

    def with_teacher(
        self, path: str, teacher: Model, start_path: str, start: Model, origin: tuple[str, str]
    ) -> TrainConfig:
        """The settings of the training with a teacher, from the weights of a model that may be another.

        Args:
            origin: path and sha256 of the first teacher, see `origin_of`.
        """
        sha256, weights = teacher.provenance["sha256"], teacher.loaded_as
        student = student_of(self.config.distillation)
        assert student is not None
        told = replace(
            student,
            teacher=path,
            teacher_weights=weights,
            teacher_sha256=sha256,
            origin=origin[0],
            origin_sha256=origin[1],
        )
        begins = StartConfig(start_path, start.loaded_as, start.provenance["sha256"])
        return replace(self.config, distillation=told, start=begins)


def origin_of(path: str, teacher: Model) -> tuple[str, str]:
    """Path and sha256 of the first teacher of this one's students, which is this one or a teacher of its own."""
    before = student_of(teacher.config.distillation)
    return (before.origin, before.origin_sha256) if before else (path, teacher.provenance["sha256"])


@dataclass(frozen=True)
class Lesson:
    """What is known of a student before its method plans the trainings.

    Args:
        base: settings of every training.
        changed: those among them that the user asked for, by flat names.
        shared: settings of the student itself, of whatever method.
        walk: the teacher's times.
        steps: in how many steps the student is to draw, the default first.
        teacher_guidance: what the teacher is asked with.
    """

    base: TrainConfig
    changed: Mapping[str, Any]
    shared: Mapping[str, Any]
    walk: tuple[float, ...]
    steps: tuple[int, ...]
    teacher_guidance: float

    def training(self, student: StudentConfig) -> TrainConfig:
        """Settings of a student's training, the usual ones where the user asked for no other."""
        usual = self.possible(usual_settings(student))
        return replace(override(self.base, **{**usual, **self.changed}), distillation=student)

    def possible(self, usual: Mapping[str, Any]) -> dict[str, Any]:
        """Usual settings without their optimizer, and the rate that goes with it, where the user asked for another, or
        where the network is cut up: Muon moves whole matrices, which no process has then. Adapters have their own."""
        if self.base.lora.lora_rank:
            usual = {**usual, **ADAPTING}
        other = "optimizer" in self.changed or self.base.loop.parallel == "fsdp"
        without = ("optimizer", "lr") if other and "optimizer" in usual else ()
        return {name: value for name, value in usual.items() if name not in without}

    def student(self, kind: type[StudentConfig], **settings: Any) -> StudentConfig:
        """The settings of a student of a kind, as far as it has them."""
        known = fields_of(kind)
        shared = {name: value for name, value in {**self.shared, **settings}.items() if name in known}
        return kind(teacher_guidance=self.teacher_guidance, **shared)


def _of_walks(student: StudentConfig) -> Mapping[str, Any]:
    """Settings for targets on a walk; where x0 is clipped, to overshoot an end of the range costs nothing."""
    return WALKING | {"clipped_error": student.teacher_threshold == "clip"}


def match(lesson: Lesson, called: str) -> Stage:
    """The teacher's answers at every t, by a student that is an ordinary model."""
    return Stage(called, lesson.training(lesson.student(MatchConfig)))


def _halvings(lesson: Lesson) -> list[Stage]:
    """A training for each halving of the teacher's walk, or for each third, ... of it."""
    stages: list[Stage] = []
    walk, stride = lesson.walk, lesson.shared.get("teacher_stride", ProgressiveConfig.teacher_stride)
    while len(walk) > lesson.steps[0]:
        times, walk = walk, walk[::stride]
        own = {"teacher_times": times, "student_times": walk, "student_steps": (len(walk),)}
        student = lesson.student(ProgressiveConfig, **own)
        part = 2 if len(walk) <= 2 else 1  # the last halvings are the hardest
        called = f"{len(walk)}-step{'s' * (len(walk) > 1)}"
        stages.append(Stage(called, lesson.training(student), part))
        lesson = replace(lesson, teacher_guidance=1.0)  # inside now
    return stages


def _one_student(kind: type[StudentConfig], called: str) -> Callable[[Lesson], list[Stage]]:
    """One training, of the teacher's whole walk."""
    return lambda lesson: [Stage(called, lesson.training(_of_walk(lesson, kind)), part=4)]


def _of_walk(lesson: Lesson, kind: type[StudentConfig]) -> StudentConfig:
    own = lesson.walk[:: len(lesson.walk) // max(lesson.steps)]
    return lesson.student(kind, teacher_times=lesson.walk, student_times=own, student_steps=lesson.steps)


def _start_and_chase(lesson: Lesson) -> list[Stage]:
    """A rough student of the walk, then from its weights one of the distribution."""
    rough = replace(override(lesson.base, **lesson.possible(STARTING)), distillation=_of_walk(lesson, RegressionConfig))
    chasing = lesson.training(_of_walk(lesson, DistributionConfig))
    return [Stage("start", rough, teaches=False), Stage("distribution", chasing, part=4)]


@dataclass(frozen=True)
class Plan:
    """What a method can be asked for, and its trainings.

    Args:
        student: its settings.
        steps: in how many steps a student can be sampled unless something else is asked for, the default first; ()
            for a student that is an ordinary model.
        stages: the trainings, after one that matches the teacher where `make_stages` finds that it is needed.
        usual: settings of a training in place of those of all students (`usual_settings`).
        several: one student draws in several numbers of steps.
        walked: the teacher walks by a better sampler than DDIM, which needs fewer steps. It is asked at the student's
            points with and without conditions, so at any scale of guidance.
        clipped: x0 outside [-1, 1] is clipped where nobody says. A student that is told a target of exactly -1 is off
            to both sides of it, and clipped to one, which lifts a dark ground (docs/develop/lab-notes.md). What
            guidance or a teacher of epsilon exaggerates is clipped by every method.
    """

    student: type[StudentConfig]
    steps: tuple[int, ...]
    stages: Callable[[Lesson], list[Stage]]
    usual: Callable[[StudentConfig], Mapping[str, Any]] = _of_walks
    several: bool = False
    walked: bool = False
    clipped: bool = True

    def teacher_steps(self, steps: tuple[int, ...]) -> int:
        """Steps of the teacher's walk where nobody says."""
        return max(4, 2 * max(steps or self.steps)) if self.walked else 16


PLANS: Mapping[str, Plan] = {
    "progressive": Plan(ProgressiveConfig, (4,), _halvings, clipped=False),
    "guidance": Plan(MatchConfig, (), lambda lesson: [match(lesson, "guided")], lambda student: {}),
    "consistency": Plan(
        ConsistencyConfig,
        (2, 1),
        _one_student(ConsistencyConfig, "consistency"),
        lambda student: WALKING,
        several=True,
    ),
    "jump": Plan(JumpConfig, (4, 1, 2, 8), _one_student(JumpConfig, "jump"), several=True, clipped=False),
    "regression": Plan(RegressionConfig, (1,), _one_student(RegressionConfig, "regression"), walked=True),
    "distribution": Plan(
        DistributionConfig, (4, 2, 1), _start_and_chase, lambda student: CHASING, several=True, walked=True
    ),
}
"""By what the user calls the method."""
