"""Live drawing: one picture at once, for whoever moves a slider."""

from __future__ import annotations

import time
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Response
from pydantic import Field

from undiffuse.errors import UndiffuseError, counted
from undiffuse.studio.jobs.live import draw_live, live_steps
from undiffuse.studio.jobs.queue import BusyError
from undiffuse.studio.jobs.sampling import kept
from undiffuse.studio.routes.answers import PROBLEMS, answer
from undiffuse.studio.routes.bodies import Body, Index, ModelId, Seed, Settings
from undiffuse.studio.studio import Studio

WAITING = 16
"""Requests that wait for the one being drawn; a page has one at most."""


class LiveRequest(Body):
    """Sample ``index`` of a seed: that of `undiffuse sample`, bit for bit."""

    model: ModelId
    seed: Seed = 0
    index: Index = 0
    settings: Settings = Field(default_factory=dict)


def router(studio: Studio) -> APIRouter:
    routes = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["Samples and jobs"])
    one, asked = CapacityLimiter(1), 0

    @routes.post("/live")
    async def live(body: LiveRequest) -> Response:
        """One picture of a fast model, inside the answer; one is drawn at a time, so others have the machine, too.

        The settings `morph_to`, another seed, and `morph`, 0 to 1, draw what lies between two seeds' pictures.
        """
        nonlocal asked
        if asked > WAITING:
            raise BusyError(1)
        asked += 1
        try:
            return answer(await to_thread.run_sync(lambda: _drawn(studio, body), limiter=one))
        finally:
            asked -= 1

    return routes


def _drawn(studio: Studio, body: LiveRequest) -> dict[str, Any]:
    began = time.monotonic()
    loaded, plan = studio.ready(body.model, body.settings)
    live_steps(loaded.model, studio.limits.live)
    if plan.steps > studio.limits.live:
        most = counted(studio.limits.live, "step")
        raise UndiffuseError(f"Live drawing takes at most {most}, and `steps` is {plan.steps}")
    samples = draw_live(loaded, plan, body.seed, body.index)
    (image,) = samples.images()
    told = kept(None, image, samples.origin(body.index), body.index)
    return {**told, "evaluations": samples.evaluations, "seconds": round(time.monotonic() - began, 4)}
