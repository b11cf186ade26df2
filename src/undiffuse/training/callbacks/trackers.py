"""Trackers: what metrics.jsonl and samples/ hold, sent on to TensorBoard, Weights & Biases or trackio as it is written.

    --track tensorboard            runs/NAME/tensorboard, read by: tensorboard --logdir runs
    --track wandb,trackio          two at once

A tracker is an ornament: whatever it raises is said once, it is left alone from there on, and the training goes on.
metrics.jsonl is written with and without. None of the packages is loaded unless it is asked for, and none of them sees
the network unless it does by its own settings (WANDB_MODE=offline keeps wandb's data in the run's folder).
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from undiffuse.config.files import to_dict, to_yaml
from undiffuse.config.schema import TrainConfig
from undiffuse.runtime.durable_files import replace_file
from undiffuse.training.callbacks.callback import Callback, Training
from undiffuse.training.callbacks.console import Console
from undiffuse.training.run.folder import RunFolder

PROJECT = "undiffuse"


class Tracker(Protocol):
    """One of them."""

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """The numbers of a line of metrics.jsonl."""

    def picture(self, step: int, path: Path) -> None:
        """A grid of samples."""

    def close(self) -> None:
        """The training has ended, or will go on in another process."""


class TensorBoard:
    """Event files in the run's folder. What a training that goes on will write again is marked as void."""

    def __init__(self, run: RunFolder, config: TrainConfig, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run.path / "tensorboard"), purge_step=step + 1 if step else None)
        if not step:
            self._writer.add_text("settings", f"```\n{to_yaml(config)}```", 0)

    def numbers(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def picture(self, step: int, path: Path) -> None:
        with Image.open(path) as image:
            self._writer.add_image("samples", np.array(image.convert("RGB")), step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """Weights & Biases; WANDB_PROJECT, WANDB_MODE and its other variables hold."""

    def __init__(self, run: RunFolder, config: TrainConfig, step: int) -> None:
        import wandb

        self._wandb = wandb
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.path.name,
            id=remembered_id(run, "wandb"),
            resume="allow",
            dir=str(run.path),
            config=to_dict(config),
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")  # its own count of steps could not go back on resuming

    def numbers(self, step: int, values: dict[str, float]) -> None:
        self._run.log({"step": step, **values})

    def picture(self, step: int, path: Path) -> None:
        self._run.log({"step": step, "samples": self._wandb.Image(str(path))})

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """trackio, which keeps its data on this machine (TRACKIO_DIR)."""

    def __init__(self, run: RunFolder, config: TrainConfig, step: int) -> None:
        import trackio

        self._trackio: Any = trackio
        trackio.init(
            project=PROJECT,
            name=f"{run.path.name}-{remembered_id(run, 'trackio')[:6]}",
            config=to_dict(config),
            resume="allow",
            embed=False,
        )

    def numbers(self, step: int, values: dict[str, float]) -> None:
        self._trackio.log(values, step=step)

    def picture(self, step: int, path: Path) -> None:
        self._trackio.log({"samples": self._trackio.Image(str(path))}, step=step)

    def close(self) -> None:
        self._trackio.finish()


TRACKERS: dict[str, Callable[[RunFolder, TrainConfig, int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
}


class Tracking(Callback):
    """The trackers that the settings name, none of which can harm the training."""

    def __init__(self, run: RunFolder, config: TrainConfig, step: int, console: Console) -> None:
        self._run, self._console = run, console
        self._trackers: dict[str, Tracker] = {}
        for name in dict.fromkeys(config.loop.track):
            self._attempt(name, partial(self._start, name, config, step))

    def _start(self, name: str, config: TrainConfig, step: int) -> None:
        self._trackers[name] = TRACKERS[name](self._run, config, step)

    def line(self, training: Training, line: dict[str, Any]) -> None:
        """Send on a line of metrics.jsonl, and the grid that it tells of."""
        step = int(line["step"])
        values = flat_numbers({key: value for key, value in line.items() if key != "step"})
        for name, tracker in list(self._trackers.items()):
            self._attempt(name, partial(tracker.numbers, step, values))
            if "samples" in line and name in self._trackers:
                self._attempt(name, partial(tracker.picture, step, self._run.sample(step)))

    def end(self, training: Training) -> None:
        for name, tracker in list(self._trackers.items()):
            self._attempt(name, tracker.close)
        self._trackers.clear()

    def _attempt(self, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # no network, no login, a full disk: whatever it is, the training goes on
            self._trackers.pop(name, None)
            said = " ".join(str(error).split())[:200] or type(error).__name__
            self._console.say(f"warning: {name} failed and is left alone from here on ({said}); metrics.jsonl goes on")


def flat_numbers(tree: Any, name: str = "") -> dict[str, float]:
    """{"time": {"seconds": 2.0}, "loss_by_quarter": [1.0, None]} -> {"time/seconds": 2.0, "loss_by_quarter/0": 1.0}."""
    if isinstance(tree, (int, float)):
        return {name: float(tree)}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return {k: v for key, value in items for k, v in flat_numbers(value, f"{name}/{key}" if name else str(key)).items()}


def remembered_id(run: RunFolder, name: str) -> str:
    """An id of the run at a tracker, made once and kept in the run's folder, so that resuming continues it."""
    path = run.path / "trackers.json"
    ids = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if name not in ids:
        ids[name] = uuid.uuid4().hex[:12]
        replace_file(path, json.dumps(ids) + "\n")
    return str(ids[name])
