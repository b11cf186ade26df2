"""Everything that a studio is made of, put together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.model.cascade import stages_of
from undiffuse.model.plan import SamplePlan
from undiffuse.model.student_request import check_typed
from undiffuse.runtime.precision import slow_bfloat16
from undiffuse.studio.jobs.queue import JobQueue, finite
from undiffuse.studio.jobs.training import Trainings
from undiffuse.studio.library.gallery import Gallery
from undiffuse.studio.library.models import Loaded, ModelLibrary
from undiffuse.studio.library.uploads import Uploads
from undiffuse.studio.limits import Limits


@dataclass(frozen=True)
class Studio:
    """The parts that the routes work with."""

    library: ModelLibrary
    queue: JobQueue
    gallery: Gallery
    uploads: Uploads
    trainings: Trainings
    limits: Limits
    device: str
    preparing: threading.Lock

    @classmethod
    def of(
        cls,
        given: Sequence[Path] = (),
        runs: Path = Path("runs"),
        gallery: Path | None = None,
        device: str = "cpu",
        limits: Limits | None = None,
        queue: JobQueue | None = None,
    ) -> Studio:
        """A studio of runs and other given models; pictures and uploads are kept in ``runs/studio`` by default."""
        limits = limits or Limits()
        kept = gallery or runs / "studio"
        return cls(
            ModelLibrary(given, runs, device),
            queue or JobQueue(),
            Gallery(kept),
            Uploads(kept / "uploads", limits),
            Trainings(runs),
            limits,
            device,
            threading.Lock(),
        )

    def settings(self, given: dict[str, Any], base: SampleConfig | None = None) -> SampleConfig:
        """A sampler's settings out of what came, within the limits."""
        if finite(given) != given:
            raise UndiffuseError("The settings hold a number that is not finite")
        settings = (base or SampleConfig()).changed(**given)
        self.limits.check_settings(settings)
        if settings.compute.precision == "bfloat16" and (sentence := slow_bfloat16(torch.device(self.device))):
            raise UndiffuseError(sentence)
        return self.library.settled(settings)

    def ready(self, model: str, given: dict[str, Any]) -> tuple[Loaded, SamplePlan]:
        """A model in memory, and what the settings that came come to for it."""
        settings = self.settings(given)
        loaded = self.library.load(model, settings.compute.weights)
        for stage in stages_of(loaded.model):
            check_typed(given, stage.config)
        plan = loaded.model.plan(settings)
        self.limits.check_steps(plan.steps)
        return loaded, plan

    def close(self) -> None:
        """Cancel what is under way; trainings go on."""
        self.queue.close()
        self.library.close()
