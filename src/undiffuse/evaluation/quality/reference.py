"""Real images to measure against: do they fit, their features from the cache, and halves of them for the floor.

The key of a cached reference is made of the images' contents and of the extractor's identity, never of a name. A
folder that was moved is found again, one changed pixel is not, and other weights never meet old features.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.data.masks import check_unmasked
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extract import batches, extract
from undiffuse.evaluation.features.extractor import Extractor, Identity, Outputs
from undiffuse.evaluation.images import remedy_for
from undiffuse.runtime.cache import UnkeptError, cache_root, discard, new_entry
from undiffuse.runtime.random_streams import generator
from undiffuse.runtime.safe_tensors import from_bytes, to_bytes

FEATURES_VERSION = 1
"""Part of every key: raise it when the same images would get other features from the same weights."""


@dataclass(frozen=True)
class Reference:
    """A set of real images, prepared as the subject's are, and how it came to be the reference, in words."""

    dataset: Dataset
    given: str = "given"

    def __post_init__(self) -> None:
        check_unmasked(self.dataset, "A measure of quality")

    @property
    def info(self) -> DataInfo:
        return self.dataset.info

    def facts(self) -> dict[str, Any]:
        info, cut = self.info, self.dataset.cut
        middle = ", the middle of each" if cut is not None and cut.kind == "random" else ""
        return {
            "name": info.name,
            "count": info.count,
            "fingerprint": info.fingerprint,
            "shape": list(info.shape),
            "dtype": info.dtype,
            "given": f"{self.given}{middle}",
        }

    def features(self, extractor: Extractor, cache: Path | None = None, progress: bool = False) -> Outputs:
        """The features of all images, from the cache where they are in it.

        Args:
            cache: folder for cached data; by default the environment's UNDIFFUSE_CACHE, else ~/.cache/undiffuse.
        """
        place = cache_root(cache) / "features" / cache_key(self.info, extractor.identity)
        found = read_features(place, self.info.count)
        if found is None:
            discard(place)  # a damaged one
            found = extract(extractor, batches(self.dataset.images, self.info), self.info.count, progress)
            try:
                with new_entry(place) as draft:
                    _write(draft, found, self.info, extractor.identity)
            except UnkeptError as error:  # half an hour's work of a large reference
                warnings.warn(f"{error}; the features of {self.info.name} are not kept", stacklevel=2)
        return found


def cache_key(info: DataInfo, identity: Identity) -> str:
    """32 hexadecimal digits for these contents under this extractor."""
    parts = {"version": FEATURES_VERSION, "images": info.fingerprint, "extractor": asdict(identity)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _write(folder: Path, features: Outputs, info: DataInfo, identity: Identity) -> None:
    content = to_bytes(features.tensors())
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "images": info.fingerprint, "extractor": asdict(identity)}
    (folder / "features.safetensors").write_bytes(content)
    (folder / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read_features(place: Path, count: int) -> Outputs | None:
    """The features in a folder of the cache; None where they are missing, damaged or of another number of images."""
    with suppress(OSError, ValueError, KeyError, TypeError, UndiffuseError):
        content = (place / "features.safetensors").read_bytes()
        facts = json.loads((place / "facts.json").read_text(encoding="utf-8"))
        if hashlib.sha256(content).hexdigest() == facts["sha256"]:
            found = Outputs(**from_bytes(content, place))
            return found if len(found) == count else None
    return None


def split(features: Outputs, count: int, seed: int = 0) -> tuple[Outputs, Outputs]:
    """Two disjoint sets of real images: ``count`` of them, at most half, to stand in for samples, and the others.

    A metric's value for the two is its floor: no model can be told from real images below it.
    """
    order = torch.randperm(len(features), generator=generator(seed, "floor"))
    count = min(count, len(features) // 2)
    return features.take(order[:count]), features.take(order[count:])


def check_comparable(subject: DataInfo, reference: DataInfo) -> None:
    """Refuse images of different shapes or kinds of number."""
    if (remedy := remedy_for(reference, subject)) is not None:
        raise UndiffuseError(
            f"The images to be measured are {subject.dtype} of the shape {subject.shape}, and the reference "
            f"'{reference.name}' has {reference.dtype} of the shape {reference.shape}: they must agree{remedy}"
        )
