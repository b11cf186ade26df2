from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from undiffuse.cli import main
from undiffuse.config.data import DataConfig
from undiffuse.config.files import read_config
from undiffuse.data.dataset import Dataset
from undiffuse.data.preparation import named
from undiffuse.data.preparation.named import typed_source
from undiffuse.training.api import train
from undiffuse.training.run.folder import RunFolder

Open = Callable[..., Dataset]
TINY = {"steps": 1, "base": 8, "multipliers": (1,), "blocks": 1, "attention_levels": (), "middle_attention": False}


@pytest.fixture
def own_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a folder called digits, of 20 images of two classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    named._say.cache_clear()
    values = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    for number, image in enumerate(values):
        file = tmp_path / "digits" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return tmp_path / "digits"


def test_a_folder_called_digits_is_looked_at_and_a_line_says_so(
    own_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "digits"]) == 0
    said = capsys.readouterr()
    assert "digits: 20 images" in said.out
    assert "digits is the folder ./digits here" in said.err
    assert "builtin:digits" in said.err


def test_the_built_in_digits_have_a_name_that_no_folder_can_take(
    own_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "builtin:digits", "--out", "sheet.png"]) == 0
    assert "digits: 5,000 images" in capsys.readouterr().out


def test_of_an_empty_folder_and_of_a_run_called_digits_the_built_in_data_are_meant(own_digits: Path) -> None:
    assert typed_source("digits", quiet=True) == "./digits"
    (own_digits / "checkpoints").mkdir()
    assert typed_source("digits", quiet=True) == "digits"
    shutil.rmtree(own_digits)
    assert typed_source("digits") == "digits"
    own_digits.mkdir()
    assert typed_source("digits") == "digits"


def test_in_a_runs_settings_digits_stay_the_built_in_set_whatever_lies_beside(own_digits: Path, opened: Open) -> None:
    assert opened("digits").info.count == 5000
    assert DataConfig(source="digits").of_others("digits").source == "digits"


def test_a_training_on_ones_own_digits_says_which_in_its_settings(own_digits: Path) -> None:
    train("digits", quiet=True, name="own", batch=2, sample_every=0, **TINY)
    assert read_config(RunFolder(Path("runs/own")).config).data.source == "./digits"
    train("builtin:digits", quiet=True, name="theirs", batch=2, sample_every=0, recipe="small", **TINY)
    assert read_config(RunFolder(Path("runs/theirs")).config).data.source == "digits"
