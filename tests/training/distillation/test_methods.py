"""A method is a row in each of a few tables, and its settings are known to files."""

from __future__ import annotations

from typing import get_args

from undiffuse.config.distillation import MethodName, NoDistillation, StudentConfig
from undiffuse.config.schema import METHODS as SETTINGS
from undiffuse.model.student_words import TARGETS
from undiffuse.training.distillation.methods import METHODS
from undiffuse.training.distillation.stages import PLANS


def test_every_kind_of_student_has_its_settings_its_objective_its_costs_and_its_trainings():
    kinds = set(StudentConfig.__subclasses__())
    assert set(METHODS) == set(TARGETS) == {plan.student for plan in PLANS.values()} == kinds
    assert {*SETTINGS.classes.values()} == kinds | {NoDistillation}
    assert set(PLANS) == set(get_args(MethodName))
