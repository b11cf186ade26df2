"""A model's conditions, between the user's words and the network's tensors.

Sample i of a seed gets the i-th of the classes that were asked for, over and over, so that it is the same however many
are drawn, and all are drawn equally often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from undiffuse.conditioning.class_names import ALL, NONE, class_number, class_numbers
from undiffuse.conditioning.low_resolution import LowResSource, stage_conditions
from undiffuse.conditioning.student import student_conditions
from undiffuse.conditioning.text.encoder import SIZE, load_encoder
from undiffuse.config import registry
from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.distillation import student_of
from undiffuse.config.sampling import Guide, Prompt
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.distillation.teacher import SCALE
from undiffuse.diffusion.guidance import (
    Autoguided,
    ClassifierFree,
    ClassifierGuided,
    Conditioned,
    Guidance,
    GuidanceRule,
)
from undiffuse.diffusion.guidance.classifier import NoisyClassifier
from undiffuse.errors import UndiffuseError
from undiffuse.networks.conditions import Condition

CLASS, TEXT, VECTOR, IMAGE = "label", "text", "vector", "image"
"""Arguments that carry the class, the vectors of a text's pieces, standardized numbers, and a picture to go with."""
RULE = "guidance rule"
"""The kind of registered pieces, see `config.registry`."""


def conditions_of(config: TrainConfig, info: DataInfo) -> tuple[Condition, ...]:
    """The conditions of the network of these settings and data.

    Raises:
        UndiffuseError: a class, a text, numbers or pictures are wanted and the data have none.
    """
    found = []
    if "class" in config.conditions.condition:
        if not info.classes:
            start = config.start.start_from
            fine_tuned = start and not student_of(config.distillation)
            beside = f"; `prior=200` learns them as one class beside what {start} draws" if fine_tuned else ""
            raise UndiffuseError(
                f"`condition=class` needs classes, and '{info.name}' has none: {info.to_have_classes}{beside}"
            )
        found.append(Condition(CLASS, "class", len(info.classes)))
    if "text" in config.conditions.condition:
        if not info.texts:
            raise UndiffuseError(
                f"`condition=text` needs texts, and '{info.name}' has none: write a metadata.csv (or .jsonl) with the "
                "columns file_name and text beside the images"
            )
        found.append(Condition(TEXT, "tokens", SIZE))
    if "vector" in config.conditions.condition:
        if not info.vectors:
            raise UndiffuseError(
                "`condition=vector` needs to know which numbers: `vectors=angle,width` names columns of the metadata, "
                "or arrays of an .npz file"
            )
        if not info.numbers.whole:
            raise UndiffuseError(
                "Each of the numbers that a model is told needs a name, a mean and a standard deviation"
            )
        found.append(Condition(VECTOR, "vector", len(info.numbers)))
    if "image" in config.conditions.condition:
        if info.pair is None or info.pair.channels < 1:
            raise UndiffuseError(
                "`condition=image` needs a picture to go with each image: `pairs=FOLDER` names a folder of pictures of "
                "the same names"
            )
        found.append(Condition(IMAGE, "image", info.pair.channels))
    return (*found, *stage_conditions(config.conditions, info), *student_conditions(config.distillation))


@dataclass(frozen=True)
class Guides:
    """Other networks that guide a model's samples: a worse model to lead away from, or a classifier of noisy images."""

    weak: Denoiser | None = None
    weak_conditions: tuple[Condition, ...] = ()
    classifier: NoisyClassifier | None = None
    classifier_classes: tuple[str, ...] = ()


NO_GUIDES = Guides()


@dataclass(frozen=True)
class GuidedRequest:
    """A request for samples, in a model's terms.

    Args:
        conditions: the model's own.
        rows: by name; sample i is told the i-th row, over and over.
        negative: one row of each, which guidance leads away from; null where it is nothing.
        guidance: how far.
        guides: who leads, if not the model itself.
    """

    conditions: tuple[Condition, ...]
    rows: Mapping[str, Tensor]
    negative: Mapping[str, Tensor]
    guidance: GuidanceRule
    guides: Guides = NO_GUIDES

    def denoiser(self, denoiser: Denoiser, indices: Sequence[int]) -> Denoiser:
        """The denoiser for a batch of the samples of these numbers."""
        rows, guides = {name: rows[[i % len(rows) for i in indices]] for name, rows in self.rows.items()}, self.guides
        if guides.weak is not None:
            weak = conditioned(guides.weak, guides.weak_conditions, rows)
            return Autoguided(conditioned(denoiser, self.conditions, rows), weak, self.guidance)
        if guides.classifier is not None:
            strong = conditioned(denoiser, self.conditions, rows)
            return ClassifierGuided(strong, guides.classifier, rows[CLASS], float(self.guidance.scale))
        if not rows or self.guidance.scale == 1:
            return conditioned(denoiser, self.conditions, rows)
        negative = {name: row.expand(len(indices), *row.shape[1:]) for name, row in self.negative.items()}
        return ClassifierFree(denoiser, rows, negative, self.guidance)


