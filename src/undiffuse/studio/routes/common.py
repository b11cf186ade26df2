"""What the routes share: bodies of requests, answers to mistakes, streams of events, forms with files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from undiffuse.config.flags import in_flags
from undiffuse.config.sampling import Compute, Guide, Prompt, SampleConfig, Solver
from undiffuse.errors import UndiffuseError
from undiffuse.studio.jobs.queue import OVER, ClosedError, Event, Job, JobQueue, finite
from undiffuse.studio.library.models import ConflictError, UnknownError
from undiffuse.studio.limits import FOR_THE_COMMAND_LINE, TooLargeError

ALIVE = 15.0
"""Seconds of silence after which a stream says that it is still there."""
T = TypeVar("T")


class Body(BaseModel):
    """A request as JSON: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def known_query(request: Request) -> None:
    """A dependency of every route: names after the '?' that the route does not know are refused, as in bodies.

    A route of which a dependency reads the names itself says so by that function's ``reads_query``.
    """
    parts = list(_flat(request.scope["route"].dependant))
    if any(getattr(part.call, "reads_query", False) for part in parts):
        return
    known = [field.alias for part in parts for field in part.query_params]
    for name in request.query_params:
        if name not in known:
            takes = f"takes {', '.join(sorted(known))}" if known else "takes none"
            raise UndiffuseError(f"This address knows no query '{name[:40]}': it {takes}")


def _flat(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for part in dependant.dependencies:
        yield from _flat(part)


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

_SETTINGS = {
    "title": SampleConfig.__name__,
    "type": "object",
    "properties": {
        name: schema
        for section in (Solver, Prompt, Guide, Compute)
        for name, schema in TypeAdapter(section).json_schema()["properties"].items()
        if name not in FOR_THE_COMMAND_LINE["sample"]
    },
    "additionalProperties": False,
    "description": "Any of the settings of `undiffuse sample`; GET /v1/settings describes them.",
}
Settings = Annotated[dict[str, Any], WithJsonSchema(_SETTINGS)]
"""Settings of a sampler by name; what is left out keeps its default."""

ModelId = Annotated[str, Field(description="The id of a model, from GET /v1/models", max_length=100)]
EXACT = 2**53 - 1
"""The largest number that every reader of JSON keeps exactly."""
Seed = Annotated[int, Field(ge=0, le=EXACT, description="Of the noise")]
Index = Annotated[int, Field(ge=0, le=2**31 - 1, description="Number of the sample among those of the seed")]


class WrongKindError(UndiffuseError):
    """A body that is no JSON, or no form."""


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


def is_json(request: Request) -> bool:
    return "json" in request.headers.get("content-type", "")


def answer(content: Any, status: int = 200) -> Response:
    """JSON, with null for what is not finite."""
    return JSONResponse(finite(content), status)


# --- jobs -------------------------------------------------------------------------------------------------------------


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


# --- forms ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def form(request: Request, most_files: int, known: Sequence[str]) -> AsyncIterator[FormData]:
    """The parts of a multipart body; its files are on the disk as soon as they are large.

    Args:
        known: the fields that are looked at.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise WrongKindError("This takes a form with files (multipart/form-data)")
    parts = await request.form(max_files=most_files, max_fields=20)
    try:
        for name in parts:
            if name not in known:
                raise UndiffuseError(f"This form knows no field '{name[:40]}': it takes {', '.join(known)}")
        yield parts
    finally:
        await parts.close()


def text_of(parts: FormData, name: str) -> str:
    """A text of a form; '' where it is not there."""
    value = parts.get(name)
    return value if isinstance(value, str) else ""


async def file_of(parts: FormData, name: str) -> bytes | None:
    value = parts.get(name)
    return await value.read() if isinstance(value, UploadFile) else None


def json_of(text: str, kind: type[T]) -> T:
    try:
        return TypeAdapter(kind).validate_python(json.loads(text or "{}"))
    except ValidationError as error:
        raise UndiffuseError(sentence(error.errors())) from None
    except (ValueError, RecursionError):
        raise UndiffuseError("The field 'request' should hold JSON") from None


def sentence(errors: Any) -> str:
    """The first of a validator's complaints, in words."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path")) or "the request"
    message = str(first["msg"])
    return f"{place}: {message[:1].lower()}{message[1:]}"[:300]


def multipart(
    fields: dict[str, dict[str, Any]], required: tuple[str, ...] = (), one_of: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The description of a form, for the interface's page.

    Args:
        one_of: fields of which exactly one is to be sent.
    """
    schema: dict[str, Any] = {"type": "object", "properties": fields, "required": list(required)}
    if one_of:
        schema["oneOf"] = [{"required": [name]} for name in one_of]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


FILE = {"type": "string", "format": "binary"}


async def in_thread(work: Callable[[], T]) -> T:
    """Work that takes a while, out of the way of everybody else."""
    return await run_in_threadpool(work)
