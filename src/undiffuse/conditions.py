"""What a model is told, between the user's words and the network's tensors.

Sample i of a seed gets the i-th of the classes that were asked for, over and over, so that it is the same however many
are drawn, and all are drawn equally often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.config import SampleConfig, TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.denoiser import Denoiser
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.guidance import Autoguided, ClassifierFree, ClassifierGuided, Given, Strength
from undiffuse.guidance.classifier import NoisyClassifier
from undiffuse.networks.conditions import Condition

CLASS = "label"
"""The name of the argument that carries the class."""
ALL, NONE = "all", "none"
"""In place of a class: each of them by turns; no class at all."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""Words for classes that are called by a digit."""


def conditions_of(config: TrainConfig, info: DataInfo) -> tuple[Condition, ...]:
    """What the network of these settings and data is told.

    Raises:
        UndiffuseError: a class is wanted and the data have none.
    """
    if "class" not in config.conditions.condition:
        return ()
    if not info.classes:
        raise UndiffuseError(
            f"--condition class needs classes, and '{info.name}' has none: put the images into a folder for each "
            "class, or write a metadata.csv with the columns file_name and class"
        )
    return (Condition(CLASS, "class", len(info.classes)),)


def class_number(word: str, classes: Sequence[str]) -> int:
    """The label of a class by its name, or by the word for its digit; `NONE` is the null class.

    Raises:
        UndiffuseError: no such class, with the nearest name.
    """
    if word == NONE:
        return len(classes)
    if word not in classes and word in DIGITS:
        word = str(DIGITS.index(word))
    if word not in classes:
        raise UndiffuseError(f"There is no class '{word}'{perhaps(word, classes)}")
    return classes.index(word)


def class_numbers(words: Sequence[str], classes: Sequence[str]) -> tuple[int, ...]:
    """The labels that samples get by turns; without words, all of them."""
    found: list[int] = []
    for word in words or (ALL,):
        found += range(len(classes)) if word == ALL else [class_number(word, classes)]
    return tuple(found)


@dataclass(frozen=True)
class Guides:
    """Other networks that lead a model's samples.

    Args:
        weak: a worse model to lead away from.
        weak_told: what that one can be told.
        classifier: of noisy images.
        classifier_classes: the names of what it tells apart.
    """

    weak: Denoiser | None = None
    weak_told: tuple[Condition, ...] = ()
    classifier: NoisyClassifier | None = None
    classifier_classes: tuple[str, ...] = ()


NO_GUIDES = Guides()


@dataclass(frozen=True)
class Wish:
    """What samples are to be, in a model's terms.

    Args:
        told: what the model can be told.
        classes: labels, for sample i the i-th of them, over and over; empty where nothing is asked for.
        avoid: the label that guidance leads away from.
        strength: of that guidance.
        guides: who leads, if not the model itself.
    """

    told: tuple[Condition, ...]
    classes: tuple[int, ...]
    avoid: int
    strength: Strength
    guides: Guides = NO_GUIDES

    def denoiser(self, denoiser: Denoiser, members: Sequence[int]) -> Denoiser:
        """The denoiser for a batch of these numbers of samples."""
        wanted, guides = self._labels(members), self.guides
        if guides.weak is not None:
            weak = given(guides.weak, guides.weak_told, wanted)
            return Autoguided(given(denoiser, self.told, wanted), weak, self.strength)
        if guides.classifier is not None:
            strong = given(denoiser, self.told, wanted)
            return ClassifierGuided(strong, guides.classifier, wanted[CLASS], float(self.strength.scale))
        if not self.told or self.strength.scale == 1:
            return given(denoiser, self.told, wanted)
        without = {CLASS: torch.full((len(members),), self.avoid)}
        return ClassifierFree(denoiser, wanted, without, self.strength)

    def _labels(self, members: Sequence[int]) -> dict[str, Tensor]:
        if not self.classes:
            return {}
        return {CLASS: torch.tensor([self.classes[i % len(self.classes)] for i in members])}


def given(denoiser: Denoiser, told: tuple[Condition, ...], values: Mapping[str, Tensor]) -> Denoiser:
    """The denoiser, told those of the values that it can be told."""
    known = {condition.name: values[condition.name] for condition in told if condition.name in values}
    return Given(denoiser, known) if known else denoiser


def wish(settings: SampleConfig, told: tuple[Condition, ...], info: DataInfo, guides: Guides = NO_GUIDES) -> Wish:
    """The user's words as numbers.

    Raises:
        UndiffuseError: a class of an unconditional model, an unknown one, or guidance that cannot be.
    """
    strength = Strength(settings.guidance, settings.guidance_rescale, *_interval(settings.guidance_interval))
    classes = info.classes if told else guides.classifier_classes
    _check_guides(settings, told, info, guides)
    if not classes:
        if settings.classes or settings.avoid or (settings.guidance != 1 and guides.weak is None):
            raise UndiffuseError(
                "This model was trained without classes, so there is none to ask for and nothing to guide by; train "
                "one with --condition class, or a classifier for this one with undiffuse train-classifier"
            )
        return Wish(told, (), 0, strength, guides)
    avoid = class_number(settings.avoid, classes) if settings.avoid else len(classes)
    return Wish(told, class_numbers(settings.classes, classes), avoid, strength, guides)


def _check_guides(settings: SampleConfig, told: tuple[Condition, ...], info: DataInfo, guides: Guides) -> None:
    """Refuse what a guide cannot do."""
    if guides.weak is None and guides.classifier is None:
        return
    if guides.weak is not None and guides.classifier is not None:
        raise UndiffuseError("Guidance follows one: --weak or --classifier, not both")
    if settings.avoid:
        raise UndiffuseError("--avoid is for guidance without --weak and --classifier: those say themselves where from")
    if guides.weak is not None:
        if settings.guidance == 1:
            raise UndiffuseError("--weak leads nowhere at --guidance 1; try --guidance 2")
        if guides.weak_told and not told:
            raise UndiffuseError("The --weak model wants to be told classes, and this one knows none")
        return
    if settings.guidance_rescale or settings.guidance_interval:
        raise UndiffuseError("--guidance-rescale and --guidance-interval are not for guidance by a --classifier")
    if told and info.classes != guides.classifier_classes:
        raise UndiffuseError("The --classifier tells other classes apart than the model was trained on")
    if NONE in settings.classes:
        raise UndiffuseError(f"A --classifier leads to a class, so there is no --class {NONE}")


def _interval(levels: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    if not levels:
        return ()
    if len(levels) != 2:
        raise UndiffuseError(f"--guidance-interval takes two noise levels sigma/alpha, low and high, not {len(levels)}")
    return ((levels[0], levels[1]),)


def dropped(
    told: tuple[Condition, ...], values: Mapping[str, Tensor], share: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """The conditions of a whole batch, each null with probability ``share``; all of a sample's go together."""
    if not values:
        return {}
    batch = len(next(iter(values.values())))
    drop = torch.rand(batch, generator=generator) < share
    return {condition.name: condition.dropped(values[condition.name], drop) for condition in told}
