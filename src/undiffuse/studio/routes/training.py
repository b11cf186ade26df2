"""Data sets and trainings."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import Field, WithJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from undiffuse.config.data import DataConfig
from undiffuse.config.fields import fields_of
from undiffuse.errors import UndiffuseError
from undiffuse.provenance.png import sheet_chunk
from undiffuse.recipes import get_recipe
from undiffuse.studio.jobs.queue import finite
from undiffuse.studio.library.models import UnknownError
from undiffuse.studio.library.uploads import run_name_of
from undiffuse.studio.limits import EXACT, FOR_THE_COMMAND_LINE
from undiffuse.studio.routes.answers import EVENTS, PROBLEMS, Png, answer, event_stream
from undiffuse.studio.routes.bodies import Body
from undiffuse.studio.routes.forms import FILE, form, json_of, multipart, text_of
from undiffuse.studio.studio import Studio
from undiffuse.visualization.data_summary import contact_sheet

DATA = fields_of(DataConfig)
DataPath = Annotated[str, Path(description="The id of a data set", max_length=100)]
RunPath = Annotated[str, Path(description="The name of a run", max_length=255)]
Side = Annotated[int | None, Query(ge=1, le=4096, description="Resize to this side")]
Channels = Annotated[str, WithJsonSchema({"type": "string", "enum": list(DATA["channels"].kind.choices)})]
Crop = Annotated[str, WithJsonSchema({"type": "string", "enum": list(DATA["crop"].kind.choices)})]
Frames = Annotated[int, Query(ge=0, le=4096, description="Of a clip, for videos")]
Stride = Annotated[int, Query(ge=1, le=4096, description="Every such frame of a video")]
SkipUnreadable = Annotated[bool, Query(description="Go on without files that cannot be read")]
POLL = 0.5
"""Seconds between two looks at what a run has written."""
OVER = ("done", "failed", "stopped")
NOT_HERE = (*FOR_THE_COMMAND_LINE["data"], "validation", "stream", "buffer", "flip")
"""Settings of data that name files, or change nothing in what is seen of them."""


def preparation(
    request: Request,
    size: Side = None,
    channels: Channels = "keep",
    crop: Crop = "none",
    frames: Frames = 0,
    stride: Stride = 1,
    skip_unreadable: SkipUnreadable = False,
) -> dict[str, Any]:
    """The preparation of data: what is described, and whatever else `DataConfig` has."""
    how: dict[str, Any] = {"size": size, "channels": channels, "crop": crop}
    how |= {"frames": frames, "stride": stride, "skip_unreadable": skip_unreadable}
    for name, text in request.query_params.items():
        if name in how:
            continue
        if name not in DATA or name in NOT_HERE:
            raise UndiffuseError(f"'{name[:40]}' says nothing of how data are prepared")
        try:
            how[name] = json.loads(text)
        except ValueError:
            how[name] = text
    return how


preparation.reads_query = True  # type: ignore[attr-defined]
Preparation = Annotated[dict[str, Any], Depends(preparation)]


class DataRequest(Body):
    """The field 'request' of an upload's form."""

    name: str = Field("", max_length=1000, description="What to call it; by default what the files are called")


class RunRequest(Body):
    """A training. Its budget is one of minutes and steps."""

    data: str = Field(max_length=100, description="The id of a data set, from GET /v1/data")
    recipe: str | None = Field(None, max_length=100)
    minutes: float | None = Field(None, gt=0, le=100_000)
    steps: int | None = Field(None, ge=1, le=100_000_000)
    name: str = Field(
        "", max_length=100, description="Of the run; by default that of the data, with the first number that is free"
    )
    size: int | None = Field(None, ge=1, le=4096)
    channels: Channels | None = None
    crop: Crop | None = None
    validation: float | None = Field(
        None, ge=0, le=0.5, description="The share of the data that is not learned; its loss is measured on the way"
    )
    overrides: dict[str, Any] = Field(default_factory=dict, description="Settings by their flat names, such as lr")


