from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from undiffuse.errors import UndiffuseError
from undiffuse.runtime import installing

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore")  # what the package and what it loads complain of


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path, pixels, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y", "z"])})
    rows = {"image": [Image.fromarray(one) for one in pixels], "label": [k % 3 for k in range(12)]}
    train = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": train, "test": train.select(range(4))}).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_a_saved_set_is_read_by_name_and_as_a_folder(saved, opened, pixels):
    for source in (saved, f"hf:{saved}", f"hf:{saved}:train"):
        dataset = opened(source)
        assert np.array_equal(dataset.images.transpose(0, 2, 3, 1), pixels)
        assert (dataset.info.classes, dataset.labels.tolist()) == (("x", "y", "z"), [k % 3 for k in range(12)])
    test = opened(f"hf:{saved}:test")
    assert np.array_equal(test.images, dataset.images[:4])
    assert test.info.fingerprint != dataset.info.fingerprint


def test_a_folder_of_parquet_goes_through_the_packages_own_reader(tmp_path, opened, pixels, encoded, write_parquet):
    (tmp_path / "set").mkdir()
    write_parquet(tmp_path / "set" / "train-0.parquet", [encoded(one) for one in pixels], label=list(range(12)))
    write_parquet(tmp_path / "set" / "test-0.parquet", [encoded(one) for one in pixels[:3]], label=list(range(3)))
    dataset = opened(f"hf:{tmp_path / 'set'}")
    assert np.array_equal(dataset.images.transpose(0, 2, 3, 1), pixels)


@pytest.mark.parametrize(("name", "words"), [("", "a data set's name"), (":train", "a data set's name")])
def test_a_name_is_needed(opened, name, words):
    with pytest.raises(UndiffuseError, match=words):
        opened(f"hf:{name}")


def test_splits_that_are_not_there_are_named(saved, opened):
    with pytest.raises(UndiffuseError, match="perhaps you meant 'train'"):
        opened(f"hf:{saved}:trian")


def test_without_the_package_it_is_said_what_to_install(opened, monkeypatch):

    monkeypatch.setattr(installing.util, "find_spec", lambda name: None)
    with pytest.raises(UndiffuseError, match=r"undiffuse\[datasets\]"):
        opened("hf:org/name")
