"""What commands say of a stage of a cascade, which draws nothing by itself, and of a cascade."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from undiffuse.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data: Path, tiny: list[str]) -> Path:
    """A base of 4 x 4, a stage from there to 8 x 8 whose name has a space, and the cascade of both."""
    runs = tmp_path_factory.mktemp("staged")
    same = ["train", str(data), "--runs", str(runs), *tiny, "--sample-every", "0"]
    assert main([*same, "--name", "base", "--size", "4", "--multipliers", "1"]) == 0
    assert main([*same, "--name", "a stage", "--upscale", "2"]) == 0
    assert (
        main(["cascade", "make", str(runs / "base"), str(runs / "a stage"), "--name", "both", "--runs", str(runs)]) == 0
    )
    return runs


@pytest.mark.parametrize("name", ["a stage", "both"])
@pytest.mark.parametrize("command", ["likelihood", "anomaly", "timesteps", "bench", "train-classifier"])
def test_what_is_of_a_model_that_draws_from_noise_is_refused_at_once(
    undiffuse, runs: Path, data: Path, command: str, name: str
) -> None:
    run = runs / name
    words = {
        "likelihood": ["likelihood", run, data],
        "anomaly": ["anomaly", run, data],
        "timesteps": ["timesteps", run, "--evaluations", "2"],
        "bench": ["bench", run],
        "train-classifier": ["train-classifier", data, "--run", run],
    }[command]
    said = undiffuse(*words)
    assert said.status == 2
    assert "this one enlarges small images" in said.err
    assert "name the first model of the cascade" in said.err


def test_a_report_of_a_cascade_is_of_its_runs(undiffuse, runs: Path) -> None:
    said = undiffuse("report", runs / "both")
    assert said.status == 2
    assert "is a cascade of several: report the runs that it was made of" in said.err


def test_a_stage_is_pushed_without_samples_and_its_card_says_what_it_does(
    undiffuse, runs: Path, tmp_path: Path
) -> None:
    words = ["push", runs / "a stage", "org/stage", "--dry-run", "--out", tmp_path / "hub"]
    said = undiffuse(*words)
    assert said.status == 2
    assert "A stage of a cascade draws nothing by itself" in said.err
    assert "-n 0" in said.err
    assert not (tmp_path / "hub").exists()
    said = undiffuse(*words, "-n", 0)
    assert said.status == 0, said.err
    card = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    assert "undiffuse edit upscale org/stage small.png" in card
    assert ".sample(" not in card


def test_a_stage_beside_another_run_is_named(undiffuse, runs: Path) -> None:
    said = undiffuse("compare", runs / "base", runs / "a stage")
    assert said.status == 2
    assert f"{runs / 'a stage'} is a stage of a cascade, which draws nothing by itself" in said.err
    assert f"undiffuse report '{runs / 'a stage'}'" in said.err


def test_nobody_is_told_to_sample_from_a_stage(undiffuse, runs: Path, tiny: list[str], data: Path) -> None:
    stage, quiet = runs / "a stage", tiny.index("--quiet")
    loud = tiny[:quiet] + tiny[quiet + 1 :]
    said = undiffuse("train", data, "--runs", runs, *loud, "--sample-every", 0, "--upscale", 2, "--name", "b stage")
    assert f"undiffuse edit upscale '{runs / 'b stage'}' small.png" in said.err
    assert "undiffuse sample" not in said.err
    assert undiffuse("report", stage).status == 0
    assert "undiffuse sample" not in (stage / "report.html").read_text(encoding="utf-8")
    said = undiffuse("convert", stage, runs / "stage.safetensors", "--to", "file")
    assert "undiffuse edit upscale" in said.out


def test_a_command_that_is_advised_can_be_typed_whatever_the_run_is_called(
    undiffuse, run: Path, data: Path, tiny: list[str]
) -> None:
    runs, quiet = run.parent, tiny.index("--quiet")
    loud = tiny[:quiet] + tiny[quiet + 1 :]
    name = 'it\'s "mine" $HOME'
    said = undiffuse("train", data, "--runs", runs, *loud, "--sample-every", 0, "--name", name)
    advice = said.err.strip().splitlines()[-1].partition("draw from it with: ")[2]
    assert shlex.split(advice)[:3] == ["undiffuse", "sample", str(runs / name)]
    again = undiffuse("train", data, "--runs", runs, *loud, "--name", name).err
    assert shlex.split(again.partition("by --resume ")[2].partition(", or choose")[0]) == [str(runs / name)]
    card = (runs / name / "README.md").read_text(encoding="utf-8")
    typed = next(line for line in card.splitlines() if line.startswith("undiffuse sample"))
    assert shlex.split(typed)[2] == str(runs / name)


def test_a_run_without_a_whole_checkpoint_does_not_advise_what_cannot_work(undiffuse, run: Path) -> None:
    for file in (run / "checkpoints").glob("*/model.safetensors"):
        file.write_bytes(b"torn")
    said = undiffuse("sample", run, "-n", 1)
    assert said.status == 2
    assert "holds no whole checkpoint: bring a copy of one back, or train anew" in said.err
    assert "--resume" not in said.err
    assert "an earlier checkpoint is used" not in said.err


def test_settings_that_were_edited_in_the_file_are_said_to_have_no_effect(
    undiffuse, run: Path, tiny: list[str]
) -> None:
    assert "is not what is trained by" not in undiffuse("train", "--resume", run).err
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("base: 8", "base: 16"))
    said = undiffuse("train", "--resume", run)
    assert said.status == 0
    assert "says otherwise of base than the checkpoint" in said.err
    config.write_text("base: [")
    assert "the settings of the checkpoint hold" in undiffuse("train", "--resume", run).err


def test_a_dry_run_of_a_push_is_followed_by_a_push(undiffuse, run: Path) -> None:
    pytest.importorskip("huggingface_hub")
    words = ["push", run, "me/it", "--dry-run", "-n", 1]
    said = undiffuse(*words)
    assert said.status == 0
    assert "put --overwrite in the place of --dry-run" in said.out
    assert undiffuse(*words, "--overwrite").status == 0


def test_a_file_of_another_program_is_no_damaged_one(undiffuse, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a")
    said = undiffuse("sample", tmp_path / "m.onnx", "-n", 1)
    assert "A model's file ends in .safetensors" in said.err


def test_a_classifier_that_is_taken_for_a_model_is_said_to_be_one(undiffuse, run: Path) -> None:
    newest = max((run / "checkpoints").iterdir())
    config = newest / "config.json"
    tree = json.loads(config.read_text())
    tree["config"]["recipe"] = "noisy-classifier"
    text = json.dumps(tree)
    manifest = newest / "manifest.json"
    entries = json.loads(manifest.read_text())
    from undiffuse.checkpoints.training_checkpoint import _fingerprint

    config.write_text(text)
    entries["config.json"] = _fingerprint(text.encode())
    manifest.write_text(json.dumps(entries))
    said = undiffuse("info", run)
    assert said.status == 2
    assert "is of a classifier and makes no images" in said.err


def test_an_edited_picture_is_made_again_by_its_command(undiffuse, run: Path) -> None:
    drawn, edited = run.parent / "drawn", run.parent / "edited"
    assert undiffuse("sample", run, "-n", 1, "--steps", 1, "--out", drawn).status == 0
    vary = ["edit", "vary", run, drawn / "00000.png", "--strength", 0.5, "--steps", 2, "--out", edited]
    assert undiffuse(*vary).status == 0
    said = undiffuse("sample", "--from", next(edited.glob("*.png")))
    assert said.status == 2
    assert "was made by an edit, and not drawn: it is made again by undiffuse edit vary" in said.err
    assert "is a folder: name a picture in it" in undiffuse("sample", "--from", edited).err


def test_a_report_needs_no_environment(undiffuse, run: Path) -> None:
    (run / "env.json").unlink()
    assert undiffuse("report", run).status == 0


def test_learned_times_that_are_damaged_say_what_makes_them_anew(undiffuse, run: Path) -> None:
    (run / "timesteps-4.json").write_text('{"format": 1, "times": []}')
    said = undiffuse("sample", run, "-n", 1, "--steps", 4, "--spacing", "learned")
    assert said.status == 2
    assert "--evaluations 4 --overwrite" in said.err