def router(studio: Studio) -> APIRouter:
    routes = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["Data and training"])
    runs = studio.trainings

    @routes.post(
        "/data",
        status_code=201,
        openapi_extra=multipart(
            {"files": {"type": "array", "items": FILE}, "archive": FILE, "request": {"type": "string"}},
            one_of=("files", "archive"),
        ),
    )
    async def upload(request: Request) -> Response:
        """Send a data set: images as 'files' (folders in their names become classes), or one 'archive'."""
        async with form(request, studio.limits.files + 1, ("request", "files", "archive")) as parts:
            body = json_of(text_of(parts, "request"), DataRequest)
            files = [part for part in parts.getlist("files") if isinstance(part, UploadFile)]
            archives = [part for part in parts.getlist("archive") if isinstance(part, UploadFile)]
            if bool(files) == bool(archives) or len(archives) > 1:
                raise UndiffuseError("Send images as 'files', or one archive as 'archive'")
            sent = [(part.filename or "", part.file) for part in archives or files]
            identity = await run_in_threadpool(lambda: studio.uploads.add(body.name, sent, archive=bool(archives)))
        return answer(studio.uploads.about(identity), 201)

    @routes.get("/data")
    def all_data() -> Response:
        """The data sets here."""
        return answer({"data": studio.uploads.all()})

    @routes.get("/data/{id}")
    def data(id: DataPath, how: Preparation) -> Response:
        """What is in a data set: counts, shape, classes, what was refused and why."""
        with studio.preparing:
            return answer(studio.uploads.checked(id, how))

    @routes.get("/data/{id}/sheet.png", response_class=Png)
    def sheet(id: DataPath, how: Preparation) -> Response:
        """Up to 64 of the pictures, as they would be learned."""
        packed, chunk = io.BytesIO(), sheet_chunk("a contact sheet")
        with studio.preparing:
            contact_sheet(studio.uploads.prepared(id, how)).save(packed, "PNG", pnginfo=chunk)
        return Png(packed.getvalue())

    @routes.delete("/data/{id}", status_code=204)
    def forget(id: DataPath) -> Response:
        """Forget an upload."""
        studio.uploads.delete(id, runs.uses)
        return Response(status_code=204)

    @routes.post("/runs", status_code=202)
    def start(body: RunRequest) -> Response:
        """Start a training in the background: the ordinary command, which needs neither page nor studio to go on."""
        if (body.minutes is None) == (body.steps is None):
            raise UndiffuseError("Give one of minutes and steps")
        if finite(body.overrides) != body.overrides:
            raise UndiffuseError("The overrides hold a number that is not finite")
        if body.recipe is not None:
            get_recipe(body.recipe)
        given: dict[str, Any] = {"minutes": body.minutes, "steps": body.steps, "size": body.size}
        given |= {"channels": body.channels, "crop": body.crop, "validation": body.validation}
        if clash := sorted(given.keys() & body.overrides.keys() | {"source"} & body.overrides.keys()):
            raise UndiffuseError(f"'{clash[0]}' has a place of its own in the request, not among the overrides")
        source = studio.uploads.source(body.data)
        stem = run_name_of(studio.uploads.about(body.data)["name"])
        name = runs.start(body.data, source, body.recipe, body.name, {**given, **body.overrides}, stem)
        return answer(_run(studio, name), 202)

    @routes.get("/runs")
    def all_runs() -> Response:
        """The runs here, the newest first."""
        found = []
        for name in runs.names():
            with suppress(UnknownError):  # taken away at this moment
                found.append(_run(studio, name))
        return answer({"runs": found})

    @routes.get("/runs/{id}")
    def run(id: RunPath) -> Response:
        """Where a run stands, its settings, its command and the end of its log."""
        return answer({**runs.in_full(id), "model": _model_of(studio, id)})

    @routes.get("/runs/{id}/metrics")
    def metrics(
        id: RunPath,
        since: Annotated[int, Query(ge=0, le=EXACT)] = 0,
        points: Annotated[int, Query(ge=1, le=10_000)] = 500,
    ) -> Response:
        """Losses, those of what is held out, and statistics of samples after a step."""
        return answer(runs.metrics(id, since, points))

    @routes.get("/runs/{id}/events", response_class=Response, responses=EVENTS)
    async def events(id: RunPath, since: Annotated[int, Query(ge=0, le=EXACT)] = 0) -> Response:
        """Server-sent events of a run: state, metric, validation, sample, and at last end."""
        await run_in_threadpool(lambda: runs.check(id))
        return event_stream(_watched(studio, id, since))

    @routes.get("/runs/{id}/samples/{step}.png", response_class=Png)
    def sample(id: RunPath, step: Annotated[int, Path(ge=0, le=EXACT)]) -> Response:
        """The grid of samples that was drawn after a step."""
        return FileResponse(runs.sample(id, step), media_type="image/png", headers={"Cache-Control": "no-cache"})

    @routes.post("/runs/{id}/pause", status_code=202)
    @routes.post("/runs/{id}/stop", status_code=202)
    def stop(id: RunPath) -> Response:
        """Pause or stop, which is the same: the run finishes its step, saves and ends, and can be resumed."""
        runs.stop(id)
        return answer(_run(studio, id), 202)

    @routes.post("/runs/{id}/resume", status_code=202)
    def resume(id: RunPath) -> Response:
        """Go on from the newest checkpoint."""
        runs.resume(id)
        return answer(_run(studio, id), 202)

    return routes


def _model_of(studio: Studio, name: str) -> str | None:
    """The id of the model that a run has made so far."""
    place = (studio.trainings.runs / name).resolve()
    return next((e.id for e in studio.library.entries().values() if e.newest and e.path.resolve() == place), None)


def _run(studio: Studio, name: str) -> dict[str, Any]:
    return {**studio.trainings.about(name), "model": _model_of(studio, name)}


async def _watched(studio: Studio, name: str, since: int) -> AsyncIterator[str]:
    """Events of what a run writes, as it writes it."""
    runs, before, drawn, looked = studio.trainings, "", since, since - 1
    while True:
        try:
            now = await run_in_threadpool(lambda: _run(studio, name))
            found = await run_in_threadpool(partial(runs.metrics, name, since, 10_000))
        except UndiffuseError:  # deleted, renamed or damaged: whoever looks again is told
            yield _told("end", {"state": "gone"})
            return
        if (state := _told("state", now)) != before:
            yield state
            before = state
        for line in found["lines"]:
            yield _told("metric", {"line": line})
        for line in found["validations"]:
            if line["step"] > looked:
                yield _told("validation", {"line": line})
                looked = line["step"]
        for line in found["samples"]:
            if line["step"] > drawn:
                url = f"/v1/runs/{quote(name)}/samples/{line['step']}.png"
                yield _told("sample", {"step": line["step"], "url": url, "line": line})
                drawn = line["step"]
        since = max(since, found["last"])
        if now["state"] in OVER:
            yield _told("end", {"state": now["state"]})
            return
        await asyncio.sleep(POLL)


def _told(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(finite(data))}\n\n"
