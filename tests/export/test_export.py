"""A model in other programs' formats says the same, and samples the same without this package and without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse import load
from undiffuse.cli import main
from undiffuse.conditioning.request import TEXT
from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.codec import codec_of
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.trajectory import Noise, sample, start
from undiffuse.errors import UndiffuseError
from undiffuse.export import TARGETS, convert
from undiffuse.export.program import check_parity, describe, names, program
from undiffuse.model import Model, build_model

INFO = DataInfo("things", "0" * 64, 10, (1, 6, 6), "uint8", 0.0, 255.0, (0.1,), (0.5,), ("cat", "dog"), texts=4)
NETWORK = UNetConfig(base=8, multipliers=(1,), blocks=1, attention_levels=(0,), middle=False)


def model_of(*told: str, **diffusion: Any) -> Model:
    settings = ConditionConfig(condition=told)  # type: ignore[arg-type]
    config = TrainConfig(network=NETWORK, diffusion=DiffusionConfig(**diffusion), conditions=settings)
    model = build_model(config, INFO)
    dice = torch.Generator().manual_seed(1)
    for tensor in model.network.parameters():  # the last layers start at 0, and a network of zeros proves nothing
        tensor.data = 0.3 * torch.randn(tensor.shape, generator=dice)
    model.network.eval()
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("onnx")
    model = model_of("class", parameterization="v")
    said = convert(model, folder / "m.onnx", "onnx")
    assert "max |difference| from PyTorch" in said[1]
    return model, folder


def run_script(folder: Path, *words: object) -> np.ndarray:
    """The script as somebody else would run it: torch and this package cannot be imported."""
    for name in ("torch", "undiffuse"):
        (folder / f"{name}.py").write_text(f"raise ImportError('no {name} here')")
    command = [sys.executable, folder / "m_sample.py", folder / "m.onnx", "--out", folder / "out", *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stderr
    found: np.ndarray = np.load(folder / "out" / "samples.npy")
    return found


@pytest.mark.parametrize("sampler", ["ddim", "dpm++2m"])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_the_script_draws_what_undiffuse_draws(exported: tuple[Model, Path], sampler: str, guidance: float) -> None:
    model, folder = exported
    noise = Noise(5, range(4)).normal(INFO.shape)
    np.save(folder / "noise.npy", noise.numpy())
    words = ("--noise", folder / "noise.npy", "--sampler", sampler, "--steps", 7, "--guidance", guidance)
    found = run_script(folder, *words, "--class", "dog,cat")
    expected = model.sample(4, seed=5, sampler=sampler, steps=7, guidance=guidance, classes=("dog", "cat")).array
    assert found.dtype == expected.dtype
    assert len(np.unique(expected)) > 20  # there is something to see
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_the_script_writes_pictures_that_others_read(exported: tuple[Model, Path]) -> None:
    from PIL import Image

    _, folder = exported
    found = run_script(folder, "-n", 2, "--steps", 2)
    for number in range(2):
        assert np.array_equal(np.asarray(Image.open(folder / "out" / f"0000{number}.png")), found[number, 0])


def test_the_script_refuses_what_there_is_not(exported: tuple[Model, Path]) -> None:
    _, folder = exported
    for words, reason in ((("--class", "cow"), "no class 'cow'"), (("--steps", "0"), "--steps must be")):
        command = [sys.executable, folder / "m_sample.py", folder / "m.onnx", *words]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
        assert done.returncode == 1
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "settings",
    [
        {"parameterization": "epsilon"},
        {"parameterization": "x0", "schedule": "cosine", "zero_terminal_snr": True},
        {"parameterization": "edm", "time_input": "log-snr"},
        {"parameterization": "score", "schedule": "vp"},
        {"parameterization": "flow", "learn_variance": True},
    ],
)
def test_a_description_and_the_network_are_the_denoiser(settings: dict[str, Any]) -> None:
    """The script's own equations around PyTorch's network give undiffuse's DDIM for every process and prediction."""
    from undiffuse.export.sample_onnx import Network, steps

    model = model_of("class", **settings)

    class Here(Network):
        def __init__(self) -> None:
            self.about = json.loads(json.dumps(describe(model)))
            self.rows = {name: np.array(column) for name, column in self.about["rows"].items()}
            self.session = self

        def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            with torch.no_grad():
                return [
                    model.network(
                        *(torch.from_numpy(inputs[n]) for n in ("x", "time")), label=torch.tensor(inputs["label"])
                    ).numpy()
                ]

    noise = Noise(0, range(3))
    x = start(model.denoiser, INFO.shape, noise)
    labels = np.array([0, 1, 0])
    plan = model.plan(sampler="ddim", steps=8, micro_batch=3, classes=("cat", "dog", "cat"))
    expected = sample(plan.denoiser(range(3)), plan.sampler, plan.times, INFO.shape, Noise(0, range(3)))
    found = steps(Here(), x.numpy(), "ddim", 8, {"label": labels}, 1.0)
    assert np.abs(found - expected.numpy()).max() < 2e-4
    assert np.array_equal(codec_of(INFO).decode(expected).shape, (3, *INFO.shape))