def check_null(request: GuidedRequest, dropout: float) -> None:
    """Check that nothing needs the null class of a network that never saw it: without dropout its row is what chance
    left there."""
    size = next((condition.size for condition in request.conditions if condition.name == CLASS), None)
    if dropout > 0 or size is None:
        return
    if (request.rows[CLASS] == size).any():
        raise UndiffuseError(
            "This model never learned to draw without a class, so there is no `classes=none`: name one of its classes"
        )
    led = request.guidance.scale != 1 and request.guides == NO_GUIDES
    if led and (request.negative[CLASS] == size).any():
        raise UndiffuseError(
            "This model never learned to draw without a class, so guidance has nothing to lead away from: leave out "
            "`guidance`, or name a class with `avoid`, a worse model with `weak` or a `classifier`"
        )


def conditioned(denoiser: Denoiser, conditions: tuple[Condition, ...], values: Mapping[str, Tensor]) -> Denoiser:
    """The denoiser, told the values that it can be told."""
    known = {condition.name: values[condition.name] for condition in conditions if condition.name in values}
    return Conditioned(denoiser, known) if known else denoiser


def read_text(text: str) -> Tensor:
    """The vectors of a text's pieces, rounded as those were that the network learned from."""
    return load_encoder().tokens(text).half().float()


def resolve_conditions(
    prompt: Prompt,
    guide: Guide,
    conditions: tuple[Condition, ...],
    info: DataInfo,
    guides: Guides = NO_GUIDES,
    read: Callable[[str], Tensor] = read_text,
    look: Callable[[str], Tensor] | None = None,
) -> GuidedRequest:
    """The user's words as numbers.

    Args:
        conditions: the model's.
        read: a text to the vectors of its pieces.
        look: a path to the pictures there, one a row; needed where the prompt names an image.

    Raises:
        UndiffuseError: a class of a model without classes, an unknown one, a text of a model without texts, or guidance
            that cannot be.
    """
    names = [condition.name for condition in conditions]
    guide, scale = _told_scale(guide, conditions)
    _check_guides(guide, conditions, info, guides)
    classes = info.classes if CLASS in names else guides.classifier_classes
    if prompt.text and TEXT not in names:
        raise UndiffuseError(
            "This model was trained without texts, so it cannot be asked by one; train one with `condition=text`"
        )
    if not classes:
        _check_without_classes(prompt, guide, names, guides)
    rows, negative = dict[str, Tensor](), dict[str, Tensor]()
    if classes:
        asked = prompt.classes or ((NONE,) if prompt.beyond_classes and not guides.classifier_classes else (ALL,))
        rows[CLASS] = torch.tensor(class_numbers(asked, classes))
        if guides.classifier is not None and (rows[CLASS] == len(classes)).any():
            raise UndiffuseError("A `classifier` leads to a class, so there is no `classes=none`")
        negative[CLASS] = torch.tensor([class_number(guide.avoid or NONE, classes)])
    if prompt.vector:
        rows[VECTOR] = standardized(prompt.vector, names, info)[None]
    if prompt.image:
        if IMAGE not in names:
            raise UndiffuseError(
                "This model was trained without pairs, so it cannot go by a picture; train one with `condition=image`"
            )
        assert look is not None
        rows[IMAGE] = look(prompt.image)
    if prompt.text:
        texts = [read(text) for text in (prompt.text, *([guide.avoid] if guide.avoid and not classes else []))]
        filled = pad_sequence(texts, batch_first=True, padding_value=torch.nan)
        rows[TEXT] = filled[:1]
        negative |= {TEXT: filled[1:]} if len(filled) > 1 else {}
    rows |= scale
    negative = null_conditions(conditions, rows) | negative
    return GuidedRequest(conditions, rows, negative, _guidance(guide), guides)


