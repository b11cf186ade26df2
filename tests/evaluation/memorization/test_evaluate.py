"""Planted copies are found, all of them and nothing else; new images are told to be new."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from undiffuse.config.data import DataConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extractor import Identity, Outputs
from undiffuse.evaluation.features.pixels import Pixels
from undiffuse.evaluation.memorization.evaluate import (
    HeldOutBaseline,
    Memorization,
    TrainingImages,
    memorization,
    nearest_of_blocks,
    without_self,
)
from undiffuse.evaluation.memorization.report import sentences, to_json, verdict
from undiffuse.evaluation.quality.image_source import DatasetImages
from undiffuse.reports.memorization import memorization_page

TRAINING, NEW = 300, 200
PIXELS = (Pixels(),)


@dataclass(frozen=True)
class Centerd:
    """Pixels after the brightest one is moved to the middle: a space that does not see shifts."""

    identity = Identity("centred", "0" * 64, "none")

    def __call__(self, images: torch.Tensor) -> Outputs:
        rows = []
        for image in images[:, 0]:
            top, left = divmod(int(image.argmax()), image.shape[1])
            rows.append(image.roll((image.shape[0] // 2 - top, image.shape[1] // 2 - left), (0, 1)).flatten())
        return Outputs(torch.stack(rows))


def blobs(count: int, seed: int) -> np.ndarray:
    """12 x 12 pictures of three soft spots in random places: no two alike."""
    dice = np.random.default_rng(seed)
    y, x = np.mgrid[:12, :12]
    places, widths = dice.uniform(2, 9, (count, 3, 2, 1, 1)), dice.uniform(1, 2, (count, 3, 1, 1))
    weights = np.array([1.0, 0.6, 0.4]).reshape(1, 3, 1, 1)
    spots = weights * np.exp(-((y - places[:, :, 0]) ** 2 + (x - places[:, :, 1]) ** 2) / (2 * widths**2))
    return np.rint(255 * spots.max(1)).astype(np.uint8)


class Bench:
    """Data sets out of arrays."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def open(self, images: np.ndarray):
        self.count += 1
        path = self.folder / f"set-{self.count}.npy"
        np.save(path, images)
        return prepare(DataConfig(source=str(path)), cache=self.folder / "cache", progress=False)

    def judge(self, samples, training, held_out=None, extractors=PIXELS, **options) -> Memorization:
        against = TrainingImages.of(self.open(training))
        if held_out is None:
            yardstick = HeldOutBaseline.leave_one_out(against)
        else:
            yardstick = HeldOutBaseline.held_out(self.open(held_out), against)
        return memorization(DatasetImages.of(self.open(samples)), against, yardstick, extractors, **options)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def training() -> np.ndarray:
    return blobs(TRAINING, 0)


@pytest.fixture(scope="module")
def planted(training: np.ndarray) -> np.ndarray:
    """200 new pictures; 0-4 are copies of 10-14, 5-9 are 20-24 with noise, 10-12 are 30-32 moved by a pixel."""
    samples = blobs(NEW, 5)
    noise = np.random.default_rng(2).normal(0, 2, (5, 12, 12))
    samples[:5] = training[10:15]
    samples[5:10] = (training[20:25] + noise).clip(0, 255).round()
    samples[10:13] = np.roll(training[30:33], 1, axis=2)
    return samples


@pytest.mark.parametrize("with_held_out", [True, False])
def test_exactly_the_planted_copies_are_found(bench, training, planted, with_held_out):
    found = bench.judge(planted, training, blobs(NEW, 3) if with_held_out else None)
    (pixels,) = found.spaces
    assert found.copies == list(range(10))
    assert found.exact == {k: [10 + k] for k in range(5)}
    assert pixels.neighbors[:10, 0].tolist() == [*range(10, 15), *range(20, 25)]
    assert pixels.distances[:5, 0].tolist() == [0] * 5
    assert sorted(pixels.copies[:5]) == list(range(5))
    assert pixels.alarms == 0
    assert pixels.near.count >= 10
    assert pixels.near.p < 0.01
    assert "10 of 200 samples are copies of training images, the others are not." in verdict(found)


def test_a_moved_copy_is_found_in_features_alone(bench, training, planted):
    found = bench.judge(planted, training, blobs(NEW, 3), extractors=(Pixels(), Centerd()))
    pixels, centered = found.spaces
    assert not {10, 11, 12} & set(pixels.copies)
    assert {10, 11, 12} <= set(centered.copies)
    assert centered.neighbors[10:13, 0].tolist() == [30, 31, 32]
    assert found.copies == list(range(13))


@pytest.mark.parametrize("with_held_out", [True, False])
def test_new_images_are_not_accused(bench, training, with_held_out):
    found = bench.judge(blobs(NEW, 5), training, blobs(NEW, 3) if with_held_out else None)
    (pixels,) = found.spaces
    assert found.copies == []
    assert found.exact == {}
    assert abs(pixels.z) < 3
    assert pixels.ratio.low < 1 < pixels.ratio.high
    assert pixels.near.p > 0.01
    assert verdict(found).startswith("No sign of memorisation: the samples are no nearer")


