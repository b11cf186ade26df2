"""What is told before a distillation begins: what of the teacher its student does otherwise, and what has no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from undiffuse.config.distillation import ConsistencyConfig, ProgressiveConfig, student_of
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten
from undiffuse.config.without_effect import without_effect
from undiffuse.model import Model
from undiffuse.training.distillation.stages import Stage
from undiffuse.training.run.settings_without_effect import rules_of

SHORT = 5.0
"""Minutes in which halving comes to four steps or two, and hardly to one."""
OF_DISTANCES = ("weighting", "gamma", "p2_gamma", "distance", "clipped_error")
OF_DATA = ("annealing", "ratio_mean", "ratio_std", "own_times")


def remarks(teacher: Model, name: str, stages: list[Stage]) -> list[str]:
    """Sentences on what a student has not as its teacher has it.

    Args:
        name: of the teacher in sentences.
    """
    first, last, found = stages[0].config, stages[-1].config, list[str]()
    row, own = teacher.config.diffusion.parameterization, first.diffusion.parameterization
    if row != own:
        found.append(f"{name} predicts {row}, of which no such student can be made: a first stage turns it into {own}")
    if teacher.config.diffusion.learn_variance:
        found.append(f"the variance that {name} learned is not used by students, whose steps need none")
    if dropout := getattr(teacher.config.network, "dropout", 0.0):
        found.append(f"dropout {dropout:g} of {name} is off in its students")
    student, minutes = student_of(last.distillation), sum(stage.config.loop.minutes or 0 for stage in stages)
    if isinstance(student, ProgressiveConfig) and student.student_steps == (1,) and 0 < minutes < SHORT:
        found.append(f"warning: halving to 1 step is hard, and in under {SHORT:g} minutes it hardly comes there")
    return found


def unheeded(given: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """A sentence for each setting in ``given`` that changes nothing of the student with these settings."""
    student = student_of(config.distillation)
    rules = rules_of(config)
    if isinstance(student, ConsistencyConfig):
        rules |= dict.fromkeys(OF_DISTANCES, (False, "with another `method`"))
        rules |= dict.fromkeys(OF_DATA, (student.earlier_by == "data", "with `earlier_by=data`"))
    return without_effect(given, rules, flatten(TrainConfig()))
