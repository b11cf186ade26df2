"""A model in one file: what goes in comes out, and nothing else is believed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from undiffuse.checkpoints.model_file import read, to_bytes
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.checkpoints.training_checkpoint import Checkpoint, State, save
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import EMAConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.export.shipped import main, make
from undiffuse.model import build_model, load

INFO = DataInfo("things", "0" * 64, 10, (1, 8, 8), "uint8", 0.0, 255.0, (0.1,), (0.5,), ("cat", "dog"))
CONFIG = TrainConfig(
    network=UNetConfig(base=8, multipliers=(1,), blocks=1, attention_levels=()), ema=EMAConfig(ema=(0.9, 0.99))
)


def weights(seed: int) -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(seed)
    tensors = build_model(CONFIG, INFO).network.state_dict()
    return {name: 0.1 * torch.randn(tensor.shape, generator=dice) for name, tensor in tensors.items()}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    averages = {0.9: weights(1), 0.99: weights(2)}
    save(Checkpoint(CONFIG, INFO, State(7, 9, 70, 1.0), weights(0), averages, {}), tmp_path / "run" / "checkpoints")
    return tmp_path / "run"


def test_a_model_that_went_through_a_file_samples_alike(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    assert (
        make(run, path)
        == path.stat().st_size
        < 0.7 * (run / "checkpoints/step-00000007/ema-0.9.safetensors").stat().st_size
    )
    small, whole = load(path), load(run)
    assert (small.config, small.info) == (whole.config, whole.info)
    assert small.provenance == {
        "checkpoint": str(path),
        "step": 7,
        "weights": "0.9",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    for name, tensor in whole.network.state_dict().items():
        # half precision: 11 bits, and 2^-24 at the bottom
        assert (small.network.state_dict()[name] - tensor).abs().le(tensor.abs() * 2**-11 + 2**-25).all()
    a, b = (model.sample(4, steps=3).array.astype(int) for model in (small, whole))
    assert np.abs(a - b).max() <= 3


def test_the_same_weights_give_the_same_bytes(run: Path, tmp_path: Path) -> None:
    make(run, tmp_path / "a.safetensors")
    make(run, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_file_has_no_other_weights_than_its_own(run: Path, tmp_path: Path) -> None:
    make(run, tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors", "0.9").provenance["weights"] == "0.9"
    with pytest.raises(UndiffuseError, match=r"no weights 'raw', only '0\.9'"):
        load(tmp_path / "a.safetensors", "raw")


def test_what_a_file_makes_goes_to_the_working_directory(run: Path, tmp_path: Path) -> None:
    make(run, tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").home == Path()


def spoilt(kind: str, data: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    ours = json.loads(header["__metadata__"]["undiffuse"])
    if kind == "bit":
        return data[:-1] + bytes([data[-1] ^ 1])
    if kind == "cut":
        return data[:-5]
    if kind == "bare":
        return safetensors.torch.save({"x": torch.zeros(2)})
    if kind == "text":
        return b"no tensors at all"
    if kind == "newer":
        ours["format"] = 4
    if kind == "empty":
        ours = {}
    if kind == "setting":
        ours["config"]["network"]["base"] = "wide"
    header["__metadata__"]["undiffuse"] = json.dumps(ours)
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    return len(packed).to_bytes(8, "little") + packed + data[8 + length :]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("bit", "is damaged"),
        ("cut", "not a valid safetensors file"),
        ("text", "not a valid safetensors file"),
        ("bare", "tensors and no settings"),
        ("newer", "has format 4, this undiffuse reads up to 3"),
        ("empty", "header does not hold what a model's does"),
        ("setting", "base"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_one_sentence(run: Path, tmp_path: Path, kind: str, words: str) -> None:
    path = tmp_path / "a.safetensors"
    make(run, path)
    path.write_bytes(spoilt(kind, path.read_bytes()))
    with pytest.raises(UndiffuseError, match=words):
        load(path)


def test_weights_beyond_half_precision_are_refused() -> None:
    huge = {"x": torch.tensor([70000.0])}
    with pytest.raises(UndiffuseError, match="'x' has values that half precision cannot hold"):
        to_bytes(SavedModel.of(CONFIG, INFO, huge, 1, "raw"))


def test_whole_numbers_stay_as_they_are(tmp_path: Path) -> None:
    counts = {"n": torch.tensor([2**40])}
    (tmp_path / "a.safetensors").write_bytes(to_bytes(SavedModel.of(CONFIG, INFO, counts, 1, "raw")))
    assert torch.equal(read(tmp_path / "a.safetensors").tensors["n"], counts["n"])


def test_one_command_makes_the_file_that_ships(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("undiffuse.export.shipped.FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["make", str(run), "--name", "things"])
    assert main() == 0
    assert load(tmp_path / "things.safetensors").provenance["step"] == 7
    monkeypatch.setattr("undiffuse.export.shipped.LIMIT", 1000)
    assert main() == 2
    assert "at most 1,000 ship" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["make", str(tmp_path / "nothing"), "--name", "nothing"])
    assert main() == 2
    assert "nothing is not there" in capsys.readouterr().err