def test_a_whole_set_that_hugs_the_training_images_is_seen_without_single_copies(bench, training):
    near = (training[:NEW] * 0.7 + blobs(NEW, 9) * 0.3).round().astype(np.uint8)
    found = bench.judge(near, training, blobs(NEW, 3))
    assert found.spaces[0].z < -5
    assert found.spaces[0].ratio.high < 1
    assert "begun to memorise" in verdict(found) or found.copies


def test_many_copies_move_the_whole(bench, training):
    samples = np.concatenate([training[:120], blobs(NEW - 120, 5)])
    found = bench.judge(samples, training, blobs(NEW, 3))
    assert set(range(120)) <= set(found.copies)
    assert "of training images, and as a whole they are nearer to those than held-out images are." in verdict(found)


def test_noise_is_further_than_new_images(bench, training):
    noise = np.random.default_rng(0).integers(0, 256, (50, 12, 12)).astype(np.uint8)
    found = bench.judge(noise, training, blobs(NEW, 3))
    assert found.spaces[0].z > 5
    assert "further from the training images" in verdict(found)


def test_a_copy_of_an_image_that_occurs_often_is_found(bench, training):
    repeated = np.concatenate([training, np.repeat(training[7:8], 80, axis=0)])
    samples = blobs(NEW, 5)
    samples[3] = (training[7].astype(float) + np.random.default_rng(0).normal(0, 2, (12, 12))).clip(0, 255).round()
    samples[4] = training[7]
    found = bench.judge(samples, repeated)
    assert found.copies == [3, 4]
    assert found.exact == {4: [7, *range(300, 380)]}
    assert len(found.training.distinct) == TRAINING
    assert float(found.spaces[0].honest.min()) > 0
    assert "80 exact duplicates" in " ".join(sentences(found))


def test_held_out_images_that_are_training_images_are_no_yardstick(bench, training):
    held_out = np.concatenate([blobs(60, 3), training[:40]])
    found = bench.judge(blobs(50, 1), training, held_out)
    assert found.yardstick.leaked == 40
    assert len(found.yardstick.numbers) == 60
    assert float(found.spaces[0].honest.min()) > 0
    assert "40 more are among the training images" in " ".join(sentences(found))


def test_data_that_repeat_themselves_accuse_nobody(bench):
    frames, dice = blobs(100, 0).astype(float), np.random.default_rng(0)
    held_out, samples = ((frames + dice.normal(0, 3, frames.shape)).clip(0, 255).astype(np.uint8) for _ in range(2))
    found = bench.judge(samples, frames.astype(np.uint8), held_out)
    assert float(found.spaces[0].closeness.median()) < 0.2  # by a fixed rule nearly all would be copies
    assert found.copies == []


def test_blocks_give_what_one_search_gives():
    dice = torch.Generator().manual_seed(0)
    x, y = torch.randn(7, 5, generator=dice), torch.randn(40, 5, generator=dice)
    blocks = [(torch.arange(k, k + 8), y[k : k + 8]) for k in range(0, 40, 8)]
    distances, numbers = nearest_of_blocks(x, blocks, 12)
    exact = torch.cdist(x.double(), y.double()).sort(1)
    assert torch.equal(numbers, exact.indices[:, :12])
    assert torch.allclose(distances, exact.values[:, :12], rtol=1e-9)


def test_an_image_is_not_its_own_neighbour():
    distances = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    numbers = torch.tensor([[4, 1, 2], [0, 1, 2]])
    assert without_self(distances, numbers, torch.tensor([4, 3])).tolist() == [[1, 2], [0, 0]]


def test_the_json_holds_what_the_numbers_depend_on(bench, training, planted):
    import json

    found = bench.judge(planted, training, blobs(NEW, 3))
    plain = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert plain["training"]["fingerprint"] == found.training.info.fingerprint
    assert plain["samples"]["count"] == NEW
    assert plain["yardstick"]["kind"] == "held-out"
    assert plain["copies"] == list(range(10))
    (space,) = plain["spaces"]
    assert len(space["extractor"]["sha256"]) == 64
    assert space["nearest"][7]["training"] == 22
    assert len(space["nearest"]) == NEW


def test_the_page_shows_the_closest_pairs_first(bench, training, planted):
    page = memorization_page(bench.judge(planted, training, blobs(NEW, 3)))
    assert "<script" not in page
    assert page.count("data:image/png") == 24 * 6
    assert page.count("exact duplicate</figcaption>") == 5
    assert page.index("Sample 0:") < page.index("Sample 5:") < page.index("everything it depends on".capitalize())
    assert "10 of 200 samples are copies" in page


def test_what_cannot_be_compared_is_one_sentence(bench, training):
    with pytest.raises(UndiffuseError, match="they must agree"):
        bench.judge(blobs(20, 1)[:, :8, :8], training)
    with pytest.raises(UndiffuseError, match="at least 8 samples, and there are 4"):
        bench.judge(blobs(4, 1), training)
    with pytest.raises(UndiffuseError, match="at least 8 different training images"):
        bench.judge(blobs(20, 1), np.repeat(training[:3], 9, axis=0))
    with pytest.raises(UndiffuseError, match=r"`held_out` needs at least 8 images that are not among"):
        bench.judge(blobs(20, 1), training, training[:20])
