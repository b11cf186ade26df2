"""The folder of a run: everything that a training wrote, in one place.

runs/NAME/
  config.yaml    every setting, resolved: what `undiffuse train` was told and what its recipe added
  data.json      what is known of the data
  env.json       versions and hardware
  README.md      the model card
  metrics.jsonl  losses, one line every `log_every` steps
  train.log      what the training said, with dates
  samples/       grids of samples from fixed noise
  checkpoints/   `training_checkpoint`
  prior.npz      samples of the model that it started from, if `prior` asks for them (`prior`)
  averages/      copies of averages, if `ema_std` asks for them (`posthoc_ema`)
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from undiffuse.checkpoints.run_lock import check_unlocked
from undiffuse.checkpoints.training_checkpoint import checkpoints
from undiffuse.config.files import read_config, to_yaml
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.runtime.durable_files import NO_OUT, replace_file, writing
from undiffuse.training.optim import posthoc_ema
from undiffuse.version import __version__

ELSEWHERE = "choose another `name`, or another folder of runs with `runs`"
"""What to do about a place where a new run cannot be written."""


class RunFolder:
    """Paths in a run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.data = path / "config.yaml", path / "data.json"
        self.environment, self.card = path / "env.json", path / "README.md"
        self.metrics, self.log = path / "metrics.jsonl", path / "train.log"
        self.prior = path / "prior.npz"
        self.checkpoints, self.averages = path / "checkpoints", path / posthoc_ema.FOLDER

    def sample(self, step: int) -> Path:
        """The grid of samples drawn after ``step`` steps."""
        return self.path / "samples" / f"step-{step:08d}.png"

    def write_settings(
        self, config: TrainConfig, info: DataInfo, device: torch.device, processes: int = 1, advice: str = NO_OUT
    ) -> None:
        replace_file(self.config, to_yaml(config), advice)
        replace_file(self.data, json.dumps(info.to_json(), indent=2) + "\n", advice)
        replace_file(self.environment, json.dumps(environment(device, processes), indent=2) + "\n", advice)


def edited(path: Path, config: TrainConfig, given: Collection[str] = ()) -> str:
    """A warning of a run's config.yaml that is no longer what the run is trained by; '' where it is.

    Args:
        config: of the checkpoint.
        given: names of settings that are asked for anew, of which neither holds.
    """
    if not path.exists():
        return ""
    try:
        written = flatten(read_config(path))
    except UndiffuseError as error:
        return f"{error}; the settings of the checkpoint hold"
    differing = [name for name, value in flatten(config).items() if name not in given and written[name] != value]
    if not differing:
        return ""
    return (
        f"{path} says otherwise of {', '.join(differing)} than the checkpoint, whose settings hold; change what may "
        "change by options, such as `steps`"
    )


def claim(path: Path) -> None:
    """Make the folder of a new run, or refuse one that holds something."""
    with writing(path, ELSEWHERE):
        path.mkdir(parents=True, exist_ok=True)
        check_free(path)


def check_free(path: Path) -> None:
    """Check that a new run may have this folder: there is none, or nothing in it."""
    used = path.exists() and not (path.is_dir() and all(entry.name == ".lock" for entry in path.iterdir()))
    if used:
        check_unlocked(path)
    if used and checkpoints(path / "checkpoints"):
        raise UndiffuseError(
            f"{path} holds a run already: go on with it by `resume={quoted(path)}`, or choose another `name`"
        )
    if used:
        raise UndiffuseError(f"{path} is not empty and holds no checkpoint: delete it, or choose another `name`")


def environment(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """Versions and hardware: on another machine a resumed training's last bits may differ."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "undiffuse": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": str(device),
        "device_name": name,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def changed_environment(run: RunFolder, device: torch.device, processes: int = 1) -> list[str]:
    """Changes, since the run began, of that in the environment which decides the last bits."""
    try:
        before = json.loads(run.environment.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    now = environment(device, processes)
    return [
        f"{key} {before[key]} -> {now[key]}"
        for key in ("torch", "device", "device_name", "threads", "processes")
        if key in before and before[key] != now[key]
    ]
