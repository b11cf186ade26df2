"""From names to extractors, and the choice where no name was typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from undiffuse.config.data import DataConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features import efficientnet
from undiffuse.evaluation.features.inception_weights import VARIABLE
from undiffuse.evaluation.features.make import default_extractor, make_extractor


def data(folder: Path, shape: tuple[int, ...] = (8, 8), labeled: bool = True) -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (40, *shape)).astype(np.uint8)
    np.savez(folder / "some.npz", x=images, **({"y": np.arange(40) % 2} if labeled else {}))
    return prepare(DataConfig(source=str(folder / "some.npz")), cache=folder, progress=False)


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither FID's weights nor EfficientNet's are there, whatever this machine has."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package_anywhere")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("inceptoin", "unknown extractor 'inceptoin'; perhaps you meant 'inception'"),
        ("efficientnet-lite", "perhaps you meant 'efficientnet'"),
        ("pixel", "perhaps you meant 'pixels'"),
        ("onnx", "unknown extractor 'onnx'"),
        ("onnx:", "unknown extractor 'onnx:'"),
        ("module:PACKAGE.MODULE:FACTORY", "a module 'PACKAGE.MODULE' that Python finds"),
    ],
)
def test_a_wrong_name_is_answered(typed: str, said: str) -> None:
    with pytest.raises(UndiffuseError, match=said):
        make_extractor(typed, reference=None)


def test_pixels_need_nothing() -> None:
    assert make_extractor("pixels", reference=None).identity.name == "pixels"


@pytest.mark.parametrize("typed", ["efficientnet", "efficientnet-lite0"])
def test_both_names_of_efficientnet_are_known(typed: str) -> None:
    with pytest.raises(UndiffuseError, match="EfficientNet-Lite0, got none installed"):
        make_extractor(typed, reference=None)


@pytest.mark.parametrize(
    "typed", ["inception", "inception-v3", "inception-64", "inception-v3-768", "inception:pytorch-fid"]
)
def test_all_layers_of_inception_are_known(typed: str, tmp_path: Path) -> None:
    with pytest.raises(UndiffuseError, match="expected the weights of the FID network in the file"):
        make_extractor(typed, reference=None, inception_weights=tmp_path / "nothing.pth")


def test_a_classifier_needs_a_reference_and_is_kept_in_the_cache(tmp_path: Path) -> None:
    with pytest.raises(UndiffuseError, match="a reference whose labels"):
        make_extractor("classifier", reference=None)
    found = make_extractor("classifier", reference=data(tmp_path), cache=tmp_path)
    assert found.identity.name == "classifier"
    assert len(list((tmp_path / "classifiers").iterdir())) == 1


def test_labels_make_a_classifier_the_default(tmp_path: Path) -> None:
    name, why = default_extractor(data(tmp_path))
    assert name == "classifier"
    assert "labels" in why


def test_the_weights_of_fid_come_first_where_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"")
    labeled = data(tmp_path)
    assert default_extractor(labeled, weights)[0] == "inception"
    monkeypatch.setenv(VARIABLE, str(weights))
    assert default_extractor(labeled)[0] == "inception"
    name, why = default_extractor(data(tmp_path, (2, 8, 8)))
    assert name == "classifier"
    assert "does not take 2-D data with 2 channels" in why


def test_without_labels_images_get_efficientnet_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = data(tmp_path, labeled=False)
    assert default_extractor(bare)[0] == "pixels"
    monkeypatch.setattr(efficientnet, "PACKAGE", "numpy")
    assert default_extractor(bare)[0] == "efficientnet"
    name, why = default_extractor(data(tmp_path, (2, 8, 8), labeled=False))
    assert name == "pixels"
    assert why.startswith("FID's network does not take")


def test_every_choice_can_be_made(tmp_path: Path) -> None:
    reference = data(tmp_path)
    name, _ = default_extractor(reference)
    assert make_extractor(name, reference=reference).identity.name == name
