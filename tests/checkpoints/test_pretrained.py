"""The model in the package draws digits at once: no training, no data, no network."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path, PurePath

import numpy as np
import pytest

from undiffuse.checkpoints.model_file import read
from undiffuse.checkpoints.pretrained import FOLDER, names, shipped
from undiffuse.cli import main
from undiffuse.errors import UndiffuseError
from undiffuse.export.shipped import LIMIT
from undiffuse.model import Model, load
from undiffuse.provenance.png import read_metadata


@pytest.fixture(scope="module")
def digits() -> Model:
    return load("digits")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", names())
def test_a_model_that_ships_is_small_and_says_nothing_of_its_makers_disk(name: str) -> None:
    path = FOLDER / f"{name}.safetensors"
    assert path.stat().st_size <= LIMIT
    assert PurePath(read(path).config.data.source).name == read(path).config.data.source


def test_models_are_part_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["undiffuse"]
    for file in [*FOLDER.glob("*.safetensors"), FOLDER / "README.md"]:
        assert any(PurePath("checkpoints", "pretrained", file.name).match(pattern) for pattern in patterns)


def test_digits_draws_what_was_asked_for(digits: Model) -> None:
    """A one takes little ink and a zero much; in the data it is 19 and 44 of 255 on average."""
    one, zero = (digits.sample(8, seed=1, steps=10, classes=(word,)).array.mean() for word in ("one", "zero"))
    assert 10 < one < 28 < 34 < zero < 56


def test_the_fast_digits_need_no_word_and_draw_what_was_asked_for() -> None:
    fast = load("digits-fast")
    for steps in (None, 1, 2):
        asked = {} if steps is None else {"steps": steps}
        one, zero = (fast.sample(16, seed=1, classes=(word,), **asked) for word in ("one", "zero"))
        assert one.evaluations == (steps or 4)
        assert 8 < one.array.mean() < 32 < zero.array.mean() < 60
    assert fast.config.distillation.first_teacher == "builtin:digits"
    stronger = fast.sample(4, seed=1, guidance=3, classes=("two",)).array
    assert not np.array_equal(stronger, fast.sample(4, seed=1, classes=("two",)).array), "guidance is a choice"
    with pytest.raises(UndiffuseError, match=r"ask its teacher, builtin:digits"):
        fast.sample(1, sampler="dpm++2m")


def test_digits_is_called_so_on_every_machine(digits: Model) -> None:
    assert digits.provenance["checkpoint"] == "digits"
    assert digits.home == Path()
    assert digits.info.classes == tuple("0123456789")


def test_the_command_draws_into_the_working_directory_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    place = Path("pictures/dpm++2m-sde-2-seed-0-seven")
    assert main(["sample", "digits", "-n", "2", "--steps", "2", "--class", "seven"]) == 0
    assert str(place) in capsys.readouterr().out
    assert read_metadata(place / "00001.png").origin.checkpoint == "digits"
    assert main(["sample", "--from", str(place / "00001.png")]) == 0
    assert "identical" in capsys.readouterr().out


def test_info_tells_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "digits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["data"]["count"] == 5000
    assert found["settings"]["recipe"] == "digits"


def test_what_needs_a_run_is_not_done_with_a_model_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "digits"]) == 2
    assert "digits is a model alone" in capsys.readouterr().err


def test_a_run_of_that_name_goes_first_and_a_folder_of_images_does_not() -> None:
    Path("digits").mkdir()
    assert shipped("digits") == FOLDER / "digits.safetensors"
    Path("digits/checkpoints").mkdir()
    assert shipped("digits") is None
    with (
        pytest.warns(UserWarning, match="the run ./digits here"),
        pytest.raises(UndiffuseError, match="holds no whole checkpoint yet"),
    ):
        load("digits")


def test_a_name_that_does_not_ship_is_told_those_that_do() -> None:
    assert shipped("runs/digits") is None
    with pytest.raises(UndiffuseError, match=r"letters is not there.*comes with undiffuse \(digits, digits-fast\)"):
        load("letters")
