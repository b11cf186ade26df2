"""The facts in a run's folder, read once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from undiffuse.config.sampling import SampleConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.stream import Stream, open_data
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model
from undiffuse.model.plan import SamplePlan
from undiffuse.training.batches import TrainData, condition_tables, examples_of, image_batches
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.callbacks.previews import preview_plan, preview_settings
from undiffuse.training.parallel.batch_shards import BatchShard
from undiffuse.training.run.folder import RunFolder
from undiffuse.visualization.strip import evenly


@dataclass(frozen=True)
class Story:
    """A run and the model of its newest checkpoint."""

    run: Path
    model: Model

    @cached_property
    def folder(self) -> RunFolder:
        return RunFolder(self.run)

    @cached_property
    def state(self) -> dict[str, Any]:
        """The training's state; `load` has compared the file with its hash."""
        text = (Path(self.model.provenance["checkpoint"]) / "state.json").read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text)
        return {name: value for name, value in found.items() if name not in ("window", "decisions")}

    @property
    def steps(self) -> str:
        """The steps so far, and of how many where they are not all."""
        step, total = self.state["step"], self.state["total"]
        return f"{step:,}" if step == total else f"{step:,} of {total:,}"

    @property
    def parameters(self) -> str:
        return f"{sum(parameter.numel() for parameter in self.model.network.parameters()):,}"

    @property
    def last_loss(self) -> str:
        return f"{self.losses[-1]:.4g}" if self.losses else "none yet"

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl about the loss; lines of steps that were all skipped have none."""
        return self.lines(lambda line: line.get("loss") is not None)

    def lines(self, keep: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        return read_metrics(self.folder.metrics, keep) if self.folder.metrics.exists() else []

    @cached_property
    def proxies(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl about the grids' distance from the data."""
        return self.lines(lambda line: "proxy" in line)

    @cached_property
    def validations(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl about the loss on what was held out."""
        return self.lines(lambda line: "validation" in line)

    @property
    def losses(self) -> list[float]:
        return [line["loss"] for line in self.metrics]

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions and machine; empty where a run was handed on without them."""
        if not self.folder.environment.exists():
            return {}
        found: dict[str, Any] = json.loads(self.folder.environment.read_text(encoding="utf-8"))
        return found

    def statistics(self) -> dict[str, Any]:
        """Mean and standard deviation of the last grid's samples, beside the data's; empty before the first grid."""
        if not (last := self._last_grid):
            return {}
        return {f"{what} of {whose}": last[whose][what] for what in ("mean", "std") for whose in ("samples", "data")}

    @cached_property
    def _last_grid(self) -> dict[str, Any]:
        """The line of metrics.jsonl about the last grid; empty before there is one."""
        return next(reversed(self.lines(lambda line: "samples" in line)), {})

    @property
    def grid_size(self) -> int:
        """The samples in the last grid: fewer than were asked for where they are dear."""
        return int(self._last_grid.get("samples", {}).get("count", self.model.config.loop.sample_count))

    @property
    def grid_files(self) -> list[Path]:
        return sorted((self.run / "samples").glob("step-*.png"))

    def grids(self, count: int) -> list[tuple[int, Image.Image]]:
        """(step, picture) of up to ``count`` grids of samples, the first and the last among them."""
        files = self.grid_files
        return [(int(files[k].stem.removeprefix("step-")), _open(files[k])) for k in evenly(len(files), count)]

    @property
    def settings(self) -> SampleConfig:
        """The settings of the report's pictures, those of the training's grids."""
        return preview_settings(self.model.config)

    @cached_property
    def dataset(self) -> Dataset | Stream | None:
        """The data as the training saw them, without a prior; None where they are gone or are others by now."""
        try:
            dataset = open_data(self.model.config.data, progress=False)
        except UndiffuseError:
            return None
        return dataset if self.model.info.learned(dataset.info) else None

    @cached_property
    def plan(self) -> SamplePlan | None:
        """The plan of samples: as the training's grids, by what is said of the data, a stage upon their small images.

        Of a stage None where the data are gone; other models then draw by nothing.
        """
        model = self.model
        if self.dataset is None or model.info.new:  # beside a prior, a model is told classes at most, by turns
            return None if model.config.conditions.upscale > 1 else model.plan(self.settings)
        data = TrainData.of(self.dataset)
        images = image_batches(data, model.config, BatchShard(model.config.loop.batch))
        return preview_plan(model, images, examples_of(data, model, condition_tables(data, model)))

    @property
    def missing_data(self) -> str:
        return f"The data ({self.model.config.data.source}) are not where they were, so none of them are shown."


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()
