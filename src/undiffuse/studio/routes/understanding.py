"""What the Learn and Compare panels ask for: example pictures, a sample's way out of noise, runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from undiffuse.config.data import DataConfig
from undiffuse.config.sampling import Solver
from undiffuse.config.students import walking_student
from undiffuse.data.codec import codec_of
from undiffuse.data.info import DataInfo
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.studio.comparison import comparison
from undiffuse.studio.jobs.queue import Job
from undiffuse.studio.jobs.sampling import walk_in_full
from undiffuse.studio.previews import look
from undiffuse.studio.routes.answers import PROBLEMS, answer, finished
from undiffuse.studio.routes.bodies import Body, Index, ModelId, Seed, Settings
from undiffuse.studio.studio import Studio

MOST_VALUES = 1 << 16
"""Numbers of a picture that are sent one by one."""


class WalkRequest(Body):
    """One sample's way out of noise."""

    model: ModelId
    seed: Seed = 0
    index: Index = 0
    settings: Settings = Field(default_factory=dict)
    moments: int = Field(20, ge=2, le=200, description="How many moments are shown")
    values: bool = Field(False, description="Send the numbers, too")


def router(studio: Studio) -> APIRouter:
    routes = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["Learn and compare"])

    @routes.get("/pictures")
    async def pictures(
        count: Annotated[int, Query(ge=1, le=64)] = 12,
        source: Literal["auto", "digits", "samples"] = "auto",
        model: Annotated[str, Query(max_length=100)] = "digits",
    ) -> Response:
        """A few pictures to try things on: of the data set 'digits', or samples of a model."""
        if source != "samples":
            return answer(await run_in_threadpool(lambda: _digits(studio, count)))
        return answer(await _samples(studio, count, model))

    @routes.post("/walk")
    async def walk(body: WalkRequest) -> Response:
        """Where a sampler stood at each moment, and what the model saw from there."""
        loaded, plan = await run_in_threadpool(lambda: studio.ready(body.model, body.settings))
        if body.values and int(np.prod(loaded.model.info.shape)) > MOST_VALUES:
            raise UndiffuseError("These pictures have too many values to be sent one by one; leave out 'values'")
        found: list[dict[str, Any]] = []
        job = Job("walk", loaded.entry.id, body.model_dump())
        studio.queue.submit(
            job,
            lambda job: found.append(walk_in_full(job, loaded, plan, body.seed, body.index, body.moments, body.values)),
        )
        await finished(job)
        return answer(found[0])

    @routes.get("/compare")
    def compare(runs: Annotated[list[str], Query(min_length=2, max_length=8)]) -> Response:
        """Runs side by side: what differs in their settings, curves, tables of quality and likelihood."""
        entries = [studio.library.entry(identity) for identity in runs]
        for entry in entries:
            if entry.newest is None:
                raise UndiffuseError(f"'{entry.id}' is a model without a run's folder; runs are compared")
        return answer(comparison([entry.path for entry in entries], runs))

    return routes


def _digits(studio: Studio, count: int) -> dict[str, Any]:
    with studio.preparing:
        dataset = prepare(DataConfig(), progress=False)
    labels = dataset.labels
    chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
    x = codec_of(dataset.info).encode(np.asarray(dataset.images[chosen]))
    names = [dataset.info.classes[int(labels[k])] if labels is not None else None for k in chosen]
    return {"source": "digits", "shape": list(dataset.info.shape), "pictures": _shown(x, dataset.info, names)}


def _shown(x: Tensor, info: DataInfo, labels: Sequence[str | None]) -> list[dict[str, Any]]:
    small = int(np.prod(info.shape)) <= MOST_VALUES
    return [
        {"url": look(values, info, None), "label": label, "values": values.flatten().tolist() if small else None}
        for values, label in zip(x, labels, strict=True)
    ]


async def _samples(studio: Studio, count: int, identity: str) -> dict[str, Any]:
    loaded = await run_in_threadpool(lambda: studio.library.load(identity))
    info = loaded.model.info
    steps = min(Solver.steps, loaded.model.config.diffusion.timesteps)
    given = {} if walking_student(loaded.model.config) else {"steps": steps}
    _, plan = await run_in_threadpool(lambda: studio.ready(identity, given))
    found: list[dict[str, Any]] = []

    def draw(job: Job) -> None:
        with loaded.session(job.handle) as network:
            job.handle.want_all()
            samples = plan.with_network(network).sample(count)
        classes = (info.classes if loaded.model.conditions else ()) or (None,)
        labels = [classes[k % len(classes)] for k in range(count)]
        found.extend(_shown(codec_of(info).encode(samples.array), info, labels))

    await finished(studio.queue.submit(Job("pictures", identity, {"count": count}), draw))
    return {"source": "samples", "shape": list(info.shape), "pictures": found}
