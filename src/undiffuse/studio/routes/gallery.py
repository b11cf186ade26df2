"""The gallery: what was made, how, and the same again."""

from __future__ import annotations

import io
import json
import re
import tempfile
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from PIL import Image
from pydantic import Field

from undiffuse.config.flags import in_flags
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.sections import sections
from undiffuse.errors import UndiffuseError, counted
from undiffuse.provenance.edit_record import Edited
from undiffuse.provenance.png import SIGNATURE, Metadata, Origin, read_metadata, sheet_chunk
from undiffuse.studio.jobs.editing import again as edit_again
from undiffuse.studio.jobs.editing import work_on
from undiffuse.studio.jobs.queue import Job
from undiffuse.studio.jobs.sampling import animate, check_suffix, draw_again
from undiffuse.studio.library.gallery import recipe_of
from undiffuse.studio.routes.answers import PROBLEMS, Png, accepted, answer, finished
from undiffuse.studio.routes.bodies import Body
from undiffuse.studio.routes.forms import FILE, file_of, form, multipart
from undiffuse.studio.studio import Studio
from undiffuse.visualization.grid import grid, viewable
from undiffuse.visualization.strip import flatten

PicturePath = Annotated[str, Path(description="The id of a picture", max_length=100)]
FileName = Annotated[str, Path(description="The file's name", max_length=100)]
TYPES = {"webp": "image/webp", "gif": "image/gif", "mp4": "video/mp4", "png": "image/png"}
KEPT = {"Cache-Control": "private, max-age=31536000, immutable"}
"""A picture's file never changes."""


class GridRequest(Body):
    """Pictures that become one."""

    ids: list[str] = Field(min_length=1, max_length=400, description="Ids of pictures of one size")
    columns: int | None = Field(None, ge=1, le=400)


def router(studio: Studio) -> APIRouter:
    routes = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["Gallery"])

    @routes.get("/gallery")
    def items(
        limit: Annotated[int, Query(ge=1, le=500)] = 60,
        before: Annotated[str, Query(max_length=40, description="Only those older than this id")] = "",
        model: Annotated[str, Query(max_length=200)] = "",
        kind: Annotated[str, Query(max_length=40)] = "",
    ) -> Response:
        """Pictures, the newest first."""
        found, more = studio.gallery.items(limit, before, model, kind)
        return answer({"items": found, "more": more})

    @routes.post("/gallery/grid", response_class=Png)
    def together(body: GridRequest) -> Response:
        """Several pictures as one."""
        return Png(_grid(studio, body))

    @routes.get("/gallery/{name}", responses={200: {"content": {"image/png": {}}}})
    def one(name: PicturePath, download: bool = False) -> Response:
        """A picture's file, as ID.png, or what is known of it, as ID."""
        identity = name.removesuffix(".png")
        path = studio.gallery.path(identity)
        if identity == name:
            return answer(studio.gallery.about(identity))
        attachment = f"undiffuse-{identity}.png" if download else None
        return FileResponse(path, media_type="image/png", filename=attachment, headers=KEPT)

    @routes.delete("/gallery/{name}", status_code=204)
    def delete(name: PicturePath) -> Response:
        """Forget a picture."""
        studio.gallery.delete(name)
        return Response(status_code=204)

    @routes.post("/gallery/{name}/again", status_code=202)
    def again(name: PicturePath) -> Response:
        """Make a picture again; the image's event says whether it is identical."""
        made_by = studio.gallery.origin(name)
        loaded = studio.library.maker(made_by)
        job = Job("again", loaded.entry.id, {"picture": name})
        if isinstance(made_by, Origin):
            own: dict[str, Any] = {"loaded": loaded, "gallery": studio.gallery, "identity": name, "made_by": made_by}
            return accepted(studio.queue.submit(job, partial(draw_again, **own)))
        wanted = edit_again(studio.gallery.request(name) or {}, loaded.model, studio.gallery)
        return accepted(studio.queue.submit(job, lambda job: work_on(job, loaded, wanted, studio)))

    @routes.get(
        "/gallery/{name}/walk.{suffix}",
        response_class=Response,
        responses={200: {"content": {kind: {} for kind in TYPES.values()}}},
    )
    async def walk(
        name: PicturePath,
        suffix: Annotated[str, Path(pattern="^(webp|gif|mp4|png)$")],
        frames: Annotated[int, Query(ge=2, le=200)] = 60,
        fps: Annotated[int, Query(ge=1, le=50)] = 20,
    ) -> Response:
        """How a sample came out of noise, as a moving picture or, as png, a strip; it takes as long as drawing did."""
        made_by = studio.gallery.origin(name)
        if not isinstance(made_by, Origin):
            raise UndiffuseError("Only samples have a walk from noise; this picture is an edit")
        check_suffix(f".{suffix}")
        loaded, made = studio.library.maker(made_by), list[bytes]()
        job = Job("walk", loaded.entry.id, {"picture": name, "suffix": suffix, "frames": frames, "fps": fps})
        studio.queue.submit(job, lambda job: made.append(animate(job, loaded, made_by, f".{suffix}", frames, fps)))
        await finished(job)
        headers = {"Content-Disposition": f'attachment; filename="undiffuse-{name}.{suffix}"'}
        return Response(made[0], media_type=TYPES[suffix], headers=headers)

    @routes.get("/inputs/{name}", response_class=Png)
    def given(name: FileName) -> Response:
        """A picture that an edit began from."""
        return FileResponse(studio.gallery.input(name), media_type="image/png", headers=KEPT)

    @routes.post("/restore", openapi_extra=multipart({"file": FILE}, ("file",)))
    async def restore(request: Request) -> Response:
        """The settings that made a PNG file, out of the file itself."""
        async with form(request, 1, ("file",)) as parts:
            content = await file_of(parts, "file")
        if content is None:
            raise UndiffuseError("This needs a PNG file, as 'file'")
        return answer(_restored(studio, _metadata(content)))

    return routes


