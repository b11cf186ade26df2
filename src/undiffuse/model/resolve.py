"""From what settings say to what is walked: every name looked up, every file opened, once.

After `resolve` the settings say all by themselves: other networks and pictures are pinned by their contents, learned
timesteps are written out, the number format and the micro-batch are decided. To resolve them again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from undiffuse.checkpoints.learned_timesteps import LearnedTimesteps
from undiffuse.conditioning.class_names import class_names
from undiffuse.conditioning.low_resolution import LowResSource
from undiffuse.conditioning.request import CLASS, Guides, check_null, for_stage, resolve_conditions, told_examples
from undiffuse.config.distillation import student_of
from undiffuse.config.sampling import Prompt, SampleConfig
from undiffuse.diffusion.timesteps import given_timesteps, make_timesteps
from undiffuse.factories.sampler import make_sampler
from undiffuse.model.micro_batch import micro_batch_of
from undiffuse.model.plan import SamplePlan
from undiffuse.model.sample_request import checked
from undiffuse.model.student_request import as_made_for
from undiffuse.runtime.precision import settled
from undiffuse.runtime.torch_modes import own_modes

if TYPE_CHECKING:
    from undiffuse.model.model import Model


@own_modes()
def make_plan(
    model: Model,
    settings: SampleConfig,
    low_res: LowResSource | None = None,
    examples: Mapping[str, Tensor] | None = None,
    below: Sequence[Model] = (),
) -> SamplePlan:
    """The plan of a model for settings.

    Args:
        low_res: of a stage: where its small images come from.
        examples: rows that samples are told by turns where the settings ask for nothing.
        below: the models that a stage stands upon.

    Raises:
        UndiffuseError: as for `resolve`, the settings ask for what the model is not told, or it is a stage with nothing
            below it.
    """
    settings, guides = _look_up(model, settings, below)
    known, solver = model.conditions, settings.solver
    prompt, guide = for_stage(settings.prompt, settings.guide, known, model.config.conditions, low_res)
    if examples and prompt == Prompt():
        request = told_examples(examples, guide, known, guides)
    else:
        read, look = model.resources.text, model.resources.pictures.__getitem__
        request = resolve_conditions(prompt, guide, known, model.info, guides, read, look)
    check_null(request, model.config.conditions.condition_dropout)
    schedule = model.schedule
    times = (
        given_timesteps(schedule, solver.times)
        if solver.times
        else make_timesteps(schedule, solver.steps, solver.spacing)
    )
    return SamplePlan(model, settings, request, make_sampler(solver), times, low_res)


@own_modes()
def resolve(model: Model, settings: SampleConfig, below: Sequence[Model] = ()) -> SampleConfig:
    """The settings in full; those without effect are warned of.

    Args:
        below: the models that a stage stands upon.

    Raises:
        UndiffuseError: there are no such timesteps or networks, the networks do not fit, or a number is senseless.
    """
    return _look_up(model, settings, below)[0]


def _look_up(model: Model, settings: SampleConfig, below: Sequence[Model]) -> tuple[SampleConfig, Guides]:
    stages = (*below, model)
    settings = as_made_for(settings, student_of(model.config.distillation), model.codec.bounded)
    settings = checked(settings, enlarges(stages), model.loaded_as, model.provenance, model.codec.bounded)
    solver, compute, times = settings.solver, settings.compute, settings.solver.times
    if solver.spacing == "learned" and not times:
        home, name = model.home, model.provenance["checkpoint"]
        name = str(home if home != Path() else name)  # one file's, whose folder is the working directory
        times = LearnedTimesteps.read(home, solver.steps, model.provenance["sha256"], name).times
    settings = settings.changed(
        times=times,
        steps=len(times) or solver.steps,
        precision=settled(compute.precision, model.device),
        micro_batch=micro_batch_of(stages) if compute.micro_batch is None else compute.micro_batch,
    )
    settings, guides = model.resources.open_named(settings, model)
    knowing = [stage for stage in stages if any(condition.name == CLASS for condition in stage.conditions)]
    classes = guides.classifier_classes or (knowing[-1].info.classes if knowing else ())
    return settings.changed(classes=class_names(settings.prompt.classes, classes)), guides


def enlarges(stages: Sequence[Model]) -> bool:
    """Whether any of the models is a stage of a cascade."""
    return any(model.config.conditions.upscale > 1 for model in stages)
