"""A model is a subject of every command that takes one, whatever it lies in: docs/use/interop.md promises it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from undiffuse.checkpoints import cascade_folder
from undiffuse.checkpoints.find import is_model
from undiffuse.checkpoints.saved_model import SavedModel, unknown_data
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError
from undiffuse.export import convert
from undiffuse.model import Model, build_model, load

Command = Callable[..., Any]
SMALL = {"base": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (), "norm_groups": 4, "timesteps": 24}


def tiny(side: int = 8, **settings: Any) -> Model:
    torch.manual_seed(0)
    config = override(TrainConfig(), **{**SMALL, **settings})
    model = build_model(config, unknown_data("birds", (1, side, side)))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return replace(model, provenance={"weights": "raw", "step": 3})


KINDS = ("file", "average", "folder with a file", "diffusers", "hub", "cascade")


@pytest.fixture
def subject(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model of the kind, in the working directory, by the name that is typed."""
    monkeypatch.chdir(tmp_path)
    kind = request.param
    if kind == "hub":
        cached = tmp_path / "cache" / "0123456789abcdef0123456789abcdef01234567"
        cached.mkdir(parents=True)
        convert(tiny(), cached / "model.safetensors", "file")
        monkeypatch.setattr("undiffuse.checkpoints.find.fetch", lambda name: cached)
        return "somebody/birds"
    if kind == "diffusers":
        convert(tiny(), tmp_path / "theirs", "diffusers")
        return "theirs"
    if kind == "cascade":
        parts = [tiny(4, multipliers=(1,)), tiny(upscale=2)]
        files = [SavedModel.of(m.config, m.info, m.network.state_dict(), 3, "raw") for m in parts]
        cascade_folder.write(tmp_path / "upon", [("base", files[0]), ("up", files[1])])
        return "upon"
    name = {"file": "m.safetensors", "average": "averages/std-0.1.safetensors", "folder with a file": "f"}[kind]
    file = Path(name) if name != "f" else Path("f/model.safetensors")
    file.parent.mkdir(exist_ok=True)
    convert(tiny(), file, "file")
    return name


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    np.save(tmp_path / "birds.npy", np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8))
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "one.png")
    return tmp_path / "birds.npy"


QUICK = ("--device", "cpu")
COMMANDS: dict[str, tuple[object, ...]] = {
    "evaluate": ("--reference", "birds.npy", "--extractor", "pixels", "-n", 10, "--steps", 2, "--bits", 2, *QUICK),
    "memorization": ("--training", "birds.npy", "--extractor", "none", "-n", 10, *QUICK),
    "sample": ("-n", 2, "--steps", 2, *QUICK),
    "likelihood": ("birds.npy", "--limit", 2, "--method", "bound", *QUICK),
    "anomaly": ("birds.npy", "--limit", 9, "--timesteps", 2, "--draws", 1, "--pictures", 0, *QUICK),
    "timesteps": ("--evaluations", 2, "--candidates", 5, "--limit", 2, *QUICK),
    "animate reverse": ("-n", 2, "--steps", 2, *QUICK),
    "edit vary": ("one.png", "--steps", 2, *QUICK),
    "info": (),
    "convert": ("out.safetensors", "--to", "file"),
    "push": ("me/birds", "--dry-run", "-n", 1, *QUICK),
}
CASES = [("file", command) for command in COMMANDS]
CASES += [(kind, command) for kind in KINDS[1:] for command in ("evaluate", "memorization")]


@pytest.mark.parametrize(("subject", "command"), CASES, indirect=["subject"])
@pytest.mark.usefixtures("pictures")
def test_a_command_takes_a_model_of_every_kind(undiffuse: Command, subject: str, command: str) -> None:
    assert is_model(subject)
    said = undiffuse(*command.split(), subject, *COMMANDS[command])
    assert said.status == 0, said.err
    if command == "evaluate":
        assert "images drawn by" in said.out
    if command == "memorization":
        assert "10 samples of" in said.out


@pytest.mark.parametrize("subject", ["file"], indirect=True)
@pytest.mark.usefixtures("pictures")
def test_what_was_measured_of_a_file_stands_under_its_name_in_the_working_directory(
    undiffuse: Command, subject: str
) -> None:
    words = ("--reference", "birds.npy", "--extractor", "pixels", "-n", 10, "--steps", 2, "--bits", 0, *QUICK)
    assert undiffuse("evaluate", subject, *words).status == 0
    (file,) = Path().glob("*.json")
    assert file.name == "evaluation-m-step-3-birds-10-dpm++2m-sde-2-seed-0-pixels.json"
    found = json.loads(file.read_text())["subject"]
    assert (found["kind"], found["name"], found["step"], found["weights"]) == ("run", "m.safetensors", 3, "raw")


