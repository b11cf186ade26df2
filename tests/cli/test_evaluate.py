from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse import __version__
from undiffuse.evaluation.quality.report import read_evaluations
from undiffuse.model import load

Command = Callable[..., Any]
QUICK = ("--extractor", "pixels", "--device", "cpu", "--steps", 3)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other pictures of the shape of `data`."""
    path = tmp_path_factory.mktemp("others") / "others.npy"
    np.save(path, np.random.default_rng(9).integers(0, 256, (30, 8, 8), np.uint8))
    return path


def test_a_run_is_measured_against_its_own_data(undiffuse: Command, run: Path) -> None:
    said = undiffuse("evaluate", run, "-n", 12, *QUICK, "--bits", 4)
    assert said.status == 0, said.err
    for words in ("N = 12 images", "the run's own training data", "FD (pixels)", "bits/dim", "EMA weights", "floor"):
        assert words in " ".join(said.out.split())
    assert max(map(len, said.out[: said.out.index("\n\n")].splitlines())) <= 100
    (found,) = read_evaluations(run)
    assert (run / "evaluation" / f"{found['file']}.svg").read_text().startswith("<svg")
    assert found["file"] == "step-6-squares-12-dpm++2m-sde-3-seed-0-pixels"


def test_the_file_holds_everything_that_the_figures_depend_on(undiffuse: Command, run: Path, data: Path) -> None:
    words = ("--sampler", "ddim", "--eta", 0.5, "--seed", 3, "--repeat", 2, "--bits", 4)
    assert undiffuse("evaluate", run, "--reference", data, "-n", 10, *QUICK, *words).status == 0
    (found,) = read_evaluations(run)
    model, subject, reference = load(run), found["subject"], found["reference"]
    assert found["n"] == 10
    assert found["undiffuse"] == __version__
    assert found["settings"] == {"seed": 3, "repeat": 2}
    assert subject["sha256"] == model.provenance["sha256"]
    assert (subject["step"], subject["weights"], subject["seed"], subject["device"]) == (
        6,
        model.provenance["weights"],
        3,
        "cpu",
    )
    assert (subject["sampler"], subject["steps"], subject["evaluations"], subject["eta"]) == ("ddim", 3, 3, 0.5)
    assert subject["settings"]["micro_batch"] == 16
    assert reference["fingerprint"] == model.info.fingerprint
    assert (reference["name"], reference["count"]) == ("squares.npy", 24)
    assert set(found["extractors"][0]) == {"name", "sha256", "resize", "standard"}
    assert found["likelihood"]["trained_on"] is True
    for figure in found["figures"]:
        assert math.isfinite(figure["value"])
        if figure["metric"] == "bits":
            assert "trained on these images" in figure["warning"]
            continue
        assert (figure["n"], figure["m"]) == (10, 24)
        assert (figure["floor"]["n"], figure["floor"]["m"]) == (10, 14)
        assert len(figure["seeds"]["values"]) == 2
        assert figure["seeds"]["values"][0] == figure["value"]


def test_the_same_command_gives_the_same_figures(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        words = ("-n", 12, *QUICK, "--bits", 0, "--out", tmp_path / f"{name}.json")
        assert undiffuse("evaluate", run, *words).status == 0
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
    assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text()


def test_the_reference_itself_is_perfect(undiffuse: Command, here: Path, data: Path) -> None:
    said = undiffuse("evaluate", data, "--reference", data, "--extractor", "pixels")
    assert said.status == 0, said.err
    assert "all of them" in said.out
    figures = {one["metric"]: one for one in json.loads((here / "evaluation-squares.json").read_text())["figures"]}
    assert figures["frechet"]["value"] == pytest.approx(0, abs=1e-9)
    assert figures["frechet"]["name"] == "FD"
    assert figures["precision"]["value"] == figures["recall"]["value"] == figures["coverage"]["value"] == 1
    assert "bits" not in figures


def test_bits_of_held_out_images_are_said_to_be_so(undiffuse: Command, run: Path, others: Path) -> None:
    said = undiffuse("evaluate", run, "-n", 10, *QUICK, "--held-out", others, "--bits", 5)
    assert said.status == 0, said.err
    assert "5 images of others.npy, which the model was not trained on" in " ".join(said.out.split())
    assert "may know them by heart" not in said.out


def test_nothing_is_overwritten_unless_told(undiffuse: Command, run: Path) -> None:
    words = ("evaluate", run, "-n", 10, *QUICK, "--bits", 0)
    assert undiffuse(*words).status == 0
    again = undiffuse(*words)
    assert again.status == 2
    assert "--overwrite" in again.err
    assert undiffuse(*words, "--overwrite").status == 0


def test_a_folder_of_samples_and_its_run_agree(undiffuse: Command, run: Path, data: Path, here: Path) -> None:
    assert undiffuse("sample", run, "-n", 12, "--steps", 3, "--device", "cpu", "--npz", "--out", "drawn").status == 0
    images = np.load("drawn/samples.npz")["images"]
    np.save("drawn.npy", images)
    words = ("--reference", data, "--extractor", "pixels")
    assert undiffuse("evaluate", "drawn.npy", *words, "--out", "given.json").status == 0
    assert undiffuse("evaluate", run, *words, "-n", 12, "--steps", 3, "--bits", 0, "--out", "run.json").status == 0
    given, drawn = (json.loads(Path(name).read_text())["figures"] for name in ("given.json", "run.json"))
    assert given == drawn


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--extractor", "pixel"), "perhaps you meant 'pixels'"),
        (("--reference", "nowhere"), "does not exist"),
        (("-n", 5), "at least 10 images to be measured, and there are 5"),
        (("-n", 0), "from 1 on"),
        (("--repeat", 0), "from 1 on"),
        (("--bits", "many"), "--bits cannot be 'many'"),
        (("--steps", 999), "999"),
        (("--weights", "0.5"), "no weights '0.5'"),
        (("--held-out", "nowhere"), "does not exist"),
        (("--sampler", "dimm"), "ddim"),
        (("--extractor", "inception", "--inception-weights", "nowhere.pth"), "nowhere.pth"),
        (("--out", "there.txt"), ".json"),
    ],
)
def test_mistakes_of_a_run_are_one_sentence_and_leave_no_file(
    undiffuse: Command, run: Path, here: Path, words: tuple[Any, ...], sentence: str
) -> None:
    usual = [pair for k in range(0, len(QUICK), 2) if (pair := QUICK[k : k + 2])[0] not in words]
    said = undiffuse("evaluate", run, *sum(usual, ()), *words)
    assert said.status == 2
    assert len(said.err.splitlines()) == 1
    assert sentence in said.err
    assert not (run / "evaluation").exists()
    assert os.listdir(here) == ["runs"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "--reference DATA"),
        (("--reference", "data", "--steps", 5), "--steps is for a model"),
        (("--reference", "data", "--held-out", "data"), "--held-out is for a model"),
        (("--reference", "data", "-n", 99), "24 images, not 99"),
        (("--reference", "data", "--repeat", 2), "give -n fewer"),
        (("--reference", "nan.npy"), "NaN"),
        (("--reference", "colour.npy"), "--channels"),
        (("--reference", "wide.npy"), "--size 8 8"),
        (("--reference", "few.npy"), "at least 10 images of the reference, and there are 4"),
        (("--reference", "broken.npy"), "broken.npy"),
    ],
)
def test_mistakes_with_images_are_one_sentence_and_leave_no_file(
    undiffuse: Command, data: Path, here: Path, words: tuple[Any, ...], sentence: str
) -> None:
    dice = np.random.default_rng(0)
    np.save("nan.npy", np.full((12, 8, 8), np.nan, np.float32))
    np.save("colour.npy", dice.integers(0, 256, (12, 8, 8, 3), np.uint8))
    np.save("wide.npy", dice.integers(0, 256, (12, 8, 16), np.uint8))
    np.save("few.npy", dice.integers(0, 256, (4, 8, 8), np.uint8))
    Path("broken.npy").write_bytes(b"\x93NUMPY and then nothing")
    before = sorted(os.listdir(here))
    said = undiffuse("evaluate", data, "--extractor", "pixels", *(data if word == "data" else word for word in words))
    assert said.status == 2
    assert len(said.err.splitlines()) == 1
    assert sentence in said.err
    assert sorted(os.listdir(here)) == before


def test_a_stop_while_drawing_leaves_no_file(undiffuse: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("undiffuse.model.plan.SamplePlan.draw", stop)
    assert undiffuse("evaluate", run, "-n", 10, *QUICK, "--bits", 0).status == 130
    assert not (run / "evaluation").exists()


def test_a_subject_that_is_not_there_is_said_before_anything_else(undiffuse: Command, here: Path) -> None:
    (here / "photos").mkdir()
    said = undiffuse("evaluate", "photo")
    assert said.status == 2
    assert "perhaps you meant 'photos'" in said.err


def test_a_run_without_its_data_asks_for_a_reference(undiffuse: Command, run: Path, data: Path) -> None:
    hidden = data.with_suffix(".hidden")
    data.rename(hidden)
    try:
        said = undiffuse("evaluate", run, *QUICK)
    finally:
        hidden.rename(data)
    assert said.status == 2
    assert "name one by --reference" in said.err


def test_a_broken_evaluation_is_left_out_with_a_warning(undiffuse: Command, run: Path) -> None:
    assert undiffuse("evaluate", run, "-n", 10, *QUICK, "--bits", 0).status == 0
    (run / "evaluation" / "other.json").write_text('{"kind": "memorisation"}')
    (run / "evaluation" / "torn.json").write_text('{"kind": "qual')
    with pytest.warns(UserWarning, match=r"torn\.json"):
        assert len(read_evaluations(run)) == 1
