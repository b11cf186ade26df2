"""From an extractor's name, as typed, to the extractor; and which one to take where none was named."""

from __future__ import annotations

from pathlib import Path

import torch

from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError, counted, in_one_sentence, perhaps
from undiffuse.evaluation.features.extractor import Extractor
from undiffuse.modalities.images import IMAGES
from undiffuse.modalities.registry import modality_of
from undiffuse.runtime.torch_modes import own_modes

NAMES = {
    "inception": "InceptionV3 of the original FID (weights: `inception_weights=FILE`)",
    "inception:pytorch-fid": "the same behind pytorch-fid's rule of resizing",
    "inception-64": "its first 64 features",
    "inception-192": "its 192 features before the inception blocks",
    "inception-768": "its 768 features before the auxiliary classifier",
    "efficientnet": "EfficientNet-Lite0 of ImageNet (needs the extra 'efficientnet')",
    "classifier": "a small network that learns the reference's labels first",
    "pixels": "the values themselves",
    "onnx:FILE.onnx": "any network as an ONNX file (needs the extra 'onnx')",
    "module:PACKAGE.MODULE:FACTORY": "any Python function of yours",
}
"""What can be typed, and what it is."""

_ALIASES = {"inception-v3": "inception", "efficientnet-lite0": "efficientnet"} | {
    f"inception-v3-{features}": f"inception-{features}" for features in (64, 192, 768)
}
"""The names that stand beside figures can be typed, too."""


@in_one_sentence
@own_modes()
def make_extractor(
    name: str,
    *,
    reference: Dataset | None,
    inception_weights: Path | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
    cache: Path | None = None,
) -> Extractor:
    """The extractor that a name stands for.

    Args:
        name: one of `NAMES`, or an identity's name.
        reference: whose labels 'classifier' learns; the others do not look at it.
        inception_weights: a file for 'inception'; None looks where `find_weights` does.
        progress: show a bar where something is trained (on a terminal only).
        cache: the folder for what is trained; see `cache_root`.

    Raises:
        UndiffuseError: an unknown name, weights or a package that are not there, or data that do not suit.
    """
    kind, _, rest = name.partition(":")
    if kind == "onnx" and rest:
        from undiffuse.evaluation.features.onnx_file import load_onnx

        return load_onnx(Path(rest))
    if kind == "module" and rest:
        from undiffuse.evaluation.features.custom import load_module

        return load_module(rest, device)
    known = _ALIASES.get(name, name)
    if known not in NAMES or kind in ("onnx", "module"):
        raise UndiffuseError(f"unknown extractor '{name}'{perhaps(name, NAMES)}")
    if known == "pixels":
        from undiffuse.evaluation.features.pixels import Pixels

        return Pixels()
    if known == "efficientnet":
        from undiffuse.evaluation.features.efficientnet import load_efficientnet

        return load_efficientnet(device=device)
    if known == "classifier":
        from undiffuse.evaluation.features.classifier import load_classifier

        if reference is None:
            raise UndiffuseError("expected a reference whose labels the extractor 'classifier' can learn, got none")
        return load_classifier(reference, cache=cache, device=device, progress=progress)
    from undiffuse.evaluation.features.inception_fid import load_inception

    layer, _, rule = known.partition(":")
    features = int(layer.partition("-")[2] or 2048)
    return load_inception(
        inception_weights, features=features, rule=rule or "tensorflow", device=device, progress=progress
    )


def default_extractor(reference: Dataset, inception_weights: Path | None = None) -> tuple[str, str]:
    """The best extractor at hand for a reference, and why, in words.

    FID's own network where its weights are there and the data are images with one or three channels; else a classifier
    where there are labels, for it knows these data; else ImageNet's EfficientNet for images; else the values.
    """
    from undiffuse.evaluation.features.classifier_training import why_not
    from undiffuse.evaluation.features.efficientnet import weights_file

    info = reference.info
    pictures = modality_of(info) is IMAGES and info.channels in (1, 3)
    if pictures and _inception_is_there(inception_weights):
        return "inception", "the network of FID, whose weights are at hand"
    missing = "FID's network is not at hand" if pictures else f"FID's network does not take {_kind(info)}"
    if why_not(reference) is None:
        return "classifier", f"{missing}, and the reference has labels to learn"
    if pictures and weights_file() is not None:
        return "efficientnet", f"{missing}, and there are no labels to train a classifier on"
    also = "nor is EfficientNet, and there are" if pictures else "and there are"
    return "pixels", f"{missing}, {also} no labels to train a classifier on; distances of pixels say little of quality"


def _inception_is_there(weights: Path | None) -> bool:
    from undiffuse.evaluation.features.inception_weights import find_weights

    if weights is not None:
        return True  # what is wrong with a file that the user named is for the user to know
    try:
        find_weights(None)
    except UndiffuseError:
        return False
    return True


def _kind(info: DataInfo) -> str:
    return f"{len(info.spatial)}-D data with {counted(info.channels, 'channel')}"
