"""The commands of a run: the one that made it, reconstructed from its settings, and what can be done with it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from undiffuse.conditioning.class_names import as_typed
from undiffuse.config.files import BUDGETS
from undiffuse.config.flags import flag_of
from undiffuse.config.sampling import Guide
from undiffuse.config.sections import flatten
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.recipes import get_recipe
from undiffuse.reports.run_history import Story

RUNS = "runs"
"""Where `undiffuse train` puts runs that no --runs says otherwise of."""


def train_command(story: Story) -> str:
    """The shortest command with these settings: what the recipe would have chosen for the data is left out."""
    config = story.model.config
    run = story.run.resolve()
    words = ["undiffuse", "train", config.data.source, "--recipe", config.recipe, "--name", run.name]
    if run.parent != Path(RUNS).resolve():
        words += ["--runs", str(story.run.parent if story.run.name == run.name else run.parent)]
    try:
        standard = flatten(get_recipe(config.recipe).build(story.model.info))
    except UndiffuseError:  # a recipe that is gone, or has changed its mind about these data: everything is said
        standard = {}
    for name, value in flatten(config).items():
        redundant = name in ("source", "recipe") or (name in BUDGETS and value is None)
        if not redundant and (name not in standard or standard[name] != value):
            words += option(name, value)
    return shlex.join(words)


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
    return [
        f"undiffuse sample {run} -n 64 --seed 1 --sampler {sampler} --steps {steps}{led}",
        f"undiffuse sample {run} -n 16 --sampler ddpm --steps {story.model.config.diffusion.timesteps}{led}",
        f"undiffuse animate reverse {run} --steps {steps}{led}",
    ]
