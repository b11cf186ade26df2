"""The commands of a run: the one that made it, reconstructed from its settings, and what can be done with it."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from undiffuse.conditioning.class_names import as_typed
from undiffuse.config.data import DataConfig
from undiffuse.config.distillation import (
    FILLED_IN,
    MatchConfig,
    ProgressiveConfig,
    RegressionConfig,
    StudentConfig,
    student_of,
)
from undiffuse.config.fields import fields_of
from undiffuse.config.files import BUDGETS, override, read_config
from undiffuse.config.flags import flag_of
from undiffuse.config.sampling import Guide
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten
from undiffuse.config.students import walking_student
from undiffuse.config.training import EMAConfig, LoRAConfig, ObjectiveConfig, OptimizerConfig
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.recipes import get_recipe
from undiffuse.reports.run_history import Story
from undiffuse.training.distillation.request import NOT_OF_STUDENTS, student_settings
from undiffuse.training.distillation.stages import STARTING, usual_settings
from undiffuse.training.run.folder import RunFolder

RUNS = "runs"
"""Where `undiffuse train` puts runs that no --runs says otherwise of."""


def train_command(story: Story) -> str:
    """The shortest command with these settings: what the recipe would have chosen for the data is left out."""
    config = story.model.trained_config
    if student := student_of(config.distillation):
        return distill_command(story, student)
    run = story.run.resolve()
    words = ["undiffuse", "train", config.data.source, "--recipe", config.recipe, "--name", run.name]
    if run.parent != Path(RUNS).resolve():
        words += ["--runs", str(story.run.parent if story.run.name == run.name else run.parent)]
    try:
        standard = flatten(get_recipe(config.recipe).build(story.model.info))
    except UndiffuseError:  # a recipe that is gone, or has changed its mind about these data: everything is said
        standard = {}
    for name, value in flatten(config).items():
        redundant = name in ("source", "recipe", "start_sha256") or (name in BUDGETS and value is None)
        if not redundant and (name not in standard or standard[name] != value):
            words += option(name, value)
    return shlex.join(words)


def distill_command(story: Story, student: StudentConfig) -> str:
    """The command that makes such a student of this one's teacher, for about as long."""
    config, run = story.model.trained_config, story.run.resolve()
    name, method = run.name, str(vars(student)["method"])
    matched = isinstance(student, MatchConfig)
    if matched and student.teacher_guidance == 1 and not student.guidance_range:
        name, method = name.removesuffix("-v"), "consistency"  # the first stage of any method that needs v
    elif matched:
        method = "guidance"
    starts = _starts(student)
    if starts:
        name, method = name.removesuffix("-start"), "distribution"
    teacher = _teacher_settings(student)
    words = ["undiffuse", "distill", student.teacher]
    words += [config.data.source] if config.data.source != teacher.data.source else []
    words += ["--method", method]
    words += option("steps", student.student_steps) if student.student_steps else []
    scales = student.guidance_range or ((student.teacher_guidance,) if student.teacher_guidance != 1 else ())
    if scales and student.teacher_sha256 == student.origin_sha256:
        words += option("guidance", tuple(f"{scale:g}" for scale in scales))
    if student.teacher_times:
        words += ["--teacher-steps", str(len(student.teacher_times))]
    halved = isinstance(student, ProgressiveConfig)
    if student.teacher_times or student.teacher_threshold != StudentConfig.teacher_threshold:
        words += ["--threshold", student.teacher_threshold]  # what is usual depends on the method and the teacher
    # The part of the budget that a stage takes: see `Stage.part`.
    part = 1 if matched or starts or (halved and max(student.student_steps) > 2) else 2 if halved else 4
    words += ["--updates", str(math.ceil(story.state["total"] / part)), "--batch", str(config.loop.batch)]
    words += ["--weights", student.teacher_weights] if student.teacher_weights != StudentConfig.teacher_weights else []
    words += [*_otherwise(config, student), *_not_as_taught(config, teacher), "--name", name]
    if run.parent != Path(RUNS).resolve():
        words += ["--runs", str(story.run.parent if story.run.name == run.name else run.parent)]
    return shlex.join(words)


def _starts(student: StudentConfig) -> bool:
    """Whether a student of distributions begins as this one: others that regress draw in one number of steps."""
    return isinstance(student, RegressionConfig) and len(student.student_steps) > 1


def _otherwise(config: TrainConfig, student: StudentConfig) -> list[str]:
    """Options for the settings that are not those of every student by the same method."""
    usual = replace(student_settings(config), distillation=type(student)(), lora=LoRAConfig())
    usual = override(usual, **(STARTING if _starts(student) else usual_settings(student)))
    has, had, words = flatten(config), flatten(usual), list[str]()
    for part in (type(student), ObjectiveConfig, OptimizerConfig, LoRAConfig, EMAConfig):
        for name in fields_of(part):
            if has[name] != had[name] and name not in (*fields_of(StudentConfig), *FILLED_IN, *NOT_OF_STUDENTS):
                words += option(name, has[name])
    return words


def _teacher_settings(student: StudentConfig) -> TrainConfig:
    """The settings that a student has where nobody says others; those of nobody where its teacher is no run here."""
    try:
        return read_config(RunFolder(Path(student.teacher)).config)
    except UndiffuseError:
        return TrainConfig()


def _not_as_taught(config: TrainConfig, teacher: TrainConfig) -> list[str]:
    """Options for what a student has from its teacher unless somebody says otherwise, as far as it changes weights."""
    has, had, words = flatten(config), flatten(teacher), list[str]()
    for name in (*fields_of(DataConfig), "accumulate", "seed", "precision"):
        if name != "source" and has[name] != had[name]:
            words += option(name, has[name])
    return words


def option(name: str, value: Any) -> list[str]:
    flag = flag_of(name)
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, tuple):
        return [flag, as_typed(value)]
    return [flag, "none" if value is None else str(value)]


def stage_commands(run: Path) -> tuple[str, str]:
    """The uses of a stage of a cascade, which draws nothing by itself."""
    return f"undiffuse edit upscale {quoted(run)} small.png", f"undiffuse cascade make BASE {quoted(run)} --name NAME"


def sample_commands(story: Story) -> list[str]:
    run, steps, sampler = quoted(story.run), story.settings.solver.steps, story.settings.solver.sampler
    guidance = story.settings.guide.guidance
    led = "" if guidance == Guide.guidance else f" --guidance {guidance:g}"
    if story.model.config.conditions.upscale > 1:
        return list(stage_commands(story.run))
    if walking_student(story.model.config):
        return [f"undiffuse sample {run} -n 64 --seed 1", f"undiffuse animate reverse {run}"]
    return [
        f"undiffuse sample {run} -n 64 --seed 1 --sampler {sampler} --steps {steps}{led}",
        f"undiffuse sample {run} -n 16 --sampler ddpm --steps {story.model.config.diffusion.timesteps}{led}",
        f"undiffuse animate reverse {run} --steps {steps}{led}",
    ]
