"""Conditions on a model before others get it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from undiffuse.config.distillation import student_of
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import drawing_settings
from undiffuse.model import AnyModel, Cascade, Model
from undiffuse.provenance.adapter_names import without_folders


def check_whole(model: AnyModel) -> Model:
    """The model, unless it is a cascade, which is several networks."""
    if isinstance(model, Cascade):
        raise UndiffuseError(
            "This format holds one network, and a cascade is several: convert each of its models alone"
        )
    return model


def without_paths(config: TrainConfig) -> TrainConfig:
    """The settings with names for what was on the disk of whoever trained, not where it was."""
    data = replace(config.data, source=Path(config.data.source).name, pairs=Path(config.data.pairs).name)
    start = replace(config.start, start_from=without_folders(config.start.start_from))
    if student := student_of(config.distillation):
        student = replace(student, teacher=without_folders(student.teacher), origin=without_folders(student.origin))
        config = replace(config, distillation=student)
    return replace(drawing_settings(config), data=data, start=start)
