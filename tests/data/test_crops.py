"""Samples that are parts of larger images: tiles, and parts at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from undiffuse.cli import main
from undiffuse.cli.data_options import typed_preparation
from undiffuse.config.data import DataConfig
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.data.codec import codec_of
from undiffuse.data.crops import Crops
from undiffuse.data.dataset import Dataset
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.memorization.evaluate import HeldOutBaseline, Memorization, TrainingImages
from undiffuse.evaluation.memorization.report import verdict
from undiffuse.evaluation.quality.reference import Reference
from undiffuse.runtime.process_group import ALONE
from undiffuse.training.batches import TrainData, image_batches
from undiffuse.training.parallel.batch_shards import BatchShard
from undiffuse.visualization.data_summary import contact_sheet, describe

Open = Callable[..., Dataset]
SIZES = ((17, 20), (8, 8), (12, 9), (30, 8))


@pytest.fixture
def photos(tmp_path: Path, write: Any, encoded: Any, rng: np.random.Generator) -> tuple[Path, list[Any]]:
    """Photographs of several sizes in two classes, and their pixels (channels, height, width)."""
    pixels = [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
    files = {f"{'ab'[k % 2]}/{k}.png": encoded(image) for k, image in enumerate(pixels)}
    order = sorted(range(len(SIZES)), key=lambda k: ("ab"[k % 2], k))
    return write(tmp_path / "photos", files), [np.moveaxis(pixels[k], -1, 0) for k in order]


def test_tiles_lie_beside_one_another_in_the_middle_and_keep_their_images_class(
    photos: tuple[Path, list[Any]], opened: Open
) -> None:
    folder, pixels = photos
    dataset = opened(folder, size=8, crop="tiles")
    expected = [
        image[:, top : top + 8, left : left + 8]
        for image in pixels
        for top in range(image.shape[1] % 8 // 2, image.shape[1] - 7, 8)
        for left in range(image.shape[2] % 8 // 2, image.shape[2] - 7, 8)
    ]
    assert len(expected) == 2 * 2 + 1 + 1 + 3
    np.testing.assert_array_equal(np.asarray(dataset.images), np.stack(expected))
    assert dataset.labels is not None
    assert np.bincount(dataset.labels).tolist() == [5, 4]
    assert dataset.names()[:2] == ["a/0.png@0,2", "a/0.png@0,10"]
    unused = 1 - 9 * 64 / sum(h * w for h, w in SIZES)
    assert f"9 tiles of 8 x 8 from 4 images, 1 to 4 of each; {unused:.1%} of the pixels" in describe(dataset)


def test_parts_at_random_are_functions_of_seed_and_step_and_reach_every_place(
    photos: tuple[Path, list[Any]], opened: Open
) -> None:
    folder, pixels = photos
    dataset = opened(folder, size=8, crop="random")
    assert (dataset.info.count, dataset.info.shape) == (4, (3, 8, 8))
    config = override(TrainConfig(), size=8, crop="random", batch=6, seed=5)
    steps, again = (image_batches(TrainData.of(dataset), config, BatchShard(6)) for _ in range(2))
    batches = [steps(step) for step in range(400)]
    assert all(torch.equal(again(step), batches[step]) for step in (399, 0, 17))
    other = image_batches(TrainData.of(dataset), override(config, seed=6), BatchShard(6))
    assert not torch.equal(other(0), batches[0])
    seen = {encode_bytes(x) for batch in batches for x in batch}
    possible = {
        encode_bytes(codec_of(dataset.info).encode(image[:, top : top + 8, left : left + 8]))
        for image in pixels
        for top in range(image.shape[1] - 7)
        for left in range(image.shape[2] - 7)
    }
    assert len(possible) == 10 * 13 + 1 + 5 * 2 + 23
    assert seen == possible
    said = describe(dataset)
    assert "a part of 8 x 8 at random each time an image is learned, of 1 to 130 possible ones" in said
    assert "of the middle of each image" in said


def encode_bytes(x: torch.Tensor) -> bytes:
    return x.numpy().tobytes()


def test_what_is_cut_does_not_depend_on_how_a_batch_is_shared(photos: tuple[Path, list[Any]], opened: Open) -> None:
    dataset = opened(photos[0], size=8, crop="random")
    config = override(TrainConfig(), size=8, crop="random", batch=6)
    whole = image_batches(TrainData.of(dataset), config, BatchShard(6))(3)
    shares = [BatchShard(6, 1, replace(ALONE, rank=rank, world=2)) for rank in range(2)]
    assert torch.equal(torch.cat([image_batches(TrainData.of(dataset), config, share)(3) for share in shares]), whole)


def test_who_measures_or_looks_gets_the_middle_of_each_image(photos: tuple[Path, list[Any]], opened: Open) -> None:
    folder, pixels = photos
    for _ in range(2):  # as prepared, and from the cache
        dataset = opened(folder, size=8, crop="random")
        middles = [
            image[:, (h := (image.shape[1] - 7) // 2) : h + 8, (w := (image.shape[2] - 7) // 2) : w + 8]
            for image in pixels
        ]
        np.testing.assert_array_equal(np.asarray(dataset.images), np.stack(middles))
        np.testing.assert_array_equal(dataset.images[2], middles[2])
        np.testing.assert_array_equal(dataset.images[1:3], np.stack(middles[1:3]))
        assert dataset.info.mean == pytest.approx(tuple(np.stack(middles).mean((0, 2, 3)) / 127.5 - 1))
    contact_sheet(dataset)
    assert Reference(dataset).facts()["given"] == "given, the middle of each"
    assert Reference(opened(folder, size=8, crop="tiles")).facts()["given"] == "given"


def test_the_range_of_float_images_is_that_of_all_that_may_be_cut(
    tmp_path: Path, opened: Open, write: Any, rng: np.random.Generator
) -> None:
    from PIL import Image

    (tmp_path / "f").mkdir()
    for number in range(2):
        pixels = rng.random((20, 30), np.float32)
        pixels[0, 0] = 5 - 9 * number
        Image.fromarray(pixels).save(tmp_path / "f" / f"{number}.tif")
    info = opened(tmp_path / "f", size=8, crop="random").info
    assert (info.low, info.high) == (-4.0, 5.0)


def test_images_are_scaled_before_they_are_cut_where_it_is_asked_and_whole_samples_stay(
    tmp_path: Path, opened: Open, pictures: Any, write: Any
) -> None:
    folder = write(tmp_path / "a", {**pictures(2, "large", (40, 60, 3)), **pictures(1, "sample", (8, 8, 3))})
    assert opened(folder, size=8, crop="tiles").info.count == 2 * 35 + 1
    assert opened(folder, size=8, crop="tiles", crop_from=16).info.count == 2 * 6 + 1
    assert opened(folder, size=8, crop="random", crop_from=16).info.count == 3
    keys = {
        opened(folder, size=8, crop=crop, crop_from=short).info.fingerprint
        for crop in ("random", "tiles")
        for short in (None, 16, 20)
    }
    assert len(keys) == 6


def test_images_smaller_than_a_sample_are_refused_with_the_reason(
    tmp_path: Path, opened: Open, pictures: Any, write: Any
) -> None:
    files = {**pictures(30, "large", (9, 9, 3)), **pictures(1, "small", (7, 30, 3))}
    dataset = opened(write(tmp_path / "a", files), size=8, crop="random")
    assert dataset.info.count == 30
    assert dataset.refused[0][1].startswith("is smaller than a sample of 8 x 8; `crop=center` scales it up")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"crop": "tiles"}, "expected `size` together with `crop=tiles`"),
        ({"size": 8, "crop": "center", "crop_from": 16}, "`crop_from` is for `crop=random` and `crop=tiles`"),
        ({"size": 8, "crop": "random", "crop_from": 4}, "expected `crop_from` between 8"),
        ({"size": 8, "crop": "random", "pairs": "x"}, "is not for `pairs`"),
    ],
)
def test_what_cannot_be_cut_is_said(
    photos: tuple[Path, list[Any]], opened: Open, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UndiffuseError, match=said):
        opened(photos[0], **settings)


def test_arrays_are_cut_by_who_has_them_unless_they_have_the_size_already(tmp_path: Path, opened: Open) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (5, 16, 16), np.uint8))
    with pytest.raises(UndiffuseError, match="is an array of 16 x 16; cut it yourself"):
        opened(tmp_path / "x.npy", size=8, crop="tiles")
    assert opened(tmp_path / "x.npy", size=16, crop="tiles").info.count == 5


def test_a_damaged_entry_of_whole_images_is_made_again(photos: tuple[Path, list[Any]], opened: Open) -> None:
    dataset = opened(photos[0], size=8, crop="random")
    places = dataset.path / "places.npy"
    wrong = np.load(places)
    wrong[0, 0] = 1 << 40
    np.save(places, wrong)
    again = opened(photos[0], size=8, crop="random")
    assert isinstance(again.images, Crops)
    assert again.images.whole


def test_a_resumed_training_cuts_what_an_uninterrupted_one_would(
    photos: tuple[Path, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    tiny = (
        "--base 8 --multipliers 1 --blocks 1 --batch 4 --steps 4 --checkpoint-every 2 --sample-every 0 --keep 0 --quiet"
    )
    words = ["train", str(photos[0]), "--size", "8", "--crop", "random", "--name", "whole", *tiny.split()]
    assert main(words) == 0
    shutil.copytree("runs/whole", "runs/part")
    shutil.rmtree("runs/part/checkpoints/step-00000004")
    assert main(["train", "--resume", "runs/part", "--quiet"]) == 0
    for path in Path("runs/whole/checkpoints/step-00000004").glob("*.safetensors"):
        assert path.read_bytes() == Path("runs/part/checkpoints/step-00000004", path.name).read_bytes()


def test_a_crop_that_is_typed_for_other_data_sets_the_runs_crop_from_aside() -> None:
    run = DataConfig(size=8, crop="random", crop_from=16)
    assert replace(run, **typed_preparation({"crop": "center"})) == DataConfig(size=8, crop="center")
    assert replace(run, **typed_preparation({"crop": "tiles"})).crop_from == 16
    assert replace(run, **typed_preparation({"crop": "none", "crop_from": 4})).crop_from == 4


def test_a_verdict_on_copies_of_parts_at_random_says_what_was_looked_at(
    tmp_path: Path, opened: Open, pictures: Any, write: Any
) -> None:
    folder, said = write(tmp_path / "a", pictures(9, "", (12, 12, 3))), {}
    for crop in ("random", "tiles"):
        training = TrainingImages.of(opened(folder, size=8, crop=crop))
        sample = np.asarray(training.dataset.images[:1])
        found = Memorization(sample, {}, training, HeldOutBaseline.leave_one_out(training), (), {0: [0]}, 0)
        said[crop] = verdict(found)
    assert said["tiles"] == "1 of 1 sample is a copy of training images, the others are not."
    assert said["random"].startswith(said["tiles"])
    assert "Only the middle of each training image was looked at" in said["random"]
