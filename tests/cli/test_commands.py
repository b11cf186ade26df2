"""Every command does its work on a tiny run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from undiffuse.cli.train import run_to_resume
from undiffuse.config.files import read_config
from undiffuse.errors import UndiffuseError
from undiffuse.model import load
from undiffuse.provenance.png import read_metadata, write_png

Command = Callable[..., Any]
"""The fixture `undiffuse`: words to what came of them."""


def test_train_takes_what_was_typed_and_the_recipe_the_rest(finished: Path, data: Path) -> None:
    config = read_config(finished / "config.yaml")
    assert config.network.multipliers == (1, 2)
    assert config.network.attention_levels == ()
    assert config.network.middle_attention is False
    assert config.loop.steps == 6
    assert config.loop.minutes is None
    assert config.data.source == str(data)
    assert config.recipe == "small"


def test_a_training_goes_on_by_its_folder_and_by_its_name(undiffuse: Command, run: Path, data: Path) -> None:
    for path in sorted((run / "checkpoints").iterdir())[1:]:
        shutil.rmtree(path)
    said = undiffuse("train", "--resume", run, "--quiet")
    assert said.status == 0, said.err
    assert load(run).provenance["step"] == 6


def test_resume_understands_a_name_a_folder_and_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "checkpoints").mkdir(parents=True)
    assert run_to_resume("", {}) == {"resume": True}
    assert run_to_resume("demo", {}) == {"resume": True, "name": "demo"}
    assert run_to_resume("here", {}) == {"resume": True, "name": "here", "runs": Path()}
    assert run_to_resume("a/b", {}) == {"resume": True, "name": "b", "runs": Path("a")}
    assert run_to_resume(".", {})["name"] == tmp_path.name


def test_a_folder_of_the_data_is_not_taken_for_the_run_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "runs" / "photos" / "checkpoints").mkdir(parents=True)
    assert run_to_resume("photos", {}) == {"resume": True, "name": "photos"}
    (tmp_path / "photos" / "checkpoints").mkdir()
    with pytest.raises(
        UndiffuseError, match=r"a run here and in runs: say which by --resume ./photos or .*runs/photos"
    ):
        run_to_resume("photos", {})
    assert run_to_resume("./photos", {}) == {"resume": True, "name": "photos", "runs": Path()}
    monkeypatch.chdir(tmp_path / "runs")
    assert run_to_resume("photos", {"runs": Path()}) == {"resume": True, "name": "photos", "runs": Path()}


def test_sample_writes_what_the_python_function_draws(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    said = undiffuse("sample", run, "-n", 3, "--seed", 4, "--steps", 3, "--npz", "--out", tmp_path / "out")
    assert said.status == 0, said.err
    drawn = load(run).sample(3, seed=4, steps=3).array
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png", "grid.png", "samples.npz"]
    for index in range(3):
        with Image.open(tmp_path / "out" / f"{index:05d}.png") as image:
            assert np.array_equal(np.asarray(image), drawn[index, 0])
    with np.load(tmp_path / "out" / "samples.npz") as values:
        assert np.array_equal(values["images"], drawn)


def test_sample_goes_to_the_run_by_default_and_refuses_to_overwrite(undiffuse: Command, run: Path) -> None:
    words = ["sample", run, "-n", 1, "--steps", 2]
    assert undiffuse(*words).status == 0
    place = run / "pictures" / "dpm++2m-sde-2-seed-0"
    assert (place / "grid.png").exists()
    said = undiffuse(*words)
    assert said.status == 2
    assert "exists already" in said.err
    assert undiffuse(*words, "--overwrite").status == 0


@pytest.mark.parametrize("name", ["00001.png", "00002.png", "grid.png"])
def test_a_picture_is_made_again_identically(undiffuse: Command, run: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / "out"
    undiffuse("sample", run, "-n", 2, "--first", 1, "--sampler", "ddpm", "--steps", 3, "--out", place)
    said = undiffuse("sample", "--from", place / name, "--out", tmp_path / "again")
    assert said.status == 0, said.err
    assert "identical, every one of" in said.out
    assert (tmp_path / "again" / name).read_bytes() == (place / name).read_bytes()


def test_a_picture_that_was_painted_over_is_not_identical(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "00000.png"
    undiffuse("sample", run, "-n", 1, "--steps", 2, "--out", tmp_path)
    with Image.open(path) as image:
        pixels = np.asarray(image).copy()
    pixels[0, 0] ^= 0x40
    write_png(path, Image.fromarray(pixels), read_metadata(path).origin, overwrite=True)
    said = undiffuse("sample", "--from", path)
    assert "not identical, 1 of 64 values differ, by at most 64" in said.out
    write_png(path, Image.new("L", (9, 8)), read_metadata(path).origin, overwrite=True)
    said = undiffuse("sample", "--from", path)
    assert said.status == 2
    assert "9 x 8 pixels" in said.err


def test_other_weights_in_the_same_place_are_noticed(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    undiffuse("sample", run, "-n", 1, "--steps", 2, "--out", tmp_path / "out")
    picture = tmp_path / "out" / "00000.png"
    said = undiffuse("sample", run / "checkpoints" / "step-00000003", "--from", picture)
    assert said.status == 2
    assert "was made by other weights" in said.err
    moved = run.rename(tmp_path / "moved")
    said = undiffuse("sample", "--from", picture)
    assert said.status == 2
    assert "which is not there" in said.err
    assert "identical" in undiffuse("sample", moved, "--from", picture).out


def test_a_picture_without_our_text_cannot_be_made_again(undiffuse: Command, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    for words in (["sample", "--from", tmp_path / "a.png"], ["info", tmp_path / "a.png"]):
        said = undiffuse(*words)
        assert said.status == 2
        assert "does not say how it was made" in said.err


def test_info_tells_of_pictures_runs_and_checkpoints(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    undiffuse("sample", run, "-n", 1, "--steps", 2, "--out", tmp_path / "out")
    said = undiffuse("info", tmp_path / "out" / "00000.png")
    assert "Steps: 2, Sampler: dpm++2m-sde, Seed: 0, Index: 0, Size: 8x8, Model: tiny" in said.out
    for place in (run, run / "checkpoints" / "step-00000006"):
        found = json.loads(undiffuse("info", place, "--json").out)
        assert found["step"] == 6
        assert found["settings"]["network"]["base"] == 8
        assert found["data"]["shape"] == [1, 8, 8]
    assert "\nparameters" in undiffuse("info", run).out


def test_info_tells_of_samples_and_refuses_what_says_nothing(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    undiffuse("sample", run, "-n", 1, "--steps", 2, "--out", tmp_path / "out", "--npz")
    assert json.loads(undiffuse("info", tmp_path / "out/samples.npz", "--json").out)["made by"]["sample"]["steps"] == 2
    (tmp_path / "notes.txt").write_text("mine")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    for name, words in {
        "notes.txt": "none of what info takes",
        "none.pt": "is not there",
        "other.pt": "OpenAI",
    }.items():
        said = undiffuse("info", tmp_path / name)
        assert said.status == 2
        assert words in said.err


def test_data_describes_and_draws_a_contact_sheet(undiffuse: Command, data: Path, tmp_path: Path) -> None:
    said = undiffuse("data", data, "--out", tmp_path / "sheet.png")
    assert said.status == 0, said.err
    assert "24 images" in said.out
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width > 64


def test_data_says_so_where_its_default_sheet_is_there(
    undiffuse: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert undiffuse("data", data).status == 0
    sheet = tmp_path / "squares.npy-contact.png"
    before = sheet.read_bytes()
    said = undiffuse("data", data, "--size", 4)
    assert said.status == 0
    assert "is there already and stays" in said.out
    assert sheet.read_bytes() == before


def test_animate_forward_takes_a_picture_and_a_data_set(undiffuse: Command, data: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 400, 3), np.uint8)).save(photo)
    for source, name in ((photo, "a.webp"), (data, "b.gif")):
        said = undiffuse("animate", "forward", source, "--frames", 4, "--out", tmp_path / name)
        assert said.status == 0, said.err
        with Image.open(tmp_path / name) as film:
            assert film.n_frames == 4
        assert (tmp_path / name).with_suffix(".png").exists()


def test_animate_reverse_ends_in_the_samples(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    said = undiffuse("animate", "reverse", run, "-n", 4, "--steps", 4, "--frames", 3, "--out", tmp_path / "a.gif")
    assert said.status == 0, said.err
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 3


def test_animate_brownian_is_the_same_for_the_same_seed(undiffuse: Command, tmp_path: Path) -> None:
    for name in "ab":
        words = ["--particles", 50, "--frames", 3, "--seed", 3, "--theta", 1, "--out", tmp_path / f"{name}.webp"]
        assert undiffuse("animate", "brownian", *words).status == 0
    assert (tmp_path / "a.webp").read_bytes() == (tmp_path / "b.webp").read_bytes()


def test_recipes_and_samplers_are_listed(undiffuse: Command) -> None:
    from undiffuse.diffusion.samplers import SAMPLERS
    from undiffuse.recipes import RECIPES

    recipes, samplers = undiffuse("recipes").out, undiffuse("samplers").out
    assert all(name in recipes for name in RECIPES)
    assert all(f"\n{name} " in f"\n{samplers}" for name in SAMPLERS)


def test_doctor_tells_of_versions_and_devices(undiffuse: Command) -> None:
    said = undiffuse("doctor").out
    assert all(word in said for word in ("undiffuse", "torch", "numpy", "pillow", "cpu", "cuda", "mps", "memory", "av"))
    lines = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert lines["threads"].startswith(f"{torch.get_num_threads()}: ")
    assert "this process may run on" in lines["threads"]
    assert "waiting" in lines


@pytest.mark.parametrize(("times", "words"), [(0.65, ", bfloat16 ("), (25.9, ", no bfloat16 (")])
def test_doctor_says_whether_this_cpu_computes_in_bfloat16(
    undiffuse: Command, monkeypatch: pytest.MonkeyPatch, times: float, words: str
) -> None:
    monkeypatch.setattr("undiffuse.runtime.precision.times_as_long", lambda: times)
    (cpu,) = (line for line in undiffuse("doctor").out.splitlines() if line.startswith("cpu "))
    assert words in cpu
    assert f"takes {times:.2g} times as long" in cpu


def test_samples_in_bfloat16_are_made_again_and_cannot_be_continued_in_float32(
    undiffuse: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("undiffuse.runtime.precision.times_as_long", lambda: 0.6)
    words = ["sample", run, "-n", 2, "--steps", 2, "--micro-batch", 2, "--device", "cpu", "--out", tmp_path / "out"]
    assert undiffuse(*words, "--precision", "bfloat16").status == 0
    drawn = load(run).sample(2, steps=2, micro_batch=2, precision="bfloat16").array
    with Image.open(tmp_path / "out" / "00001.png") as image:
        assert np.array_equal(np.asarray(image), drawn[1, 0])
    assert "identical" in undiffuse("sample", "--from", tmp_path / "out" / "00001.png").out
    said = undiffuse(*words, "--resume")
    assert said.status == 2
    assert "with precision bfloat16, not float32" in said.err


def test_a_format_that_is_none_is_one_sentence(undiffuse: Command, run: Path) -> None:
    for words in (["sample", run], ["bench", run], ["animate", "reverse", run]):
        said = undiffuse(*words, "--precision", "bf16")
        assert said.status == 2
        assert said.err.count("\n") == 1
        assert "perhaps you meant 'bfloat16'" in said.err


def test_training_in_bfloat16_says_where_a_cpu_is_slow_at_it(
    undiffuse: Command, data: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("undiffuse.runtime.precision.times_as_long", lambda: 26.4)
    words = ["train", data, "--runs", tmp_path, *tiny]
    assert undiffuse(*words, "--name", "low", "--precision", "bfloat16").status == 0
    assert undiffuse(*words, "--name", "auto").status == 0
    logs = [(tmp_path / name / "train.log").read_text() for name in ("low", "auto")]
    assert [log.count("warning: in bfloat16 a convolution takes 26 times as long") for log in logs] == [1, 0]


def test_values_that_a_png_cannot_hold_go_to_an_npz(undiffuse: Command, tmp_path: Path, tiny: list[str]) -> None:
    np.save(tmp_path / "waves.npy", np.random.default_rng(0).normal(size=(12, 1, 8, 8)).astype(np.float32))
    assert undiffuse("train", tmp_path / "waves.npy", "--runs", tmp_path, "--name", "waves", *tiny).status == 0
    said = undiffuse("sample", tmp_path / "waves", "-n", 2, "--steps", 2, "--out", tmp_path / "out")
    assert "the values are in samples.npz" in said.out
    with np.load(tmp_path / "out" / "samples.npz") as values:
        assert values["images"].dtype == np.float32
