"""The classifier that learns the reference's labels: what it learns, how it is kept, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from undiffuse.config.data import DataConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features import classifier
from undiffuse.evaluation.features.classifier import FILE, load_classifier
from undiffuse.evaluation.features.classifier_network import SmallClassifier
from undiffuse.evaluation.features.classifier_training import jitter
from undiffuse.evaluation.features.extract import batches, extract


def blobs(folder: Path, shape: tuple[int, ...] = (8, 8), count: int = 60, labeled: bool = True) -> Dataset:
    """Two classes: bright at the start of the last axis, or at its end; with noise."""
    dice = np.random.default_rng(0)
    labels = np.arange(count) % 2
    half = shape[-1] // 2
    images: NDArray[np.uint8] = dice.integers(0, 80, (count, 1, *shape)).astype(np.uint8)
    images[labels == 0, ..., :half] += 150
    images[labels == 1, ..., half:] += 150
    folder.mkdir(exist_ok=True)
    np.savez(folder / "blobs.npz", x=images, **({"y": labels} if labeled else {}))
    return prepare(DataConfig(source=str(folder / "blobs.npz")), cache=folder / "cache", progress=False)


def test_it_learns_its_labels_and_gives_64_features(tmp_path: Path) -> None:
    data = blobs(tmp_path, count=100)
    found = load_classifier(data, cache=tmp_path)
    assert found.held_out == 20
    assert found.accuracy == 1
    features = extract(found, batches(data.images, data.info), len(data))
    assert features.features.shape == (100, 64)
    assert features.logits is not None
    assert data.labels is not None
    assert (features.logits.argmax(1).numpy() == data.labels).mean() > 0.99


def test_it_is_trained_once_and_then_the_same_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = blobs(tmp_path)
    first = load_classifier(data, cache=tmp_path)

    def never(*args: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(classifier, "train_classifier", never)
    again = load_classifier(data, cache=tmp_path)
    assert again.identity == first.identity
    assert (again.accuracy, again.held_out) == (first.accuracy, first.held_out)
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor)


def test_data_and_seed_determine_the_weights(tmp_path: Path) -> None:
    data = blobs(tmp_path)
    first = load_classifier(data, cache=tmp_path / "a")
    again = load_classifier(data, cache=tmp_path / "b")
    other = load_classifier(data, cache=tmp_path / "b", seed=1)
    changed = load_classifier(blobs(tmp_path / "other", count=62), cache=tmp_path / "b")
    assert again.identity == first.identity
    assert len({first.identity.sha256, other.identity.sha256, changed.identity.sha256}) == 3


def test_training_leaves_the_global_stream_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    load_classifier(blobs(tmp_path), cache=tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("damage", [b"", b"not safetensors at all"])
def test_a_damaged_file_is_trained_anew(tmp_path: Path, damage: bytes) -> None:
    data = blobs(tmp_path)
    first = load_classifier(data, cache=tmp_path)
    first.path.write_bytes(damage)
    again = load_classifier(data, cache=tmp_path)
    assert again.identity == first.identity
    assert again.path.name == FILE


@pytest.mark.parametrize("shape", [(40,), (16, 12), (6, 6, 6)])
def test_it_takes_series_images_and_volumes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = blobs(tmp_path, shape, count=40)
    data = replace(data, info=replace(data.info, shape=(1, *shape)), images=data.images.reshape(40, 1, *shape))
    found = load_classifier(data, cache=tmp_path)
    assert extract(found, batches(data.images, data.info), len(data)).features.shape == (40, 64)


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 32, 32), (1, 64, 64), (2, 5, 63), (1, 1000), (3, 1), (1, 16, 16, 16), (1, 2, 15, 7)]
)
def test_the_network_takes_every_shape(shape: tuple[int, ...]) -> None:
    features, logits = SmallClassifier(shape, 7).eval()(torch.rand(2, *shape))
    assert features.shape == (2, 64)
    assert logits.shape == (2, 7)


def test_large_images_are_shrunk_and_the_identity_says_so(tmp_path: Path) -> None:
    found = load_classifier(blobs(tmp_path, (80, 8), count=20), cache=tmp_path)
    assert "area-averaged to 64 x 8" in found.identity.resize


def test_batches_and_order_do_not_matter(tmp_path: Path) -> None:
    data = blobs(tmp_path)
    found = load_classifier(data, cache=tmp_path)
    images = torch.from_numpy(data.images[:12] / np.float32(255))
    together = extract(found, [images], 12).features
    alone = extract(found, images.flip(0).split(5), 12).features.flip(0)
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, 9), (2, 3, 8, 12), (2, 1, 5, 6, 7)])
def test_jitter_leaves_a_constant_alone(shape: tuple[int, ...]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert torch.allclose(jitter(torch.full(shape, 0.7)), torch.tensor(0.7), atol=1e-6)


def test_jitter_moves_a_spot_a_little_and_each_image_by_itself() -> None:
    images = torch.zeros(50, 1, 28, 28)
    images[:, :, 13:15, 13:15] = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        moved = jitter(images)
    x = torch.arange(28.0)
    centers = (moved.sum((1, 2)) * x).sum(1) / moved.sum((1, 2, 3))
    assert float((centers - 13.5).abs().max()) < 0.14 * 14 * 1.1 + 0.1
    assert float(centers.std()) > 0.5


def test_a_series_is_not_turned() -> None:
    ramp = torch.linspace(0, 1, 50).view(1, 1, 50).expand(20, 1, 50)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        moved = jitter(ramp)
    steps = moved[:, 0, 10:40].diff(dim=1) * 49
    assert torch.allclose(steps, steps[:, :1].expand_as(steps), atol=1e-4)  # still straight
    assert float((steps[:, 0] - 1).abs().max()) <= 0.1 + 1e-4


def test_a_classifier_that_cannot_be_kept_is_not_lost(tmp_path: Path) -> None:
    data, kept = blobs(tmp_path), Path(tmp_path, "kept")
    first = load_classifier(data, cache=kept)
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match=r"set UNDIFFUSE_CACHE .*; the classifier of blobs.npz is not kept"):
        again = load_classifier(data, cache=tmp_path / "file")
    assert again.identity == first.identity


def test_data_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UndiffuseError, match=r"expected labels .* got none with 'blobs.*' \(put the images.*\); try `extractor="
    ):
        load_classifier(blobs(tmp_path, labeled=False), cache=tmp_path)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UndiffuseError, match=r"10 images each .* got 18 images in 2 with"):
        load_classifier(blobs(tmp_path, count=18), cache=tmp_path)
    assert not (tmp_path / "classifiers").exists()


def test_images_of_another_shape_are_refused(tmp_path: Path) -> None:
    found = load_classifier(blobs(tmp_path), cache=tmp_path)
    with pytest.raises(UndiffuseError, match=r"learned images of the shape \(1, 8, 8\), got \(3, 8, 8\)"):
        found(torch.rand(2, 3, 8, 8))


@pytest.mark.slow
def test_digits_that_nobody_showed_it_are_told_apart(tmp_path: Path, real_data: Path) -> None:
    data = prepare(DataConfig(source="digits"), cache=tmp_path, progress=False)
    found = load_classifier(data, cache=tmp_path)
    assert found.accuracy > 0.98
    with np.load(real_data / "mnist-test.npz") as arrays:
        images, labels = arrays["x"][:2000, None], arrays["y"][:2000]
    logits = extract(found, batches(images, data.info), 2000).logits
    assert logits is not None
    assert (logits.argmax(1).numpy() == labels).mean() > 0.97
