"""Cascades: a model of small images and stages that enlarge them, trained one by one, drawn from as one model.

    undiffuse.train("photos/", size=32, name="base")
    undiffuse.train("photos/", size=64, upscale=2, name="up")
    model = undiffuse.make_cascade(["runs/base", "runs/up"], "runs/photos64")
    model.sample(16)

(Ho et al. 2022, https://arxiv.org/abs/2106.15282.) `undiffuse.conditioning.low_resolution` has the mathematics.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from undiffuse.config.keywords import SampleSettings
from undiffuse.config.sampling import Guide, SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.students import walking_student
from undiffuse.data.codec import Codec
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.model.edits import EditsPictures
from undiffuse.model.micro_batch import micro_batch_of
from undiffuse.model.model import Model
from undiffuse.model.plan import DrawsByPlan, LowerStage, SamplePlan
from undiffuse.model.resolve import make_plan, resolve
from undiffuse.model.sample_objects import with_texts
from undiffuse.model.sample_request import passed
from undiffuse.model.student_request import check_denoises, check_typed
from undiffuse.networks.conditions import Condition


@dataclass(frozen=True)
class Cascade(DrawsByPlan, EditsPictures):
    """Several models asked as one: sample i of each stage is made of sample i of the one below.

    Args:
        stages: the model of the smallest images first. The last one's provenance is that of the whole.
    """

    stages: tuple[Model, ...]

    @property
    def top(self) -> Model:
        """The stage of the largest images."""
        return self.stages[-1]

    @property
    def info(self) -> DataInfo:
        return self.top.info

    @property
    def codec(self) -> Codec:
        return self.top.codec

    @property
    def config(self) -> TrainConfig:
        return self.top.config

    @property
    def schedule(self) -> Schedule:
        return self.top.schedule

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return self.top.conditions

    @property
    def device(self) -> torch.device:
        return self.top.device

    @property
    def provenance(self) -> dict[str, Any]:
        return self.top.provenance

    @property
    def home(self) -> Path:
        """The cascade's folder."""
        return self.top.home

    def __repr__(self) -> str:
        return f"Cascade({', '.join(map(repr, self.stages))})"

    @property
    def micro_batch(self) -> int:
        """Samples per evaluation where settings do not say: what fits the largest network."""
        return micro_batch_of(self.stages)

    def to(self, device: torch.device | str) -> Cascade:
        """Move all networks to a device, in place."""
        for stage in self.stages:
            stage.to(device)
        return self

    def with_network(self, network: nn.Module) -> Cascade:
        """The cascade with another module of the same parameters in its last stage."""
        return Cascade((*self.stages[:-1], self.top.with_network(network)))

    @in_one_sentence
    def plan(self, settings: SampleConfig | None = None, **overrides: Unpack[SampleSettings]) -> SamplePlan:
        """The plan of the last stage, with the plans of those below inside; see `Model.plan`."""
        check_top(self.config)
        given = with_texts(overrides)
        wanted = passed(settings, given)
        for stage in self.stages:
            check_typed(given, stage.config)
        asked = resolve(self.top, wanted, self.stages[:-1])
        plain = asked.changed(augmentation=Guide.augmentation)  # nothing is enlarged in the first one
        plan = make_plan(self.stages[0], plain)
        for number, stage in enumerate(self.stages[1:], start=1):
            plan = make_plan(stage, asked, LowerStage(plan), below=self.stages[:number])
        return plan


AnyModel = Model | Cascade


def check_top(config: TrainConfig) -> None:
    """Check that the last stage of a cascade walks as it is asked, for its settings are those of all stages."""
    if student := walking_student(config):
        raise UndiffuseError(
            f"The last stage of a cascade says how the others walk, and this one was distilled by {student.CALLED} for "
            f"a walk of its own: put its teacher there, {student.first_teacher}"
        )


def stages_of(model: Model | Cascade) -> tuple[Model, ...]:
    """The models that make an image, that of the smallest images first."""
    return model.stages if isinstance(model, Cascade) else (model,)


def check_alone(model: Model | Cascade, what: str) -> Model:
    """The model, unless it is a stage of a cascade or a cascade, where noise alone is to become images.

    Args:
        what: is done with it, such as "a likelihood".

    Raises:
        UndiffuseError: it is one.
    """
    if isinstance(model, Cascade) or model.config.conditions.upscale > 1:
        raise UndiffuseError(
            f"{what[:1].upper()}{what[1:]} is of a model that makes images of noise alone, and this one enlarges small "
            "images, as a stage of a cascade: name the first model of the cascade, or another one"
        )
    return model


def check_denoiser(model: Model | Cascade, what: str) -> Model:
    """The model, if noise alone becomes images by it, and its x0 is E[x0 | x_t].

    Args:
        what: is done with it, as of `check_alone`.

    Raises:
        UndiffuseError: it is a stage, a cascade or a student.
    """
    model = check_alone(model, what)
    check_denoises(model.config, what)
    return model
