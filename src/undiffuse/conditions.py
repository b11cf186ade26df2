"""What a model is told, between the user's words and the network's tensors.

Sample i of a seed gets the i-th of the classes that were asked for, over and over, so that it is the same however many
are drawn, and all are drawn equally often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from undiffuse.config import SampleConfig, TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.denoiser import Denoiser
from undiffuse.enlarging import stage_conditions
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.guidance import Autoguided, ClassifierFree, ClassifierGuided, Given, Strength
from undiffuse.guidance.classifier import NoisyClassifier
from undiffuse.networks.conditions import Condition
from undiffuse.text.encoder import SIZE, load_encoder

CLASS = "label"
"""The name of the argument that carries the class."""
TEXT = "text"
"""The name of the argument that carries the vectors of a text's pieces."""
ALL, NONE = "all", "none"
"""In place of a class: each of them by turns; no class at all."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""Words for classes that are called by a digit."""


def conditions_of(config: TrainConfig, info: DataInfo) -> tuple[Condition, ...]:
    """What the network of these settings and data is told.

    Raises:
        UndiffuseError: a class or a text is wanted and the data have none.
    """
    found = []
    if "class" in config.conditions.condition:
        if not info.classes:
            raise UndiffuseError(
                f"--condition class needs classes, and '{info.name}' has none: put the images into a folder for each "
                "class, or write a metadata.csv with the columns file_name and class"
            )
        found.append(Condition(CLASS, "class", len(info.classes)))
    if "text" in config.conditions.condition:
        if not info.texts:
            raise UndiffuseError(
                f"--condition text needs texts, and '{info.name}' has none: write a metadata.csv (or .jsonl) with the "
                "columns file_name and text beside the images"
            )
        found.append(Condition(TEXT, "tokens", SIZE))
    return (*found, *stage_conditions(config.conditions, info))


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
        classes: labels, for sample i the i-th of them, over and over; empty where none is asked for.
        avoid: the label that guidance leads away from.
        strength: of that guidance.
        guides: who leads, if not the model itself.
        text: (length, size), of all samples; None where none is asked for.
        avoid_text: of the same shape, what guidance leads away from; NaN for nothing.
    """

    told: tuple[Condition, ...]
    classes: tuple[int, ...]
    avoid: int
    strength: Strength
    guides: Guides = NO_GUIDES
    text: Tensor | None = None
    avoid_text: Tensor | None = None

    def denoiser(self, denoiser: Denoiser, members: Sequence[int]) -> Denoiser:
        """The denoiser for a batch of these numbers of samples."""
        wanted, guides = self._wanted(members), self.guides
        if guides.weak is not None:
            weak = given(guides.weak, guides.weak_told, wanted)
            return Autoguided(given(denoiser, self.told, wanted), weak, self.strength)
        if guides.classifier is not None:
            strong = given(denoiser, self.told, wanted)
            return ClassifierGuided(strong, guides.classifier, wanted[CLASS], float(self.strength.scale))
        if not wanted or self.strength.scale == 1:
            return given(denoiser, self.told, wanted)
        return ClassifierFree(denoiser, wanted, self._unwanted(members), self.strength)

    def _wanted(self, members: Sequence[int]) -> dict[str, Tensor]:
        found = {}
        if self.classes:
            found[CLASS] = torch.tensor([self.classes[i % len(self.classes)] for i in members])
        if self.text is not None:
            found[TEXT] = self.text.expand(len(members), -1, -1)
        return found

    def _unwanted(self, members: Sequence[int]) -> dict[str, Tensor]:
        found = {}
        if self.classes:
            found[CLASS] = torch.full((len(members),), self.avoid)
        if self.avoid_text is not None:
            found[TEXT] = self.avoid_text.expand(len(members), -1, -1)
        return found


def given(denoiser: Denoiser, told: tuple[Condition, ...], values: Mapping[str, Tensor]) -> Denoiser:
    """The denoiser, told those of the values that it can be told."""
    known = {condition.name: values[condition.name] for condition in told if condition.name in values}
    return Given(denoiser, known) if known else denoiser


def read_text(text: str) -> Tensor:
    """The vectors of a text's pieces, rounded as those were that the network learned from.

    Raises:
        UndiffuseError: the encoder's package is not installed, or the text is too long.
    """
    return load_encoder().tokens(text).half().float()


def wish(
    settings: SampleConfig,
    told: tuple[Condition, ...],
    info: DataInfo,
    guides: Guides = NO_GUIDES,
    read: Callable[[str], Tensor] = read_text,
) -> Wish:
    """The user's words as numbers.

    Args:
        read: a text to the vectors of its pieces.

    Raises:
        UndiffuseError: a class of a model without classes, an unknown one, a text of a model without texts, or guidance
            that cannot be.
    """
    strength = Strength(settings.guidance, settings.guidance_rescale, *_interval(settings.guidance_interval))
    names = [condition.name for condition in told]
    _check_guides(settings, told, info, guides)
    classes = info.classes if CLASS in names else guides.classifier_classes
    if settings.text and TEXT not in names:
        raise UndiffuseError(
            "This model was trained without texts, so it cannot be asked by one; train one with --condition text"
        )
    if not classes:
        _check_without_classes(settings, names, guides)
    labels: tuple[int, ...] = ()
    if classes:
        asked = settings.classes or ((NONE,) if settings.text else (ALL,))
        labels = class_numbers(asked, classes)
    avoid = class_number(settings.avoid, classes) if settings.avoid and classes else len(classes)
    if not settings.text:
        return Wish(told, labels, avoid, strength, guides)
    text = read(settings.text)
    away = read(settings.avoid) if settings.avoid and not classes else text.new_full((1, text.shape[1]), torch.nan)
    both = pad_sequence([text, away], batch_first=True, padding_value=torch.nan)
    return Wish(told, labels, avoid, strength, guides, both[0], both[1])


def _check_without_classes(settings: SampleConfig, names: Sequence[str], guides: Guides) -> None:
    """Refuse what needs classes of a model that has none."""
    led = settings.guidance != 1 and guides.weak is None
    if settings.classes or ((settings.avoid or led) and TEXT not in names):
        raise UndiffuseError(
            "This model was trained without classes, so there is none to ask for and nothing to guide by; train "
            "one with --condition class, or a classifier for this one with undiffuse train-classifier"
        )
    if (settings.avoid or led) and not settings.text:
        raise UndiffuseError("Guidance of a model of texts needs a --text to lead to")


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
        if not set(guides.weak_told) <= set(told):
            raise UndiffuseError("The --weak model wants to be told what this one does not know")
        return
    if settings.guidance_rescale or settings.guidance_interval:
        raise UndiffuseError("--guidance-rescale and --guidance-interval are not for guidance by a --classifier")
    if any(condition.name == CLASS for condition in told) and info.classes != guides.classifier_classes:
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
    """The conditions of a whole batch, each null with probability ``share``; all of a sample's go together.

    Those that are required are not among the values.
    """
    if not values:
        return {}
    batch = len(next(iter(values.values())))
    drop = torch.rand(batch, generator=generator) < share
    return {c.name: c.dropped(values[c.name], drop) for c in told if not c.required}
