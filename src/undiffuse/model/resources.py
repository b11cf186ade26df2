"""What settings name and files hold: other networks, pictures and texts, each read once for a model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from undiffuse.conditioning.request import read_text

if TYPE_CHECKING:
    from undiffuse.model.model import Model
    from undiffuse.model.noise_classifier import TrainedClassifier

TEXTS = 64
"""Texts whose vectors a model remembers."""


def _from_disk(path: Path) -> Model:
    from undiffuse.model.loading import load_model  # it makes models, which hold resources

    return load_model(path)


def _classifier_from_disk(path: Path) -> TrainedClassifier:
    from undiffuse.model.noise_classifier import load_noisy_classifier

    return load_noisy_classifier(path)


@dataclass
class Resources:
    """Whoever resolves settings asks for things here by name, and never learns how they are opened.

    Args:
        open_model, open_classifier: the network of a name; by default from the disk.
        models, classifiers: those that were opened.
        pictures: rows of pictures by their pinned path.
        texts: the vectors of the last texts' pieces.
    """

    open_model: Callable[[Path], Model] = _from_disk
    open_classifier: Callable[[Path], TrainedClassifier] = _classifier_from_disk
    models: dict[Path, Model] = field(default_factory=dict)
    classifiers: dict[Path, TrainedClassifier] = field(default_factory=dict)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    texts: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)

    def model(self, path: Path) -> Model:
        if path not in self.models:
            self.models[path] = self.open_model(path)
        return self.models[path]

    def classifier(self, path: Path) -> TrainedClassifier:
        if path not in self.classifiers:
            self.classifiers[path] = self.open_classifier(path)
        return self.classifiers[path]

    def text(self, text: str) -> Tensor:
        """The vectors of a text's pieces; the `TEXTS` last ones are kept."""
        if text not in self.texts:
            self.texts[text] = read_text(text)
            for old in list(self.texts)[:-TEXTS]:
                self.texts.pop(old, None)  # other requests tidy at the same time
        return self.texts[text]
