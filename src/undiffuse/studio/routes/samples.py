"""Samples and jobs: ask, watch, cancel."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from undiffuse.model.plan import check_numbers
from undiffuse.studio.jobs.queue import Job
from undiffuse.studio.jobs.sampling import SampleJob, draw
from undiffuse.studio.library.models import UnknownError
from undiffuse.studio.routes.answers import EVENTS, PROBLEMS, accepted, answer, job_json, stream
from undiffuse.studio.routes.bodies import Body, Index, ModelId, Seed, Settings
from undiffuse.studio.studio import Studio

JobPath = Annotated[str, Path(description="The id of a job", max_length=100)]
PREVIEWED = 4


class SampleRequest(Body):
    """Samples ``first`` .. ``first + n - 1`` of a seed: those that `undiffuse sample` draws, bit for bit."""

    model: ModelId
    n: int = Field(1, ge=1, description="How many")
    seed: Seed = 0
    first: Index = 0
    settings: Settings = Field(default_factory=dict)
    previews: int = Field(PREVIEWED, ge=0, description="How many of the pictures are shown on the way")
    preview_every: int = Field(1, ge=1, le=1000, description="Steps between two previews")
    preview_eps: bool = Field(False, description="Show the predicted noise, too")
    keep: bool = Field(True, description="In the gallery; otherwise pictures come inside their events")


def router(studio: Studio) -> APIRouter:
    routes = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["Samples and jobs"])

    @routes.post("/samples", status_code=202)
    def sample(body: SampleRequest) -> Response:
        """Draw pictures; the answer says where the job can be watched."""
        studio.limits.check_count(body.n)
        loaded, plan = studio.ready(body.model, body.settings)
        check_numbers(body.n, body.seed, body.first)
        wanted = SampleJob(
            plan=plan,
            n=body.n,
            seed=body.seed,
            first=body.first,
            previews=min(body.previews, studio.limits.previews),
            every=body.preview_every,
            eps=body.preview_eps,
            keep=body.keep,
        )
        job = Job("sample", loaded.entry.id, body.model_dump())
        return accepted(studio.queue.submit(job, lambda job: draw(job, loaded, studio.gallery, wanted)))

    @routes.get("/jobs")
    def jobs() -> Response:
        """All jobs that are remembered, the newest first."""
        return answer({"jobs": [job_json(job, studio.queue) for job in studio.queue.jobs()]})

    @routes.get("/samples/{id}")
    def one(id: JobPath) -> Response:
        """A job as it stands; edits and walks are jobs, too."""
        return answer(job_json(_job(studio, id), studio.queue))

    @routes.get("/samples/{id}/events", response_class=Response, responses=EVENTS)
    async def events(id: JobPath, request: Request) -> Response:
        """Server-sent events: queued, started, step, image, and at last done, error or cancelled.

        The header Last-Event-ID goes on where a reader was.
        """
        return stream(_job(studio, id), request)

    @routes.delete("/samples/{id}", status_code=202)
    def cancel(id: JobPath) -> Response:
        """Cancel a job; it ends within one step."""
        job = _job(studio, id)
        studio.queue.cancel(job)
        return answer(job_json(job, studio.queue), 202)

    return routes


def _job(studio: Studio, identity: str) -> Job:
    job = studio.queue.get(identity)
    if job is None:
        raise UnknownError("There is no such job (any more)")
    return job
