"""docs/use/formats.md keeps its word: files of version 1, as they were written, load; of versions beyond, none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from undiffuse.checkpoints.learned_timesteps import LearnedTimesteps
from undiffuse.config.files import from_yaml
from undiffuse.config.schema import CONFIG_VERSION
from undiffuse.errors import UndiffuseError
from undiffuse.provenance.png import Origin

CONFIG = """version: 1
recipe: tiny
data: {source: digits, size: 28, crop: none, channels: keep, flip: false}
network: {base: 48, multipliers: [1, 2], blocks: 1, attention_levels: [1], heads: 1}
diffusion: {schedule: cosine, timesteps: 1000, parameterization: v}
optimizer: {lr: 0.0002, clip: null}
ema: {ema: [0.999]}
loop: {batch: 64, steps: 3000, seed: 5}
"""
ORIGIN = {
    "format": 1,
    "checkpoint": "runs/a/checkpoints/step-00000010",
    "step": 10,
    "weights_sha256": "ab" * 32,
    "seed": 3,
    "index": 4,
    "count": 1,
    "shape": [1, 28, 28],
    "sample": {"sampler": "ddim", "steps": 50, "spacing": "trailing", "eta": 0.0, "threshold": "clip"},
    "version": "0.1.0",
    "device": "cpu",
}
TIMES = {
    "format": 1,
    "times": [900.0, 300.0],
    "cost": "error",
    "total": 0.5,
    "images": 64,
    "step": 10,
    "weights_sha256": "ab" * 32,
}


def test_settings_of_version_1_load() -> None:
    config = from_yaml(CONFIG)
    assert (config.network.base, config.diffusion.parameterization, config.optimizer.clip) == (48, "v", None)
    assert (config.loop.seed, config.ema.ema, config.network.multipliers) == (5, (0.999,), (1, 2))


def test_the_origin_of_a_picture_of_version_1_loads() -> None:
    origin = Origin.from_json(ORIGIN)
    assert (origin.sample.solver.sampler, origin.sample.solver.steps, origin.shape) == ("ddim", 50, (1, 28, 28))


def test_learned_timesteps_of_version_1_load(tmp_path: Path) -> None:
    (tmp_path / "timesteps-2.json").write_text(json.dumps(TIMES))
    assert LearnedTimesteps.read(tmp_path, 2, "ab" * 32).times == (900.0, 300.0)


def read_times(tree: dict[str, Any], folder: Path) -> object:
    (folder / "timesteps-2.json").write_text(json.dumps(tree))
    return LearnedTimesteps.read(folder, 2, "ab" * 32)


@pytest.mark.parametrize(
    "read",
    [
        lambda folder: from_yaml(CONFIG.replace("version: 1", f"version: {CONFIG_VERSION + 1}")),
        lambda folder: Origin.from_json({**ORIGIN, "format": 2}),
        lambda folder: read_times({**TIMES, "format": 2}, folder),
    ],
    ids=["settings", "picture", "timesteps"],
)
def test_a_version_beyond_is_one_sentence(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(UndiffuseError, match=r"format|version") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_page_names_the_versions_that_there_are() -> None:
    from undiffuse.checkpoints import learned_timesteps, model_file, training_checkpoint
    from undiffuse.evaluation.quality import evaluate
    from undiffuse.export import program, sample_onnx
    from undiffuse.provenance import edit_record, png

    page = (Path(__file__).parents[1] / "docs" / "use" / "formats.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ")][1:]
    told = {row[1].strip(): row[3].strip().partition("; ") for row in rows}
    now, students = ({name: parts[k] for name, parts in told.items()} for k in (0, 2))
    now = {name: int(number) for name, number in now.items()}
    assert now["`config.yaml`, and settings inside other files"] == CONFIG_VERSION
    assert now["checkpoint, in its `config.json`"] == training_checkpoint.FORMAT
    assert now["model in one file"] == model_file.FORMAT
    assert now["PNG and npz of samples"] == png.Origin.FORMAT
    assert now["PNG of an edit"] == edit_record.Edited.FORMAT
    assert now["`timesteps-N.json`"] == learned_timesteps.FORMAT
    assert now["`evaluation/*.json`"] == evaluate.FORMAT
    assert now["exported description (ONNX, pt2)"] == program.FORMAT
    assert sample_onnx.FORMAT == program.STUDENT_FORMAT, "the script reads both"
    of_students = {name: text for name, text in students.items() if text}
    assert of_students == dict.fromkeys(
        ("model in one file", "exported description (ONNX, pt2)"), f"{model_file.STUDENT_FORMAT} for a student"
    )
    assert model_file.STUDENT_FORMAT == program.STUDENT_FORMAT