@pytest.mark.parametrize("subject", ["diffusers"], indirect=True)
@pytest.mark.parametrize(("command", "flag"), [("evaluate", "--reference"), ("memorization", "--training")])
def test_a_model_that_does_not_know_its_data_asks_for_them(
    undiffuse: Command, subject: str, command: str, flag: str
) -> None:
    said = undiffuse(command, subject)
    assert said.status == 2
    assert "does not say what it learned from: " in said.err
    assert f"{flag} DATA" in said.err


def test_arrays_of_pictures_are_no_model_though_their_ending_is_that_of_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 8, 8)))
    np.savez(tmp_path / "ho.npz", **{"conv_in/W": np.zeros((3, 3, 1, 8), np.float32)})
    (tmp_path / "weights.bin").write_bytes(b"\x80\x02")
    (tmp_path / "digits.bin").write_bytes(bytes([0, 0, 8, 3]))
    names = ("x.npz", "ho.npz", "weights.bin", "digits.bin", "nothing")
    assert [is_model(tmp_path / name) for name in names] == [False, True, True, False, False]


def test_the_name_of_a_model_and_of_data_means_the_model_and_a_line_says_so(
    undiffuse: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = undiffuse("evaluate", "digits", "--reference", "nowhere.npy")
    assert "digits is the model that comes with undiffuse, not the data set of that name" in refused.err
    assert "nowhere.npy" in refused.err
    Path("digits").mkdir()
    for number in range(10):
        Image.fromarray(np.full((8, 8), 9 * number, np.uint8)).save(f"digits/{number}.png")
    here = undiffuse("evaluate", "digits", "--reference", "digits/", "--extractor", "pixels")
    assert "N = 10 images of digits, all of them" in here.out
    assert "digits is the folder ./digits here; the model of that name" in here.err
    assert "builtin:digits" in here.err
    shipped = undiffuse("evaluate", "builtin:digits", "--reference", "nowhere.npy")
    assert "nowhere.npy" in shipped.err
    assert "./digits" not in shipped.err


@pytest.mark.filterwarnings("ignore:digits is the")
def test_a_run_here_wins_over_the_model_that_ships_and_both_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = load("digits")
    assert plain.provenance == load("builtin:digits").provenance
    assert plain.provenance["checkpoint"] == "digits"
    Path("digits").mkdir()
    convert(tiny(), Path("digits/model.safetensors"), "file")
    with pytest.warns(UserWarning, match=r"digits is the run ./digits here; .* is builtin:digits"):
        assert load("digits").info.shape == (1, 8, 8)
    assert load("./digits").info.shape == (1, 8, 8)
    shipped = load("builtin:digits")
    assert shipped.info.shape == (1, 28, 28)
    assert shipped.home == Path()
    assert load(shipped.provenance["checkpoint"]).provenance == shipped.provenance
    with pytest.raises(UndiffuseError, match=r"builtin:digit' comes with undiffuse; .*builtin:digits"):
        load("builtin:digit")


def test_a_name_written_as_a_path_is_never_the_model_that_ships(
    undiffuse: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = undiffuse("info", "./digits")
    assert said.status == 2
    assert "./digits is not there" in said.err
    assert "builtin:digits" in said.err


DRAWING = ("evaluate", "memorization", "sample", "animate reverse", "edit vary")


@pytest.mark.parametrize("command", DRAWING)
@pytest.mark.parametrize("subject", ["diffusers"], indirect=True)
def test_every_command_that_draws_says_what_it_leaves_out_of_a_scheduler(
    undiffuse: Command, subject: str, pictures: Path, command: str
) -> None:
    file = Path(subject) / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "clip_sample_range": 2.5}))
    said = undiffuse(*command.split(), subject, *COMMANDS[command])
    assert said.status == 0, said.err
    assert "says clip_sample_range = 2.5, for which undiffuse has no setting: drawn without" in said.err


@pytest.mark.parametrize("subject", ["file", "diffusers", "folder with a file"], indirect=True)
def test_what_is_of_a_training_alone_is_refused_of_a_model_alone_in_words(undiffuse: Command, subject: str) -> None:
    said = undiffuse("report", subject)
    assert f"A report is of a run's folder, and {subject} is a model alone" in said.err
    assert "has no copies of averages to make others of" in undiffuse("ema", subject, "--std", 0.1).err
    assert "runs/nix is not there" in undiffuse("ema", "runs/nix", "--std", 0.1).err
