from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.config.data import DataConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extractor import Identity, Outputs
from undiffuse.evaluation.quality.reference import Reference, cache_key, check_comparable, read_features, split


@dataclass
class Counting:
    """Means of the rows of an image, and how many images it was shown."""

    identity: Identity = field(default_factory=lambda: Identity("rows", "0" * 64, "none"))
    seen: int = 0

    def __call__(self, images: Tensor) -> Outputs:
        self.seen += len(images)
        return Outputs(images.mean(3).flatten(1), logits=images.flatten(1)[:, :3])


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)


def open_(path: Path, pixels: np.ndarray) -> Reference:
    np.save(path, pixels)
    dataset: Dataset = prepare(DataConfig(str(path)), path.parent / "cache", progress=False)
    return Reference(dataset)


def features(reference: Reference, extractor: Counting, tmp_path: Path) -> Outputs:
    return reference.features(extractor, tmp_path / "cache")


def test_features_are_computed_once_and_read_ever_after(tmp_path: Path, pixels: np.ndarray) -> None:
    extractor, reference = Counting(), open_(tmp_path / "a.npy", pixels)
    first = features(reference, extractor, tmp_path)
    second = features(reference, extractor, tmp_path)
    assert extractor.seen == 12
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.features, torch.from_numpy(pixels / np.float32(255)).mean(2))
    assert second.logits is not None
    assert second.spatial is None


def test_features_that_cannot_be_kept_are_not_lost(tmp_path: Path, pixels: np.ndarray) -> None:
    extractor, reference = Counting(), open_(tmp_path / "a.npy", pixels)
    kept = features(reference, extractor, tmp_path)
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match=r"set UNDIFFUSE_CACHE .*; the features of a.npy are not kept"):
        found = reference.features(extractor, tmp_path / "file")
    assert torch.equal(found.features, kept.features)


def test_the_name_of_a_file_is_no_part_of_the_key(tmp_path: Path, pixels: np.ndarray) -> None:
    extractor = Counting()
    features(open_(tmp_path / "a.npy", pixels), extractor, tmp_path)
    features(open_(tmp_path / "b.npy", pixels), extractor, tmp_path)
    assert extractor.seen == 12


def test_one_changed_pixel_is_another_reference(tmp_path: Path, pixels: np.ndarray) -> None:
    extractor = Counting()
    before = features(open_(tmp_path / "a.npy", pixels), extractor, tmp_path)
    pixels[7, 3, 2] ^= 1
    after = features(open_(tmp_path / "a.npy", pixels), extractor, tmp_path)
    assert extractor.seen == 24
    assert (before.features != after.features).any(1).nonzero().flatten().tolist() == [7]


@pytest.mark.parametrize("change", [{"sha256": "1" * 64}, {"name": "columns"}, {"resize": "32"}, {"standard": True}])
def test_another_extractor_has_another_key(tmp_path: Path, pixels: np.ndarray, change: dict[str, object]) -> None:
    info, identity = open_(tmp_path / "a.npy", pixels).info, Counting().identity
    assert cache_key(info, identity) != cache_key(info, replace(identity, **change))


@pytest.mark.parametrize("damage", ["flip", "cut", "no facts", "empty facts"])
def test_a_damaged_entry_is_computed_again(tmp_path: Path, pixels: np.ndarray, damage: str) -> None:
    extractor, reference = Counting(), open_(tmp_path / "a.npy", pixels)
    right = features(reference, extractor, tmp_path)
    (place,) = (tmp_path / "cache" / "features").iterdir()
    content = bytearray((place / "features.safetensors").read_bytes())
    content[-3] ^= 1
    if damage == "flip":
        (place / "features.safetensors").write_bytes(content)
    elif damage == "cut":
        (place / "features.safetensors").write_bytes(content[:40])
    elif damage == "no facts":
        (place / "facts.json").unlink()
    else:
        (place / "facts.json").write_text("[]")
    assert read_features(place, 12) is None
    assert torch.equal(features(reference, extractor, tmp_path).features, right.features)
    assert extractor.seen == 24
    assert read_features(place, 12) is not None


def test_an_extractor_that_fails_leaves_nothing_in_the_cache(tmp_path: Path, pixels: np.ndarray) -> None:
    class Stopped(Counting):
        def __call__(self, images: Tensor) -> Outputs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features(open_(tmp_path / "a.npy", pixels), Stopped(), tmp_path)
    assert not list((tmp_path / "cache").glob("features/*"))


def test_the_floor_is_of_two_sets_that_share_no_image() -> None:
    numbered = Outputs(torch.arange(11.0)[:, None])
    for wanted, got in ((3, 3), (5, 5), (9, 5)):
        fake, others = split(numbered, wanted, seed=1)
        assert len(fake) == got
        assert sorted([*fake.features.flatten().tolist(), *others.features.flatten().tolist()]) == list(range(11))
    assert not torch.equal(split(numbered, 5, 1)[0].features, split(numbered, 5, 2)[0].features)


def info(shape: tuple[int, ...], dtype: str = "uint8") -> DataInfo:
    return DataInfo("x", "f", 12, shape, dtype, 0.0, 255.0, (0.0,), (1.0,))


@pytest.mark.parametrize(
    ("subject", "reference", "hint"),
    [
        (info((1, 8, 8)), info((3, 8, 8)), "`channels=grey`"),
        (info((3, 8, 8)), info((1, 8, 8)), "`channels=rgb`"),
        (info((1, 8, 8)), info((1, 16, 12)), "`size=8 8`"),
        (info((1, 8, 8)), info((1, 8, 8), "float32"), "must agree"),
    ],
)
def test_images_that_do_not_agree_are_refused_with_what_to_type(
    subject: DataInfo, reference: DataInfo, hint: str
) -> None:
    check_comparable(subject, subject)
    with pytest.raises(UndiffuseError, match=hint):
        check_comparable(subject, reference)