@pytest.mark.parametrize("told", [(), ("class", "text")])
def test_a_program_takes_batches_and_texts_of_any_size(told: tuple[str, ...], tmp_path: Path) -> None:
    model = model_of(*told)
    said = convert(model, tmp_path / "m.pt2", "pt2")
    assert said[0].endswith("inputs x, time" + (", label, text" if told else ""))
    extra = {"undiffuse.json": ""}
    module = torch.export.load(tmp_path / "m.pt2", extra_files=extra).module()
    assert json.loads(extra["undiffuse.json"])["shape"] == [1, 6, 6]
    x, time = torch.randn(4, 1, 6, 6), torch.tensor([0.0, 3.0, 500.0, 999.0])
    values = [torch.tensor([0, 1, 2, 0]), torch.randn(4, 7, model.conditions[1].size)] if told else []
    with torch.no_grad():
        expected = model.network(x, time, **dict(zip(names(model)[2:], values, strict=True)))
        assert torch.allclose(module(x, time, *values), expected, atol=1e-5)
    assert (TEXT in names(model)) is bool(told)


def test_files_do_not_tell_where_they_were_made(exported: tuple[Model, Path], tmp_path: Path) -> None:
    model, folder = exported
    convert(model, tmp_path / "m.pt2", "pt2")
    with zipfile.ZipFile(tmp_path / "m.pt2") as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    place = str(Path(undiffuse.__file__).parent).encode()
    assert not [place for content in (*contents, (folder / "m.onnx").read_bytes()) if place in content]


def test_another_network_is_noticed() -> None:
    model, other = model_of(), model_of()
    for tensor in other.network.parameters():
        tensor.data *= 1.1
    module = program(other).module()
    with torch.no_grad(), pytest.raises(UndiffuseError, match="What was exported is not the network"):
        check_parity(model, lambda inputs: module(*inputs))


def test_what_cannot_be_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    (tmp_path / "there.pt2").write_text("mine")
    with pytest.raises(UndiffuseError, match="exists already"):
        convert(model, tmp_path / "there.pt2", "pt2")
    for target in ("onnx", "pt2"):
        with pytest.raises(UndiffuseError, match=rf"should end in \.{target}"):
            convert(model, tmp_path / "m.bin", target)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UndiffuseError, match=r"pip install 'undiffuse\[export\]'"):
        convert(model, tmp_path / "m.onnx", "onnx")
    assert (tmp_path / "there.pt2").read_text() == "mine"


def test_the_command_says_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["convert", "digits", str(tmp_path / "m.onnx")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(name in said for name in TARGETS)
    assert main(["convert", "digits", str(tmp_path / "m.onnx"), "--to", "onx"]) == 2
    assert "perhaps you meant 'onnx'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_shipped_digits_are_the_same_through_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = load("digits")
    convert(model, tmp_path / "m.onnx", "onnx")
    np.save(tmp_path / "noise.npy", Noise(0, range(10)).normal(model.info.shape).numpy())
    found = run_script(tmp_path, "--noise", tmp_path / "noise.npy", "--sampler", "ddim", "--steps", 20)
    expected = model.sample(10, sampler="ddim", steps=20).array
    apart = np.abs(found.astype(int) - expected.astype(int))
    assert apart.max() <= 2
    assert (apart > 0).mean() < 0.01


def test_times_of_a_continuous_process_are_rows() -> None:
    rows = describe(replace(model_of(schedule="vp")))["rows"]
    assert {len(column) for column in rows.values()} == {1000}
    assert np.all(np.diff(rows["sigma"]) > 0)
