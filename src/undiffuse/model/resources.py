"""Other networks, pictures and texts that settings name and files hold, each read once for a model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from undiffuse.conditioning.request import IMAGE, VECTOR, Guides, read_text
from undiffuse.config.diffusion import PROCESS
from undiffuse.config.sampling import SampleConfig
from undiffuse.data.codec import codec_of
from undiffuse.data.read_image import read_pairs
from undiffuse.errors import UndiffuseError
from undiffuse.model.student_request import check_denoises
from undiffuse.provenance.pinned_path import path_of, pinned

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
    """The opener of whatever settings name; nobody else knows how that is done.

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

    def open_named(self, settings: SampleConfig, model: Model) -> tuple[SampleConfig, Guides]:
        """The settings with whatever they name pinned by its contents, and the networks among it.

        Args:
            settings: with their number format decided.
            model: that samples are drawn from; networks go to its device.

        Raises:
            UndiffuseError: nothing of that name is there, it does not go with the model, or its contents are other than
                the pin says.
        """
        guide, image = settings.guide, settings.prompt.image
        weak_path, classifier_path, image_path = map(path_of, (guide.weak, guide.classifier, image))
        weak = self._weak(weak_path, model) if guide.weak else None
        classifier = self._classifier(classifier_path, model) if guide.classifier else None
        told = image and IMAGE in {condition.name for condition in model.conditions}
        pins = {}
        if told and image not in self.pictures:
            rows, digest = read_pairs(image_path, model.info.pair, model.config.data)
            pins["image"] = pinned(image, digest)
            self.pictures[pins["image"]] = rows
        if weak:
            pins["weak"] = pinned(guide.weak, weak.provenance["sha256"])
        if classifier:
            pins["classifier"] = pinned(guide.classifier, classifier.sha256)
        guides = Guides(
            weak=weak.evaluated(settings.compute) if weak else None,
            weak_conditions=weak.conditions if weak else (),
            classifier=classifier,
            classifier_classes=classifier.info.classes if classifier else (),
        )
        return settings.changed(**pins), guides

    def _weak(self, path: Path, model: Model) -> Model:
        if path not in self.models:
            self.models[path] = self.open_model(path)
        weak = self.models[path].to(model.device)
        check_denoises(weak.config, "a direction to lead away from")
        same = all(getattr(model.config.diffusion, name) == getattr(weak.config.diffusion, name) for name in PROCESS)
        if not same or weak.info.shape != model.info.shape:
            raise UndiffuseError(f"`weak` must name a model of the same process and shape as this one, {path} is not")
        scales = [(info.numbers, info.pair and codec_of(info.pair)) for info in (model.info, weak.info)]
        if {VECTOR, IMAGE} & {condition.name for condition in weak.conditions} and scales[0] != scales[1]:
            raise UndiffuseError(f"`weak={path}` is told numbers or pictures on other scales than this model")
        return weak

    def _classifier(self, path: Path, model: Model) -> TrainedClassifier:
        if path not in self.classifiers:
            self.classifiers[path] = self.open_classifier(path)
        classifier = self.classifiers[path]
        classifier.check_fits(model.config.diffusion, model.info)
        classifier.network.to(model.device)
        return classifier

    def text(self, text: str) -> Tensor:
        """The vectors of a text's pieces; the `TEXTS` last ones are kept."""
        if text not in self.texts:
            self.texts[text] = read_text(text)
            for old in list(self.texts)[:-TEXTS]:
                self.texts.pop(old, None)  # other requests tidy at the same time
        return self.texts[text]
