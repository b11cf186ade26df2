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
from undiffuse.guidance import ClassifierFree, Given, Strength
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
class Wish:
    """What samples are to be, in a model's terms.

    Args:
        classes: labels, for sample i the i-th of them, over and over; empty for an unconditional model.
        avoid: the label that guidance leads away from.
        strength: of that guidance.
    """

    classes: tuple[int, ...]
    avoid: int
    strength: Strength

    def denoiser(self, denoiser: Denoiser, members: Sequence[int]) -> Denoiser:
        """The denoiser for a batch of these numbers of samples."""
        if not self.classes:
            return denoiser
        wanted = {CLASS: torch.tensor([self.classes[i % len(self.classes)] for i in members])}
        if self.strength.scale == 1:
            return Given(denoiser, wanted)
        return ClassifierFree(denoiser, wanted, {CLASS: torch.full((len(members),), self.avoid)}, self.strength)


def wish(settings: SampleConfig, told: tuple[Condition, ...], info: DataInfo) -> Wish:
    """The user's words as numbers.

    Raises:
        UndiffuseError: a class of an unconditional model, an unknown one, or guidance that cannot be.
    """
    strength = Strength(settings.guidance, settings.guidance_rescale, *_interval(settings.guidance_interval))
    if not told:
        if settings.classes or settings.avoid or settings.guidance != 1:
            raise UndiffuseError(
                "This model was trained without classes, so there is none to ask for and nothing to guide by; train "
                "one with --condition class"
            )
        return Wish((), 0, strength)
    avoid = class_number(settings.avoid, info.classes) if settings.avoid else len(info.classes)
    return Wish(class_numbers(settings.classes, info.classes), avoid, strength)


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
