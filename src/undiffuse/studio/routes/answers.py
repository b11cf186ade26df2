"""Answers: refusals, jobs as they stand, streams of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from undiffuse.config.flags import in_flags
from undiffuse.errors import UndiffuseError
from undiffuse.studio.jobs.queue import OVER, ClosedError, Event, Job, JobQueue, finite
from undiffuse.studio.library.models import ConflictError, UnknownError
from undiffuse.studio.limits import TooLargeError
from undiffuse.studio.routes.forms import WrongKindError

ALIVE = 15.0
"""Seconds of silence after which a stream says that it is still there."""


class Problem(BaseModel):
    """What every refusal holds."""

    error: str = Field(description="One sentence: what was expected, what came, what to do.")


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A refusal, in one sentence",
        "content": {"application/json": {"schema": Problem.model_json_schema()}},
    }
}
"""For a router's ``responses``."""
STATUS = (
    (UnknownError, 404),
    (WrongKindError, 415),
    (ConflictError, 409),
    (TooLargeError, 413),
    (ClosedError, 503),
    (UndiffuseError, 422),
)
"""Of the answer to each kind of mistake."""
_EVENT = {"type": "object", "properties": {name: {"type": "string"} for name in ("id", "event", "data")}}
EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": _EVENT}}}}
"""For a route that answers with server-sent events, together with ``response_class=Response``; data are JSON."""


class Png(Response):
    """A picture."""

    media_type = "image/png"


def refused(error: UndiffuseError) -> Response:
    """A mistake as an answer."""
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    return JSONResponse({"error": in_flags(str(error))}, status)


def answer(content: Any, status: int = 200) -> Response:
    """JSON, with null for what is not finite."""
    return JSONResponse(finite(content), status)


def job_json(job: Job, queue: JobQueue) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "model": job.model,
        "state": job.state,
        "position": queue.position(job),
        "step": job.step,
        "request": job.request,
        "images": job.images(),
        "error": job.error,
        "warning": job.warning,
        "note": job.note,
        "seconds": job.seconds,
        "evaluations": job.handle.evaluations,
    }


def accepted(job: Job) -> Response:
    """The answer that a job was taken, and where it can be watched."""
    url = f"/v1/samples/{job.id}"
    return JSONResponse({"id": job.id, "url": url, "events": f"{url}/events"}, 202, headers={"Location": url})


@asynccontextmanager
async def woken_by(job: Job) -> AsyncIterator[asyncio.Event]:
    """An event of this loop that is set whenever the job tells something."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(woken.set)

    stop = job.listen(wake)
    try:
        yield woken
    finally:
        stop()


async def finished(job: Job) -> Job:
    """Wait until a job is over."""
    async with woken_by(job) as woken:
        while not job.over:
            woken.clear()
            if not job.over:
                await woken.wait()
    if job.state == "error":
        raise UndiffuseError(job.error or "It failed")
    if job.state == "cancelled":
        raise ConflictError("It was cancelled")
    return job


def stream(job: Job, request: Request) -> Response:
    """The events of a job, from where the browser was before."""
    seen = request.headers.get("last-event-id", "")
    number = int(seen) if seen.isdigit() and len(seen) < 18 else 0
    if job.over and not job.since(number):
        return Response(status_code=204)  # which tells a browser to stop coming back
    return event_stream(_events(job, number))


def event_stream(parts: AsyncIterator[str]) -> Response:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(parts, media_type="text/event-stream", headers=headers)


async def _events(job: Job, number: int) -> AsyncIterator[str]:
    async with woken_by(job) as woken:
        while True:
            woken.clear()
            for event in job.since(number):
                number = event.number
                yield _line(event)
                if event.kind in OVER:
                    return
            try:
                await asyncio.wait_for(woken.wait(), ALIVE)
            except TimeoutError:
                yield ": still here\n\n"


def _line(event: Event) -> str:
    return f"id: {event.number}\nevent: {event.kind}\ndata: {event.data}\n\n"
