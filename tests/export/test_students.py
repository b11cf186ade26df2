"""Students for other programs: the script beside them draws what undiffuse draws, or a sentence says why not."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.students import Students, settings_of, student_model
from undiffuse.config.distillation import MatchConfig, ProgressiveConfig, student_of
from undiffuse.diffusion.trajectory import Noise
from undiffuse.errors import UndiffuseError
from undiffuse.export import convert
from undiffuse.export.card import hub_card
from undiffuse.export.program import describe, names
from undiffuse.model import Model, load, load_model

SIMPLER = ("halving", "scales")


def run_script(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The script as somebody else would run it: torch and this package cannot be imported."""
    for name in ("torch", "undiffuse"):
        (folder / f"{name}.py").write_text(f"raise ImportError('no {name} here')")
    command = [sys.executable, folder / "m_sample.py", folder / "m.onnx", "--out", folder / "out", *words]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, cwd=folder)


@pytest.mark.parametrize("name", ["jump", "consistency", *(pytest.param(n, marks=pytest.mark.slow) for n in SIMPLER)])
def test_the_script_draws_what_undiffuse_draws(name: str, students: Students, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = load_model(getattr(students, name))
    said = convert(model, tmp_path / "m.onnx", "onnx")
    assert "max |difference| from PyTorch" in said[1]
    student = student_of(model.config.distillation)
    for steps in student.student_steps:
        noise = Noise(5, range(3))
        drawn = torch.stack([noise.normal(model.shape) for _ in range(steps)])
        np.save(tmp_path / "noise.npy", (drawn if name == "consistency" else drawn[0]).numpy())
        words = ["--noise", tmp_path / "noise.npy", "--class", "2,7"]
        more = {"guidance": 3.0} if name == "scales" else {}
        words += ["--guidance", 3] if more else []
        words += [] if steps == student.student_steps[0] else ["--steps", steps]
        done = run_script(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        found = np.load(tmp_path / "out" / "samples.npy")
        expected = model.sample(3, seed=5, steps=steps, classes=("2", "7"), **more).array
        assert len(np.unique(expected)) > 20  # there is something to see
        apart = np.abs(found.astype(int) - expected.astype(int))
        assert apart.max() <= 1
        assert (apart > 0).mean() < 0.01


def test_the_script_refuses_what_a_student_does_not_heed(students: Students, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    convert(load_model(students.halving), tmp_path / "m.onnx", "onnx")
    assert run_script(tmp_path, "-n", 2).returncode == 0
    for words, reason in (
        (("--steps", 20), "distilled for --steps 2"),
        (("--sampler", "dpm++2m"), "distilled for --sampler ddim"),
        (("--guidance", 1), "learned guidance 2"),
    ):
        done = run_script(tmp_path, *words)
        assert done.returncode == 1
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_fresh_noise_of_a_sample_does_not_depend_on_how_many_are_drawn(students: Students, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    convert(load_model(students.consistency), tmp_path / "m.onnx", "onnx")
    drawn = []
    for n in (1, 3):
        assert run_script(tmp_path, "-n", n, "--class", "1").returncode == 0
        drawn.append(np.load(tmp_path / "out" / "samples.npy")[0])
    assert np.array_equal(*drawn)


def test_8_bits_and_torchs_own_file_hold_students_too(students: Students, tmp_path: Path) -> None:
    model = load_model(students.jump)
    said = convert(model, tmp_path / "m.pt2", "pt2")
    assert said[0].endswith("inputs x, time, label, until")
    extra = {"undiffuse.json": ""}
    module = torch.export.load(tmp_path / "m.pt2", extra_files=extra).module()
    told = json.loads(extra["undiffuse.json"])
    assert (told["format"], told["student"]["sampler"], told["student"]["steps"]) == (2, "jump", [4, 2, 1])
    values = torch.randn(3, *model.shape), torch.tensor([0.0, 14.0, 59.0]), torch.tensor([1, 2, 3]), torch.rand(3, 16)
    with torch.no_grad():
        expected = model.network(*values[:2], **dict(zip(names(model)[2:], values[2:], strict=True)))
        torch.testing.assert_close(module(*values), expected, rtol=0, atol=1e-5)
    pytest.importorskip("onnxscript")
    assert any(line.startswith("int8") for line in convert(model, tmp_path / "m.onnx", "onnx-int8"))
    assert run_script(tmp_path, "-n", 1).returncode == 0


def test_a_students_rows_are_its_own_times(students: Students) -> None:
    model = load_model(students.jump)
    rows = describe(model)["rows"]
    assert rows["time"] == [14.0, 29.0, 44.0, 59.0]
    assert describe(load_model(students.teacher))["format"] == 1
    assert "student" not in describe(load_model(students.teacher))


def test_one_file_goes_on_knowing_and_names_no_folders(students: Students, tmp_path: Path) -> None:
    model = load_model(students.halving)
    convert(model, tmp_path / "fast.safetensors", "file")
    again = load(tmp_path / "fast.safetensors")
    assert isinstance(again, Model)
    assert again.plan().settings.solver == model.plan().settings.solver
    assert student_of(again.config.distillation).origin == "teacher"
    assert str(students.folder).encode() not in (tmp_path / "fast.safetensors").read_bytes()


def test_the_hubs_card_says_what_it_is_and_names_no_folders(students: Students) -> None:
    card = hub_card(load_model(students.halving), "somebody/fast", "file", 0)
    assert "| Distilled | 2 evaluations, distilled from teacher (sha256 " in card
    assert str(students.folder) not in card
    assert "Distilled" not in hub_card(load_model(students.teacher), "somebody/slow", "file", 0)


def test_what_cannot_be_said_elsewhere_is_refused(students: Students, tmp_path: Path) -> None:
    model = load_model(students.halving)
    with pytest.raises(UndiffuseError, match=r"folder of diffusers' cannot say how .* its teacher, .*teacher"):
        convert(model, tmp_path / "folder", "diffusers")
    assert not (tmp_path / "folder").exists()
    teacher = load_model(students.teacher)
    choice = student_model(teacher, settings_of(teacher, MatchConfig, 4, 4, guidance_range=(1.0, 3.0)))
    with pytest.raises(UndiffuseError, match="told its guidance cannot be exported yet"):
        convert(choice, tmp_path / "m.pt2", "pt2")
    half = settings_of(teacher, ProgressiveConfig, 4, 2, student_steps=(2,))
    dynamic = student_model(teacher, replace(half, teacher_threshold="dynamic"))
    with pytest.raises(UndiffuseError, match="`threshold=dynamic`"):
        convert(dynamic, tmp_path / "m.pt2", "pt2")
    convert(student_model(teacher, settings_of(teacher, MatchConfig, 4, 4)), tmp_path / "matched", "diffusers")
