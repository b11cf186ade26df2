"""What a run's folder tells, read once."""

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
from undiffuse.training.build import condition_tables, examples_of, image_batches
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
        """Where the training stands; `load` has compared the file with its hash."""
        text = (Path(self.model.provenance["checkpoint"]) / "state.json").read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text)
        return {name: value for name, value in found.items() if name not in ("window", "decisions")}

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl about the loss; lines of steps that were all skipped have none."""
        return self._lines(lambda line: line.get("loss") is not None)

    def _lines(self, keep: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        return read_metrics(self.folder.metrics, keep) if self.folder.metrics.exists() else []

    @cached_property
    def proxies(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl about the grids' distance from the data."""
        return self._lines(lambda line: "proxy" in line)

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
        lines = (
            read_metrics(self.folder.metrics, lambda line: "samples" in line) if self.folder.metrics.exists() else []
        )
        if not lines:
            return {}
        last = lines[-1]
        return {f"{what} of {whose}": last[whose][what] for what in ("mean", "std") for whose in ("samples", "data")}

    @property
    def grid_size(self) -> int:
        """Samples in the last grid: fewer than were asked for where they are dear."""
        lines = self._lines(lambda line: "samples" in line)
        return int((lines[-1]["samples"] if lines else {}).get("count", self.model.config.loop.sample_count))

    @property
    def grid_files(self) -> list[Path]:
        return sorted((self.run / "samples").glob("step-*.png"))

    def grids(self, count: int) -> list[tuple[int, Image.Image]]:
        """(step, picture) of up to ``count`` grids of samples, the first and the last among them."""
        files = self.grid_files
        return [(int(files[k].stem.removeprefix("step-")), _open(files[k])) for k in evenly(len(files), count)]

    @property
    def settings(self) -> SampleConfig:
        """How the pictures of the report are drawn: as the grids of the training are."""
        return preview_settings(self.model.config)

    @cached_property
    def dataset(self) -> Dataset | Stream | None:
        """The data as the training saw them, or None where they are gone or are others by now."""
        try:
            dataset = open_data(self.model.config.data, progress=False)
        except UndiffuseError:
            return None
        return dataset if dataset.info.fingerprint == self.model.info.fingerprint else None

    @cached_property
    def plan(self) -> SamplePlan | None:
        """How samples are drawn: as the training's grids, by what is said of the data, a stage upon their small images.

        Of a stage None where those are gone; other models then draw by nothing.
        """
        model = self.model
        if self.dataset is None:
            return None if model.config.conditions.upscale > 1 else model.plan(self.settings)
        examples = examples_of(self.dataset, model, condition_tables(self.dataset, model))
        return preview_plan(
            model, image_batches(self.dataset, model.config, BatchShard(model.config.loop.batch)), examples
        )

    @property
    def missing_data(self) -> str:
        return f"The data ({self.model.config.data.source}) are not where they were, so none of them are shown."


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image.copy()
