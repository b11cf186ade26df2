"""The command finds copies among samples, writes pairs and numbers, and refuses in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Callable[..., Any]
PIXELS = ("--extractor", "none", "--device", "cpu")


def squares(count: int, seed: int) -> np.ndarray:
    """As the fixture `data`, but with squares of any size and brightness, so that no two are alike."""
    dice = np.random.default_rng(seed)
    images = dice.integers(0, 60, (count, 8, 8)).astype(np.uint8)
    for image in images:
        (top, left), (height, width) = dice.integers(0, 4, 2), dice.integers(2, 5, 2)
        image[top : top + height, left : left + width] += dice.integers(80, 190, dtype=np.uint8)
    return images


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, Path]:
    """Training, held-out and drawn images; three of the drawn ones are copies."""
    training, held_out, drawn = squares(80, 0), squares(40, 1), squares(30, 2)
    drawn[[4, 9, 17]] = training[[50, 3, 8]]
    paths = {}
    for name, images in (("training", training), ("held_out", held_out), ("drawn", drawn)):
        paths[name] = tmp_path / f"{name}.npy"
        np.save(paths[name], images)
    return paths


def test_copies_among_given_images_are_found(undiffuse: Command, sets: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "pairs.html"
    words = ("memorization", sets["drawn"], "--training", sets["training"], "--held-out", sets["held_out"], *PIXELS)
    said = undiffuse(*words, "--out", out)
    assert said.status == 0, said.err
    assert "Verdict: 3 of 30 samples are copies of training images, the others are not." in said.out
    assert "3 samples equal training images exactly: number 4, 9, 17." in said.out
    assert "held-out images of held_out.npy" in said.out
    page, found = out.read_text(), json.loads(out.with_suffix(".json").read_text())
    assert page.count("exact duplicate</figcaption>") == 3
    assert found["copies"] == [4, 9, 17]
    assert found["exact"] == [{"sample": s, "training": [t]} for s, t in ((4, 50), (9, 3), (17, 8))]
    assert found["samples"]["name"] == "drawn.npy"
    again = undiffuse(*words, "--out", out)
    assert again.status == 2
    assert "exists already" in again.err


def test_without_a_file_only_sentences_come(undiffuse: Command, sets: dict[str, Path]) -> None:
    before = set(sets["drawn"].parent.iterdir())
    said = undiffuse("memorization", sets["held_out"], "--training", sets["training"], *PIXELS)
    assert said.status == 0, said.err
    assert "There are no held-out images, so the yardstick is" in said.out
    assert "Verdict: No sign of memorisation" in said.out
    assert set(sets["drawn"].parent.iterdir()) == before


def test_a_run_is_judged_against_its_own_data(undiffuse: Command, run: Path) -> None:
    said = undiffuse("memorisation", run, "-n", 9, *PIXELS)  # the old spelling is an alias
    assert said.status == 0, said.err
    assert "9 samples of tiny, seed 0, dpm++2m-sde in 20 steps, beside 24 training images of squares.npy" in said.out
    found = json.loads((run / "memorization" / "squares.json").read_text())
    assert found["samples"]["seed"] == 0
    assert found["samples"]["weights"] == "0.999"
    assert found["samples"]["settings"]["sampler"] == "dpm++2m-sde"
    assert found["training"]["fingerprint"] == found["samples"]["trained_on"]
    assert found["spaces"][0]["neighbours"] == 10
    assert (run / "memorization" / "squares.html").is_file()


def test_how_a_run_draws_can_be_said_as_elsewhere(undiffuse: Command, run: Path, sets: dict[str, Path]) -> None:
    said = undiffuse("memorization", run, "-n", 9, *PIXELS, "--sampler", "ddim", "--steps", 1, "--weights", "raw")
    assert said.status == 0, said.err
    assert "9 samples of tiny, seed 0, ddim in 1 step, beside 24 training images of squares.npy" in said.out
    drawn = json.loads((run / "memorization" / "squares.json").read_text())["samples"]
    assert (drawn["settings"]["sampler"], drawn["settings"]["steps"], drawn["weights"]) == ("ddim", 1, "raw")
    said = undiffuse("memorization", run, "-n", 9, *PIXELS, "--steps", 61)
    assert said.status == 2
    assert "60 timesteps and --steps asks for 61" in said.err
    for words in (("--steps", 5), ("--class", "cat"), ("--weights", "raw")):
        said = undiffuse("memorization", sets["drawn"], "--training", sets["training"], *PIXELS, *words)
        assert said.status == 2
        assert f"{words[0]} is for a model" in said.err


def test_features_stand_beside_pixels(
    undiffuse: Command, sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("def make():\n    return lambda x: x.flatten(2).sort(2).values.flatten(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("memorization", sets["drawn"], "--training", sets["training"], "--device", "cpu")
    said = undiffuse(*words, "--extractor", "module:mine:make", "--out", tmp_path / "x.json")
    assert said.status == 0, said.err
    spaces = json.loads((tmp_path / "x.json").read_text())["spaces"]
    assert [space["extractor"]["name"] for space in spaces] == ["pixels", "module:mine:make"]
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "give --training DATA"),
        (("--training", "nowhere.npy"), "nowhere.npy"),
        (("--training", "{training}", "--extractor", "pixel"), "perhaps you meant 'pixels'"),
        (("--training", "{training}", "-n", 31), "has 30 images, not 31"),
        (("--training", "{training}", "-n", 7), "at least 8 samples, and there are 7"),
        (("--training", "{training}", "--out", "pairs.pdf"), "--out should end in .html or .json"),
        (("--training", "{training}", "--held-out", "{training}"), "of the 80 of 'training.npy' 80 are"),
        (("--training", "{training}", "--channels", "rgb", "--neighbours", 1), "--neighbors cannot be '1'"),
    ],
)
def test_mistakes_are_one_sentence(
    undiffuse: Command, sets: dict[str, Path], words: tuple[Any, ...], sentence: str
) -> None:
    said = undiffuse("memorization", sets["drawn"], *(str(word).format(**sets) for word in words), "--device", "cpu")
    assert said.status == 2
    assert sentence in said.err.splitlines()[-1]


def test_a_subject_that_is_not_there_is_said_not_to_be(undiffuse: Command, run: Path) -> None:
    """It was 'no model, so it does not say what it learned from'."""
    said = undiffuse("memorization", run.with_name("tiyn"), *PIXELS)
    assert said.status == 2
    assert "which does not exist; perhaps you meant 'tiny'" in said.err


def test_data_that_changed_since_the_training_are_refused(undiffuse: Command, run: Path, data: Path) -> None:
    kept = data.read_bytes()
    np.save(data, squares(24, 7))
    try:
        said = undiffuse("memorization", run, "-n", 9, *PIXELS)
    finally:
        data.write_bytes(kept)
    assert said.status == 2
    assert "name those by --training" in said.err
