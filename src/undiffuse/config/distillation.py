"""Settings of students: networks that learn from a teacher to draw in a few evaluations.

A section ``distillation`` of settings is one of these classes, told by its ``method``. It says how the student learns,
and with that how it is to be sampled, so nobody has to remember which sampler belongs to which student. A new method is
a subclass of `StudentConfig`, and a row in each of the tables that CONTRIBUTING.md names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from undiffuse.errors import quoted

ThresholdName = Literal["none", "clip", "dynamic"]
MethodName = Literal["progressive", "guidance", "consistency", "jump", "regression", "distribution"]
"""The methods that a user asks for; 'guidance' makes settings of the class `MatchConfig`."""
FILLED_IN = ("method", "with_critic")
"""Settings of methods that nobody chooses, as nobody does those that all students have."""


@dataclass(frozen=True)
class DistillationConfig:
    """The parent of all methods."""


@dataclass(frozen=True)
class NoDistillation(DistillationConfig):
    """A network that learns from data by the section `objective`."""

    method: Literal["none"] = "none"
    """Nobody: what is learned is the data."""


@dataclass(frozen=True)
class StudentConfig(DistillationConfig):
    """What all students have: a teacher, its way, and the student's own."""

    CALLED: ClassVar[str]
    """The method in sentences: distilled by ..."""

    teacher: str = ""
    """The model that is asked: a run, a checkpoint or a model's file."""
    teacher_weights: str = "ema"
    """Which of its weights."""
    teacher_sha256: str = ""
    """sha256 of those weights; filled in."""
    origin: str = ""
    """The first teacher, which learned from data and can be asked what students cannot; filled in."""
    origin_sha256: str = ""
    """sha256 of its weights; filled in."""
    teacher_guidance: float = 1.0
    """Guidance that the teacher is asked with."""
    guidance_inside: float = 1.0
    """Guidance that the student has inside, from this teacher or from one before."""
    guidance_range: tuple[float, ...] = ()
    """LOW,HIGH scales of guidance that the student can be asked for, in place of one."""
    teacher_threshold: ThresholdName = "clip"
    """What happens to the teacher's x0 outside [-1, 1], and to the student's."""
    teacher_times: tuple[float, ...] = ()
    """The very times of the teacher's steps, from noise to data."""
    student_times: tuple[float, ...] = ()
    """The very times of the student's steps where it takes the most."""
    student_steps: tuple[int, ...] = ()
    """In how many steps the student can be sampled, first in how many it is where nobody says. Fewer than the most are
    every second, fourth, ... of its times. None: it is an ordinary model, for any sampler."""

    @property
    def sampler(self) -> str:
        """The student's sampler."""
        return "ddim"

    @property
    def guidance_unsaid(self) -> float:
        """The guidance that samples are asked for where nobody says: none, unless the student cannot have none."""
        if not self.guidance_range:
            return 1.0
        low, high = self.guidance_range
        return next((w for w in (1.0, self.guidance_inside, self.teacher_guidance) if low <= w <= high), low)

    @property
    def first_teacher(self) -> str:
        """The model that can be asked what students cannot, as sentences name it."""
        return quoted(self.origin or self.teacher) if self.origin or self.teacher else "the model that it learned from"

    def times_of(self, steps: int) -> tuple[float, ...]:
        """The times of a walk of so many steps."""
        return self.student_times[:: len(self.student_times) // steps]

    def walk(self, steps: int | None = None) -> dict[str, Any]:
        """The settings of samples, by flat names, that the student was made for; none for an ordinary model."""
        if not self.student_steps:
            return {}
        steps = steps or self.student_steps[0]
        return {
            "sampler": self.sampler,
            "steps": steps,
            "times": self.times_of(steps),
            "threshold": self.teacher_threshold,
        }


@dataclass(frozen=True)
class MatchConfig(StudentConfig):
    """The teacher's answers at every t, in another row or with guidance inside: an ordinary model afterwards."""

    CALLED: ClassVar = "matching"

    method: Literal["match"] = "match"
    """The teacher's answer at each t, guidance in it."""


@dataclass(frozen=True)
class ProgressiveConfig(StudentConfig):
    """One step for some of the teacher's."""

    CALLED: ClassVar = "halving"

    method: Literal["progressive"] = "progressive"
    """One step for two of the teacher's (Salimans & Ho 2022)."""
    teacher_stride: int = 2
    """The teacher's steps for one of the student's."""


@dataclass(frozen=True)
class ConsistencyConfig(StudentConfig):
    """The same x0 from every point of a way."""

    CALLED: ClassVar = "consistency"

    method: Literal["consistency"] = "consistency"
    """The same x0 from every point of a way (Song et al. 2023)."""
    earlier_by: Literal["teacher", "data"] = "teacher"
    """Where the earlier point of two lies: where the teacher steps, or where the data are with the same noise."""
    annealing: float = 2.0
    """By how much the gap between the two shrinks in each eighth of the training, without the teacher."""
    ratio_mean: float = -0.44
    """Mean of ln(sigma/alpha) of the later point, without the teacher."""
    ratio_std: float = 2.0
    """Standard deviation of the same."""
    huber: float = 0.00054
    """c of pseudo-Huber, for the root mean square of a sample's error: smaller errors count squared."""
    own_times: float = 0.25
    """Part of the later points that lie at the student's own times, the only ones that it is sampled at; without the
    teacher."""
    pair_weight: Literal["ratio", "angle"] = "angle"
    """Weight of a pair: 1 over the difference of sigma/alpha, which all but forgets the pure noise that samples start
    from, or of its arc tangent."""
    fresh_noise: bool = True
    """The student's walk takes new noise in every step, in place of the noise that is there."""

    @property
    def sampler(self) -> str:
        return "renoise" if self.fresh_noise else "ddim"


@dataclass(frozen=True)
class JumpConfig(StudentConfig):
    """A network that is told where its step ends."""

    CALLED: ClassVar = "jumps"

    method: Literal["jump"] = "jump"
    """Steps of several lengths by one network, which is told where each ends (Frans et al. 2024)."""

    @property
    def sampler(self) -> str:
        return "jump"


@dataclass(frozen=True)
class RegressionConfig(StudentConfig):
    """The teacher's own walk from the same noise, by a sampler that may be better than DDIM."""

    CALLED: ClassVar = "regression"

    method: Literal["regression"] = "regression"
    """The teacher's walk from the same noise, in fewer steps (Luhman & Luhman 2021)."""
    teacher_sampler: str = "unipc2"
    """The sampler of the teacher's walk, one that adds no noise."""


@dataclass(frozen=True)
class DistributionConfig(StudentConfig):
    """Samples of the teacher's distribution, whatever the walk."""

    CALLED: ClassVar = "distribution matching"

    method: Literal["distribution"] = "distribution"
    """Samples of the teacher's distribution, by a critic that learns beside (Yin et al. 2024)."""
    teacher_sampler: str = "unipc2"
    """The sampler of the teacher's walk, one that adds no noise."""
    matched: float = 0.75
    """Part of the batches that match the distribution; the others learn where the teacher's walk ends."""
    critic_lr: float = 4.0
    """Learning rate of the critic, in units of `lr`."""
    with_critic: bool = True
    """The critic is kept with the student, to go on with the training; a model's file is without."""

    @property
    def sampler(self) -> str:
        return "renoise" if len(self.student_times) > 1 else "ddim"


def student_of(config: DistillationConfig) -> StudentConfig | None:
    """The settings of a student; None where there is no teacher."""
    return config if isinstance(config, StudentConfig) else None


def has_critic(config: DistillationConfig) -> bool:
    """Whether a critic is in the student's network."""
    return isinstance(config, DistributionConfig) and config.with_critic
