"""What a student is told beside what its teacher is: where its step ends, and how far guidance is to lead."""

from __future__ import annotations

from undiffuse.config.distillation import DistillationConfig, JumpConfig, StudentConfig
from undiffuse.diffusion.denoiser import NumberInput
from undiffuse.diffusion.distillation.teacher import SCALE, UNTIL, WAVES, Scales, until_input
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
    return tuple(Condition(name, "vector", 2 * WAVES) for name in number_inputs(config))