def for_stage(
    prompt: Prompt, guide: Guide, known: Sequence[Condition], config: ConditionConfig, source: LowResSource | None
) -> tuple[Prompt, Guide]:
    """The prompt and the guide of a stage, without what its source is asked and the stage does not know.

    Args:
        known: the stage's own conditions.
        config: of the stage; of a model that is none, prompt and guide stay as they are.

    Raises:
        UndiffuseError: a stage has no source, guidance is of a kind that cascades do not have, or the augmentation is
            beyond what the stage learned.
    """
    if config.upscale == 1:
        return prompt, guide
    if source is None:
        raise UndiffuseError(
            "This model enlarges small images and draws none by itself: give it pictures with undiffuse edit upscale, "
            "or set it upon a model of small ones with undiffuse cascade make"
        )
    if guide.weak or guide.classifier:
        raise UndiffuseError("A cascade is guided by its own conditions: leave out `weak` and `classifier`")
    if not 0 <= guide.augmentation <= config.augmentation:
        raise UndiffuseError(
            f"This stage learned small images with augmentation from 0 to {config.augmentation:g}, "
            f"so `augmentation` lies there; it is {guide.augmentation:g}"
        )
    if not source.conditions or {condition.name for condition in known} & source.conditions:
        return prompt, guide
    return Prompt(), Guide()


def told_examples(
    examples: Mapping[str, Tensor], guide: Guide, conditions: tuple[Condition, ...], guides: Guides = NO_GUIDES
) -> GuidedRequest:
    """The request for samples that are told these rows by turns."""
    guide, scale = _told_scale(guide, conditions)
    rows = {**examples, **scale}
    return GuidedRequest(conditions, rows, null_conditions(conditions, rows), _guidance(guide), guides)


def _told_scale(guide: Guide, conditions: tuple[Condition, ...]) -> tuple[Guide, dict[str, Tensor]]:
    """The guidance that is left, and the row of a student that is told its scale: it leads by itself."""
    if all(condition.name != SCALE for condition in conditions):
        return guide, {}
    return replace(guide, guidance=1.0), {SCALE: torch.tensor([guide.guidance], dtype=torch.float64)}


