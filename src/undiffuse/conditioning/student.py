"""What a student is told beside what its teacher is: where its step ends, and how far guidance is to lead."""

from __future__ import annotations

from collections.abc import Iterable

from undiffuse.config.distillation import DistillationConfig, DistributionConfig, JumpConfig, StudentConfig
from undiffuse.diffusion.denoiser import NumberInput
from undiffuse.diffusion.distillation.teacher import SCALE, SINCE, UNTIL, WAVES, Scales, until_input
from undiffuse.networks.conditions import Condition

OF_STUDENTS = (UNTIL, SCALE)
"""Conditions that no data say anything of: the walk does, and whoever asks for samples."""


def scales_of(config: DistillationConfig) -> Scales | None:
    """The scales of guidance that a student can be asked for; None where there is no choice."""
    return Scales(*config.guidance_range) if isinstance(config, StudentConfig) and config.guidance_range else None


def number_inputs(config: DistillationConfig) -> dict[str, NumberInput]:
    """What the network sees of the numbers that a student is told, by the name of the condition."""
    found: dict[str, NumberInput] = {UNTIL: until_input} if isinstance(config, JumpConfig) else {}
    return found | ({SCALE: scales.network_input} if (scales := scales_of(config)) else {})


def student_conditions(config: DistillationConfig) -> tuple[Condition, ...]:
    """The conditions of the student's network that its teacher's does not have."""
    return _conditions(number_inputs(config))


def critic_inputs(config: DistillationConfig) -> dict[str, NumberInput]:
    """What a critic sees of numbers that the student does not: the times of the step that a sample comes from."""
    several = isinstance(config, DistributionConfig) and len(config.student_times) > 1
    return {SINCE: until_input, UNTIL: until_input} if several else {}


def critic_conditions(config: DistillationConfig) -> tuple[Condition, ...]:
    """The conditions of the critic's network that the student's does not have."""
    return _conditions(critic_inputs(config))


def _conditions(names: Iterable[str]) -> tuple[Condition, ...]:
    return tuple(Condition(name, "vector", 2 * WAVES) for name in names)
