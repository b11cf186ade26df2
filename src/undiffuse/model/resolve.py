"""From what settings say to what they mean for one model: every name looked up, every file opened, once.

After `resolve` the settings say all by themselves: other networks and pictures are pinned by their contents, learned
timesteps are written out, the number format and the micro-batch are decided. To resolve them again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from undiffuse.checkpoints.learned_timesteps import LearnedTimesteps
from undiffuse.conditioning.class_names import class_names
from undiffuse.conditioning.request import CLASS, IMAGE, VECTOR, Guides
from undiffuse.config.diffusion import PROCESS
from undiffuse.config.sampling import SampleConfig
from undiffuse.data.codec import codec_of
from undiffuse.data.read_image import read_pairs
from undiffuse.errors import UndiffuseError
from undiffuse.model import sample_request
from undiffuse.model.micro_batch import micro_batch
from undiffuse.model.noise_classifier import TrainedClassifier
from undiffuse.provenance.pinned_path import path_of, pinned
from undiffuse.runtime.precision import settled
from undiffuse.runtime.torch_modes import own_modes

if TYPE_CHECKING:
    from undiffuse.model.model import Model


def micro_batch_of(stages: Sequence[Model]) -> int:
    """Samples per evaluation where settings do not say: what fits the largest network."""
    most = max(model.config.network.activations(model.shape[1:]) for model in stages)
    return micro_batch(most, stages[-1].device.type)


@own_modes()
def resolve(model: Model, settings: SampleConfig, below: Sequence[Model] = ()) -> SampleConfig:
    """The settings in full; those without effect are warned of.

    Args:
        below: the models that a stage stands upon.

    Raises:
        UndiffuseError: there are no such timesteps or networks, the networks do not fit, or a number is senseless.
    """
    stages = (*below, model)
    sample_request.check_bounds(settings)
    sample_request.warn(sample_request.remarks(settings, enlarges(stages)))
    settings = sample_request.with_weights(settings, model.loaded_as, model.provenance.get("weights"))
    guide, solver, compute = settings.guide, settings.solver, settings.compute
    if guide.weak:
        settings = settings.changed(weak=pinned(guide.weak, weak_of(model, guide.weak).provenance["sha256"]))
    if guide.classifier:
        settings = settings.changed(classifier=pinned(guide.classifier, classifier_of(model, guide.classifier).sha256))
    settings = settings.changed(classes=class_names(settings.prompt.classes, _class_names(stages, guide.classifier)))
    if settings.prompt.image:
        settings = settings.changed(image=_with_pictures(model, settings.prompt.image))
    times = _learned_times(model, solver.steps) if solver.spacing == "learned" and not solver.times else solver.times
    settings = sample_request.with_threshold(settings, model.codec.bounded)
    return settings.changed(
        times=times,
        steps=len(times) or solver.steps,
        precision=settled(compute.precision, model.device),
        micro_batch=micro_batch_of(stages) if compute.micro_batch is None else compute.micro_batch,
    )


def enlarges(stages: Sequence[Model]) -> bool:
    """Whether any of the models is told small images."""
    return any(model.config.conditions.upscale > 1 for model in stages)


def guides_of(model: Model, settings: SampleConfig) -> Guides:
    """The other networks that resolved settings name."""
    guide = settings.guide
    weak = weak_of(model, guide.weak) if guide.weak else None
    classifier = classifier_of(model, guide.classifier) if guide.classifier else None
    return Guides(
        weak=weak.evaluated(settings.compute) if weak else None,
        weak_conditions=weak.conditions if weak else (),
        classifier=classifier,
        classifier_classes=classifier.info.classes if classifier else (),
    )


def weak_of(model: Model, name: str) -> Model:
    """The worse model that guidance leads away from, on the model's device.

    Raises:
        UndiffuseError: it is of another process, shape or scale.
    """
    path = path_of(name)
    weak = model.resources.model(path).to(model.device)
    same = all(getattr(model.config.diffusion, name) == getattr(weak.config.diffusion, name) for name in PROCESS)
    if not same or weak.info.shape != model.info.shape:
        raise UndiffuseError(f"`weak` must name a model of the same process and shape as this one, {path} is not")
    scales = [(info.numbers, info.pair and codec_of(info.pair)) for info in (model.info, weak.info)]
    if {VECTOR, IMAGE} & {condition.name for condition in weak.conditions} and scales[0] != scales[1]:
        raise UndiffuseError(f"`weak={path}` is told numbers or pictures on other scales than this model")
    return weak


def classifier_of(model: Model, name: str) -> TrainedClassifier:
    """The classifier of noisy images that leads, on the model's device.

    Raises:
        UndiffuseError: it is of another process or shape.
    """
    classifier = model.resources.classifier(path_of(name))
    classifier.check_fits(model.config.diffusion, model.info)
    classifier.network.to(model.device)
    return classifier


def _class_names(stages: Sequence[Model], classifier: str) -> tuple[str, ...]:
    """The classes that can be asked for, of the model itself, of one below it, or of a classifier."""
    if classifier:
        return classifier_of(stages[-1], classifier).info.classes
    knowing = [model for model in stages if any(condition.name == CLASS for condition in model.conditions)]
    return knowing[-1].info.classes if knowing else ()


def _with_pictures(model: Model, image: str) -> str:
    """The name of pictures, pinned when they were read; as it is where the model is told none."""
    pictures = model.resources.pictures
    if image in pictures or IMAGE not in {condition.name for condition in model.conditions}:
        return image
    rows, digest = read_pairs(path_of(image), model.info.pair, model.config.data)
    name = pinned(image, digest)
    pictures[name] = rows
    return name


def _learned_times(model: Model, steps: int) -> tuple[float, ...]:
    home, name = model.home, model.provenance["checkpoint"]
    name = str(home if home != Path() else name)  # one file's, whose folder is the working directory
    return LearnedTimesteps.read(home, steps, model.provenance["sha256"], name).times