def null_conditions(conditions: tuple[Condition, ...], rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One row of each of these conditions that says nothing."""
    everything = torch.ones(1, dtype=torch.bool)
    return {c.name: c.dropped(rows[c.name][:1], everything) for c in conditions if c.name in rows}


FARTHEST = 1000.0
"""Standard deviations from the mean up to which a number may be asked for."""


def standardized(vector: Sequence[float], names: Sequence[str], info: DataInfo) -> Tensor:
    """The user's numbers as the network is told them, (size,): less the data's mean, divided by their spread."""
    if VECTOR not in names:
        raise UndiffuseError(
            "This model was trained without numbers, so it cannot be asked by them; train one with `condition=vector`"
        )
    if len(vector) != len(info.vectors):
        some = "one number" if len(info.vectors) == 1 else f"{len(info.vectors)} numbers"
        raise UndiffuseError(f"`vector` takes {some}, {','.join(info.vectors)}; it got {len(vector)}")
    found = torch.from_numpy(info.numbers(np.array([vector])))[0]
    if not (near := found.abs() <= FARTHEST).all():
        k = int((~near).nonzero()[0])
        raise UndiffuseError(
            f"`vector` asks for {info.vectors[k]} = {vector[k]:g}, and the data had {info.numbers.mean[k]:g} +- "
            f"{info.numbers.std[k]:g}: nobody learned anything so far away"
        )
    return found


def _check_without_classes(prompt: Prompt, guide: Guide, names: Sequence[str], guides: Guides) -> None:
    """Check that nothing needs classes of a model that has none."""
    led = guide.guidance != 1 and guides.weak is None
    able = TEXT in names or ({VECTOR, IMAGE} & set(names) and not guide.avoid)
    asked = set(prompt.classes) - {NONE, NONE[1:]}  # no class is what there is
    if asked or ((guide.avoid or led) and not able):
        raise UndiffuseError(
            "This model was trained without classes, so there is none to ask for and nothing to guide by; train "
            "one with `condition=class`, or a classifier for this one with undiffuse train-classifier"
        )
    if (guide.avoid or led) and not prompt.beyond_classes:
        raise UndiffuseError("Guidance of this model needs a `text`, a `vector` or an `image` to lead to")


def _check_guides(guide: Guide, conditions: tuple[Condition, ...], info: DataInfo, guides: Guides) -> None:
    if guides.weak is None and guides.classifier is None:
        return
    if guides.weak is not None and guides.classifier is not None:
        raise UndiffuseError("Guidance follows one: `weak` or `classifier`, not both")
    if guide.avoid:
        raise UndiffuseError("`avoid` is for guidance without `weak` and `classifier`: those say themselves where from")
    if guides.weak is not None:
        if guide.guidance == 1:
            raise UndiffuseError("`weak` leads nowhere at `guidance=1`; try `guidance=2`")
        if not set(guides.weak_conditions) <= set(conditions):
            raise UndiffuseError("The `weak` model wants to be told what this one does not know")
        return
    if guide.guidance_rescale or guide.guidance_interval or guide.guidance_rule:
        raise UndiffuseError(
            "`guidance_rescale`, `guidance_interval` and `guidance_rule` are not for guidance by a `classifier`"
        )
    if any(condition.name == CLASS for condition in conditions) and info.classes != guides.classifier_classes:
        raise UndiffuseError("The `classifier` tells other classes apart than the model was trained on")


def register_guidance(name: str, make: Callable[..., GuidanceRule], note: str = "") -> None:
    """Make a rule of guidance known to ``--guidance-rule``, to files and to Python's ``guidance_rule=``.

    Args:
        make: the rule, of its options; one that is called ``scale`` is the `guidance` of the settings.
        note: when to use it.

    Raises:
        UndiffuseError: as for `registry.register`.
    """
    registry.register(RULE, name, make, note)


def guidance_settings(rule: Any) -> dict[str, Any]:
    """The settings that stand for a rule of guidance which a program gives: `Guidance` by its own, others by a text.

    Raises:
        UndiffuseError: it is no rule, or its scale is not one number.
    """
    if isinstance(rule, type) or not isinstance(rule, GuidanceRule):
        raise UndiffuseError(
            "`guidance` is a number, an `undiffuse.diffusion.Guidance`, or an object with `scale`, "
            f"`active(schedule, t)` and `mix(strong, weak, x_t, t, schedule)`; got a {type(rule).__name__}"
        )
    if not isinstance(rule.scale, int | float):
        raise UndiffuseError(f"The `scale` of `guidance` is one number, got a {type(rule.scale).__name__}")
    if type(rule) is Guidance:
        whole = rule.interval == Guidance.interval
        interval = () if whole else rule.interval
        return {"guidance": float(rule.scale), "guidance_rescale": rule.rescale, "guidance_interval": interval}
    return {"guidance": float(rule.scale), "guidance_rule": registry.keep(RULE, rule)}


def _guidance(guide: Guide) -> GuidanceRule:
    levels = guide.guidance_interval
    if guide.guidance_rule:
        return _registered_rule(guide)
    if not levels:
        return Guidance(guide.guidance, guide.guidance_rescale)
    if len(levels) != 2:
        raise UndiffuseError(f"`guidance_interval` takes two noise levels sigma/alpha, low and high, not {len(levels)}")
    return Guidance(guide.guidance, guide.guidance_rescale, (levels[0], levels[1]))


def _registered_rule(guide: Guide) -> GuidanceRule:
    if guide.guidance_rescale or guide.guidance_interval:
        raise UndiffuseError(
            f"`guidance_rescale` and `guidance_interval` are of the straight line: leave them out with "
            f"`guidance_rule={guide.guidance_rule}`"
        )
    found = registry.make(RULE, guide.guidance_rule, scale=guide.guidance)
    if not isinstance(found, GuidanceRule):
        raise UndiffuseError(
            f"`guidance_rule={guide.guidance_rule}` should have `scale`, `active(schedule, t)` and "
            f"`mix(strong, weak, x_t, t, schedule)`, and a {type(found).__name__} lacks one of them"
        )
    return found


def dropped(
    conditions: tuple[Condition, ...], values: Mapping[str, Tensor], share: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """The conditions of a whole batch but for required ones, each null with probability ``share``; all of a sample's go
    together."""
    if not values:
        return {}
    batch = len(next(iter(values.values())))
    drop = torch.rand(batch, generator=generator) < share
    return {c.name: c.dropped(values[c.name], drop) for c in conditions if c.name in values and not c.required}
