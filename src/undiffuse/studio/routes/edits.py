"""Edits of pictures that are sent along, or that are in the gallery."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from undiffuse.config.sampling import Compute
from undiffuse.config.students import walking_student
from undiffuse.editing.registry import EDITS, edits_of
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.studio.jobs.editing import resolve_edit, take_in, work_on
from undiffuse.studio.jobs.queue import Job, finite
from undiffuse.studio.library.models import UnknownError
from undiffuse.studio.routes.answers import PROBLEMS, accepted
from undiffuse.studio.routes.bodies import Body, ModelId, Seed, Settings
from undiffuse.studio.routes.forms import FILE, file_of, form, json_of, multipart, text_of
from undiffuse.studio.studio import Studio

PICTURES = ("image", "mask", "first", "second")


class EditRequest(Body):
    """The field 'request' of an edit's form."""

    model: ModelId
    seed: Seed = 0
    n: int = Field(1, ge=1, description="Results of the picture")
    quick: bool = Field(False, description="Few steps, where the edit has a way of them for whoever waits")
    settings: Settings = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)


_FIELDS = {
    "request": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "JSON: model, seed, n, quick, settings, options (GET /v1/edits)",
    },
    **dict.fromkeys(PICTURES, FILE),
    **{f"{name}_id": {"type": "string", "description": f"A picture of the gallery as {name}"} for name in PICTURES},
}


def router(studio: Studio) -> APIRouter:
    routes = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["Edits"])

    @routes.post("/edits/{name}", status_code=202, openapi_extra=multipart(_FIELDS, ("request",)))
    async def edit(name: Annotated[str, Path(max_length=100)], request: Request) -> Response:
        """Edit a picture that is sent along or in the gallery; GET /v1/edits says what each edit takes."""
        if name not in EDITS:
            raise UnknownError(f"There is no edit '{name}'{perhaps(name, EDITS)}")
        pictures = EDITS[name].inputs
        known = ("request", *pictures, *(f"{picture}_id" for picture in pictures))
        async with form(request, len(PICTURES), known) as parts:
            body = json_of(text_of(parts, "request"), EditRequest)
            sent = {picture: await file_of(parts, picture) for picture in pictures}
            job = await run_in_threadpool(lambda: _submitted(studio, name, body, sent, parts))
        return accepted(job)

    return routes


def _submitted(studio: Studio, name: str, body: EditRequest, sent: dict[str, bytes | None], parts: FormData) -> Job:
    studio.limits.check_count(body.n)
    if finite(body.options) != body.options:
        raise UndiffuseError("The options hold a number that is not finite")
    entry = studio.library.entry(body.model)
    studio.settings(body.settings)
    convert = body.options.get("fit") == "convert"
    inputs = {picture: _input(studio, picture, content, parts, convert) for picture, content in sent.items()}
    loaded = studio.library.load(entry.id, body.settings.get("weights", Compute.weights))
    if walking_student(loaded.model.config):
        EDITS[name].check(loaded.model, body.options)  # which says who can do it
    if name not in edits_of(loaded.model):
        raise UndiffuseError(f"This model cannot do '{name}'")
    wanted = resolve_edit({"edit": name, **body.model_dump()}, loaded.model, inputs)
    studio.limits.check_settings(wanted.settings)
    studio.limits.check_count(wanted.row.results(wanted.how), "frames")
    job = Job(name, entry.id, wanted.request(entry.id))
    return studio.queue.submit(job, lambda job: work_on(job, loaded, wanted, studio))


def _input(studio: Studio, name: str, content: bytes | None, parts: FormData, convert: bool) -> FilePath:
    if content is None:
        identity = text_of(parts, f"{name}_id")
        if not identity:
            raise UndiffuseError(f"This needs a picture as '{name}', or the id of one in the gallery as '{name}_id'")
        content = studio.gallery.path(identity).read_bytes()
    return take_in(content, studio.gallery, studio.limits, convert)
