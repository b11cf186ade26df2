"""A module of the user's own as an extractor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.custom import load_module

SOURCE = """
import torch
from torch import nn
from undiffuse.evaluation.features.extractor import Outputs

def means():
    function = lambda images: images.flatten(2).mean(2)
    return function

def pairs():
    return lambda images: (images.flatten(1)[:, :3], images.flatten(1)[:, :2])

def outputs():
    return lambda images: Outputs(images.flatten(1), spatial=images.flatten(1)[:, :1])

class Network(nn.Module):
    resize = "the data's own size"
    def __init__(self, value):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))
        self.drop = nn.Dropout(0.5)
    def forward(self, images):
        return self.drop(images.flatten(1) * self.weight)

def ones():
    return Network(1.0)

def twos():
    return Network(2.0)

def nothing():
    return None

def failing():
    raise RuntimeError("no weights here")

def bad_shape():
    return lambda images: images

def bad_count():
    return lambda images: images.flatten(1)[:1]

def bad_features():
    return lambda images: (None, images.flatten(1))

def bad_type():
    return lambda images: "features"

def bad_call():
    return lambda images: images @ images.flatten(1)
"""
IMAGES = torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def test_a_function_gives_features(file: Path) -> None:
    found = load_module(f"{file}:means")
    assert torch.equal(found(IMAGES).features, IMAGES.mean((2, 3)))
    assert found(IMAGES).logits is None
    assert found.identity.name == f"module:{file}:means"
    assert found.identity.resize == "left to the module"
    assert not found.identity.standard


def test_a_pair_is_features_and_logits(file: Path) -> None:
    found = load_module(f"{file}:pairs")(IMAGES)
    assert found.features.shape == (4, 3)
    assert found.logits is not None
    assert found.logits.shape == (4, 2)


def test_outputs_pass_through(file: Path) -> None:
    found = load_module(f"{file}:outputs")(IMAGES)
    assert found.spatial is not None
    assert found.spatial.shape == (4, 1)


def test_a_network_is_set_to_evaluation_and_says_how_it_resizes(file: Path) -> None:
    found = load_module(f"{file}:twos")
    assert torch.equal(found(IMAGES).features, 2 * IMAGES.flatten(1))
    assert found.identity.resize == "the data's own size"


def test_the_identity_changes_with_the_weights_and_with_the_source(file: Path) -> None:
    ones, twos = (load_module(f"{file}:{name}").identity.sha256 for name in ("ones", "twos"))
    file.write_text(SOURCE + "\n# another version\n")
    changed = load_module(f"{file}:ones").identity.sha256
    assert len({ones, twos, changed}) == 3


def test_a_module_on_the_path_is_imported_by_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.rename(file.with_name("undiffuse_test_features.py"))
    monkeypatch.syspath_prepend(str(file.parent))
    assert load_module("undiffuse_test_features:means")(IMAGES).features.shape == (4, 2)


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("maens", "has no 'maens'; perhaps you meant 'means'"),
        ("nothing", r"nothing\(\) to return what turns images into features, got NoneType"),
        ("failing", r"failing\(\) failed: RuntimeError: no weights here"),
    ],
)
def test_a_wrong_factory_is_refused(file: Path, factory: str, said: str) -> None:
    with pytest.raises(UndiffuseError, match=said):
        load_module(f"{file}:{factory}")


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("bad_shape", r"features of the shape \(4, any\), floating, got torch.float32 \(4, 2, 3, 3\)"),
        ("bad_count", r"features of the shape \(4, any\), floating, got torch.float32 \(1, 18\)"),
        ("bad_features", r"features of the shape \(4, any\), floating, got NoneType"),
        ("bad_type", r"features, \(features, logits\) or Outputs, got str"),
        ("bad_call", r"failed on images of the shape \(4, 2, 3, 3\): RuntimeError"),
    ],
)
def test_what_is_no_matrix_of_features_is_refused(file: Path, factory: str, said: str) -> None:
    with pytest.raises(UndiffuseError, match=said):
        load_module(f"{file}:{factory}")(IMAGES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("mine", "expected `extractor=module:PACKAGE.MODULE:FACTORY`, got 'module:mine'"),
        (
            "no_such_package.inside:build",
            "a module 'no_such_package.inside' that Python finds, got none; name its file",
        ),
        ("nowhere/mine.py:build", "expected a Python file nowhere/mine.py, got no such file"),
        ("math:sqrt", "a module with a source file, got 'math'"),
    ],
)
def test_a_module_that_is_not_there_is_refused(words: str, said: str) -> None:
    with pytest.raises(UndiffuseError, match=said):
        load_module(words)


def test_a_module_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import package_that_nobody_has\n")
    with pytest.raises(UndiffuseError, match=r"importing .*broken.py failed: ModuleNotFoundError: .*nobody_has"):
        load_module(f"{path}:build")
