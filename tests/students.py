"""Tiny students of a tiny teacher that all tests may ask: one is trained, the others are files.

They draw nothing to look at; what they know of themselves is that of any student.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from undiffuse import load, train
from undiffuse.checkpoints.model_file import to_bytes
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.config.distillation import ConsistencyConfig, JumpConfig, ProgressiveConfig, StudentConfig
from undiffuse.config.files import override
from undiffuse.config.training import StartConfig
from undiffuse.data.stream import open_data
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.model import Model, build_model
from undiffuse.training.api import start_run

TINY: dict[str, Any] = {
    "base": 8,
    "multipliers": (1, 2),
    "blocks": 1,
    "attention_levels": (),
    "middle_attention": False,
    "timesteps": 60,
    "parameterization": "v",
    "condition": ("class",),
    "batch": 4,
    "steps": 2,
    "sample_every": 0,
    "device": "cpu",
}
BAKED = {"teacher_guidance": 2.0, "guidance_inside": 2.0}
STEPS = 4
"""Of the teacher's walk."""


@dataclass(frozen=True)
class Students:
    """Paths of models.

    Args:
        teacher: a run.
        halving: a run, 2 steps of DDIM with guidance 2 inside.
        one: a file, likewise in 1 step.
        scales: a file, 2 steps and guidance from 1 to 4, which is a choice.
        jump: a file, 4, 2 or 1 steps.
        consistency: a file, 2 or 1 steps with fresh noise.
    """

    folder: Path
    teacher: Path
    halving: Path
    one: Path
    scales: Path
    jump: Path
    consistency: Path


def settings_of(teacher: Model, cls: type[StudentConfig], count: int, most: int, **more: Any) -> StudentConfig:
    """The settings of a student with ``most`` of the teacher's ``count`` steps."""
    times = tuple(make_timesteps(teacher.schedule, count).tolist()[:-1])
    path, sha256 = str(teacher.home), teacher.provenance["sha256"]
    common = {"teacher": path, "teacher_sha256": sha256, "origin": path, "origin_sha256": sha256}
    return cls(**common, teacher_times=times, student_times=times[:: count // most], **more)


def write_student(path: Path, teacher: Model, student: StudentConfig) -> Path:
    """A student with its teacher's weights and noise upon them, as a model's file."""
    made = student_model(teacher, student)
    path.write_bytes(to_bytes(SavedModel.of(made.config, made.info, made.network.state_dict(), 2, "raw")))
    return path


def student_model(teacher: Model, student: StudentConfig) -> Model:
    made = build_model(replace(teacher.config, distillation=student), teacher.info)
    made.network.load_state_dict(teacher.network.state_dict(), strict=False)
    dice = torch.Generator().manual_seed(0)
    with torch.no_grad():  # nothing that it is told is without effect
        for weights in made.network.parameters():
            weights += 0.1 * torch.randn(weights.shape, generator=dice)
    made.network.eval()
    return made


def make_students(folder: Path) -> Students:
    train("digits", recipe="small", name="teacher", runs=folder, quiet=True, **TINY)
    teacher = load(folder / "teacher")
    assert isinstance(teacher, Model)
    half = settings_of(teacher, ProgressiveConfig, STEPS, 2, student_steps=(2,), **BAKED)
    start = StartConfig(start_from=str(folder / "teacher"), start_sha256=teacher.provenance["sha256"])
    config = override(replace(teacher.config, distillation=half, start=start), ema=(0.9,))
    start_run(config, open_data(config.data), folder / "halving")
    one = settings_of(teacher, ProgressiveConfig, 2, 1, student_steps=(1,), **BAKED)
    scales = replace(half, teacher_guidance=1.0, guidance_inside=1.0, guidance_range=(1.0, 4.0))
    jump = settings_of(teacher, JumpConfig, STEPS, STEPS, student_steps=(4, 2, 1))
    consistency = settings_of(teacher, ConsistencyConfig, STEPS, 2, student_steps=(2, 1))
    files = {"one": one, "scales": scales, "jump": jump, "consistency": consistency}
    made = {name: write_student(folder / f"{name}.safetensors", teacher, config) for name, config in files.items()}
    return Students(folder, folder / "teacher", folder / "halving", **made)