def _grid(studio: Studio, body: GridRequest) -> bytes:
    images = []
    for identity in body.ids:
        with Image.open(studio.gallery.path(identity), formats=["PNG"]) as image:
            images.append(flatten(viewable(image.copy())))
    if len({image.size for image in images}) > 1:
        raise UndiffuseError("Only pictures of one size become one")
    packed = io.BytesIO()
    sheet = grid(images, body.columns)
    studio.limits.check_pixels(sheet.height, sheet.width)
    sheet.save(packed, "PNG", pnginfo=sheet_chunk(f"a grid of {counted(len(images), 'sample')}"))
    return packed.getvalue()


def _metadata(content: bytes) -> Metadata:
    """The texts of a file; its pixels are never looked at."""
    if not content.startswith(SIGNATURE):
        raise UndiffuseError("This is no PNG file; only those carry how they were made")
    with tempfile.TemporaryDirectory() as folder:
        path = FilePath(folder) / "picture.png"
        path.write_bytes(content)
        try:
            return read_metadata(path)
        except UndiffuseError as error:
            raise UndiffuseError(str(error).replace(str(path), "the picture")) from None


def _restored(studio: Studio, found: Metadata) -> dict[str, Any]:
    made_by = found.origin or found.edited
    if made_by is None:
        raise UndiffuseError("This picture does not say how it was made: it has no 'undiffuse' chunk")
    model, note = None, None
    try:
        model = studio.library.maker(made_by).entry.id
    except UndiffuseError as error:
        note = in_flags(str(error))
    recipe = recipe_of(made_by)
    about = {"kind": recipe["kind"], "model": model, "known": model is not None, "note": note}
    about |= {"settings": recipe["settings"], "parameters": found.parameters, "recipe": recipe}
    if isinstance(made_by, Origin):
        return {**about, "seed": made_by.seed, "first": made_by.index, "n": made_by.count}
    return {**about, **_typed(made_by)}


def _typed(made_by: Edited) -> dict[str, Any]:
    """Seed and options of an edit, out of its command."""
    words = list(made_by.command)
    options: dict[str, Any] = {}
    for flag, value in zip(words, [*words[1:], ""], strict=True):
        if re.fullmatch(r"--[a-z][a-z-]*", flag):
            options[flag.removeprefix("--").replace("-", "_")] = True if value.startswith("--") else _number(value)
    seed, count = options.pop("seed", 0), 1
    if "-n" in words[:-1]:
        count = _number(words[words.index("-n") + 1])
    others = {*sections(SampleConfig), "class", "mask"}
    mine = {name: value for name, value in options.items() if name not in others}
    return {"seed": seed, "first": made_by.index, "n": count, "options": mine}


def _number(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (int, float)) else text
