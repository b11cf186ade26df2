"""Real data, where UNDIFFUSE_TEST_DATA names a folder that has them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from undiffuse.data.dataset import Dataset
from undiffuse.errors import UndiffuseError
from undiffuse.visualization.data_summary import find_duplicates

Open = Callable[..., Dataset]


@pytest.fixture
def real() -> Callable[[str], Path]:
    def find(name: str) -> Path:
        folder = os.environ.get("UNDIFFUSE_TEST_DATA")
        if not folder or not (Path(folder) / name).exists():
            pytest.skip(f"UNDIFFUSE_TEST_DATA names no folder with {name}")
        return Path(folder) / name

    return find


def test_mnist_has_its_well_known_moments(real: Callable[[str], Path], opened: Open) -> None:
    dataset = opened(real("mnist-test.npz"))
    assert dataset.images.shape == (10_000, 1, 28, 28)
    assert dataset.info.classes == tuple("0123456789")
    assert (dataset.info.mean[0] + 1) / 2 == pytest.approx(0.1325, abs=5e-5)  # the test set's own; train: 0.1307
    assert dataset.info.std[0] / 2 == pytest.approx(0.3105, abs=5e-5)
    assert list(find_duplicates(dataset)) == []


def test_a_folder_of_archives_and_a_zip_of_sound_are_no_image_sets(real: Callable[[str], Path], opened: Open) -> None:
    with pytest.raises(UndiffuseError, match="none among 3000 other files"):
        opened(real("spoken-digits.zip"))


@pytest.mark.slow
def test_cifar10_is_learnt_from_its_train_folder_with_ten_classes(real: Callable[[str], Path], opened: Open) -> None:
    path = real("cifar10-jpg.tar.xz")
    dataset = opened(path)
    assert dataset.images.shape == (50_000, 3, 32, 32)
    assert dataset.info.classes[:3] == ("airplane", "automobile", "bird")
    assert dataset.labels is not None
    assert np.bincount(dataset.labels).tolist() == [5000] * 10
    assert dataset.refused == ()
    assert dataset.ignored[0][1].startswith("another split, set aside with 10,000 images")
    # the published moments of the training set, which JPEG moves in the third digit
    np.testing.assert_allclose((np.array(dataset.info.mean) + 1) / 2, [0.4914, 0.4822, 0.4465], atol=0.002)
    np.testing.assert_allclose(np.array(dataset.info.std) / 2, [0.2470, 0.2435, 0.2616], atol=0.005)
    test = opened(path / "test")
    assert test.images.shape == (10_000, 3, 32, 32)
