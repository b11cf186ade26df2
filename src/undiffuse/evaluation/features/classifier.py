"""The extractor 'classifier': a small network that learned the reference's own labels, for data that no other knows.

ImageNet's networks see photographs in everything. Digits, spectra and volumes have no published extractor, but they
often have labels, and a network that tells their classes apart has found what matters in them. `load_classifier` trains
one in a minute and keeps it in the cache under the reference's fingerprint; docs/measure/evaluation.md says what it
measured.

Its distances compare models against *one* reference by *one* file of weights, whose sha256 stands beside each figure.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.data.dataset import Dataset
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.classifier_network import LIMITS, SmallClassifier
from undiffuse.evaluation.features.classifier_training import VERSION, TrainedFeatures, labels_of, train_classifier
from undiffuse.evaluation.features.extractor import Identity, Outputs, full_precision
from undiffuse.evaluation.features.pixels import area_average
from undiffuse.runtime.cache import UnkeptError, cache_root, discard, new_entry
from undiffuse.runtime.durable_files import write_durably
from undiffuse.runtime.safe_tensors import from_bytes, to_bytes
from undiffuse.runtime.uninitialized import outlined

FILE = "classifier.safetensors"


@dataclass(frozen=True, eq=False)
class ClassifierExtractor:
    """A trained classifier; use `load_classifier`."""

    network: SmallClassifier
    sha256: str
    """Of the file that it is stored in."""
    path: Path
    """That file. Copy it along with figures: another machine trains another one, in the last bits at least."""
    accuracy: float
    """Share of the held-out images whose label it finds."""
    held_out: int
    """Number of held-out images; all the others were learned."""

    @cached_property
    def identity(self) -> Identity:
        shape = self.network.shape
        small = tuple(min(side, LIMITS[len(shape) - 1]) for side in shape[1:])
        size = "the data's own size" if small == shape[1:] else f"area-averaged to {' x '.join(map(str, small))}"
        return Identity("classifier", self.sha256, f"{size}; channels kept; values in [0, 1]")

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "batch channels *spatial"]) -> Outputs:
        """64 features and a logit for each class, of images of the reference's shape."""
        if tuple(images.shape[1:]) != self.network.shape:
            raise UndiffuseError(
                f"the classifier learned images of the shape {self.network.shape}, got {tuple(images.shape[1:])}; "
                "prepare both sides with the same `size` and `channels`"
            )
        device = self.network.classes.weight.device
        with full_precision(device):
            features, logits = self.network(area_average(images.to(device), LIMITS))
        return Outputs(features, logits=logits)


def load_classifier(
    reference: Dataset,
    *,
    seed: int = 0,
    cache: Path | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> ClassifierExtractor:
    """The classifier of a reference: out of the cache, or trained first (on the CPU, about a minute) and stored.

    The weights are a function of the reference's contents and the seed, to the last bit on one machine and number of
    threads; whoever comes later uses the stored ones.

    Args:
        seed: of the split, the initial weights, the order and the augmentation.
        cache: the folder for prepared data; see `cache_root`.

    Raises:
        UndiffuseError: no labels, fewer than two classes or ten images a class, more than three dimensions, no disk.
    """
    labels_of(reference)  # refuses what cannot be learned, before anything is written
    place = cache_root(cache) / "classifiers" / f"{reference.info.fingerprint[:32]}-{VERSION}-{seed}"
    file = place / FILE
    for _ in range(3):  # train, read; and once more if another process cleared our entry away with a damaged one
        damaged = place.exists()
        if (found := _read(file, reference)) is not None:
            break
        if damaged:
            discard(place)
        content = _to_bytes(train_classifier(reference, seed, progress))
        try:
            with new_entry(place) as draft:
                write_durably(draft / FILE, content)
        except UnkeptError as error:
            warnings.warn(f"{error}; the classifier of {reference.info.name} is not kept", stacklevel=2)
            found = _opened(content, file, reference)
            break
    if found is None:
        raise UndiffuseError(
            f"expected to read back what was just written to {place}, got a damaged entry; check the disk"
        )
    found.network.to(device)
    return found


def _to_bytes(trained: TrainedFeatures) -> bytes:
    numbers = {
        "accuracy": torch.tensor(trained.accuracy, dtype=torch.float64),
        "held_out": torch.tensor(trained.held_out),
    }
    return to_bytes({f"network.{name}": tensor for name, tensor in trained.network.state_dict().items()} | numbers)


def _read(path: Path, reference: Dataset) -> ClassifierExtractor | None:
    """The stored classifier; None where there is none, or one that does not fit."""
    try:
        return _opened(path.read_bytes(), path, reference)
    except OSError:
        return None


def _opened(data: bytes, path: Path, reference: Dataset) -> ClassifierExtractor | None:
    with outlined():  # no memory, and no draws from torch's global stream
        network = SmallClassifier(reference.info.shape, len(reference.info.classes))
    try:
        tensors = from_bytes(data, path)
        weights = {name.removeprefix("network."): tensors[name] for name in tensors if name.startswith("network.")}
        network.load_state_dict(weights, assign=True)
        accuracy, held_out = float(tensors["accuracy"]), int(tensors["held_out"])
    except (UndiffuseError, RuntimeError, KeyError):
        return None
    network.eval().requires_grad_(False)
    return ClassifierExtractor(network, hashlib.sha256(data).hexdigest(), path, accuracy, held_out)
