"""The studio as an ASGI application: its page, its interface, and the guard before both."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from undiffuse.errors import UndiffuseError
from undiffuse.studio.addresses import Doors
from undiffuse.studio.documentation import documentation
from undiffuse.studio.guard import Guard
from undiffuse.studio.jobs.queue import FULL, BusyError, of_disk
from undiffuse.studio.page_files import page_file
from undiffuse.studio.routes import about, edits, gallery, live, samples, training, understanding
from undiffuse.studio.routes.answers import refused
from undiffuse.studio.routes.bodies import known_query
from undiffuse.studio.routes.forms import WrongKindError, is_json, sentence
from undiffuse.studio.studio import Studio
from undiffuse.version import __version__

PARTS = (about, samples, live, gallery, edits, training, understanding)
SENTENCES = {404: "There is nothing at this address", 405: "This address does not take such a request"}


def make_app(studio: Studio, doors: Doors | None = None) -> ASGIApp:
    """The application of a studio; whoever serves it closes the studio through its lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        studio.close()

    app = FastAPI(
        title="undiffuse studio",
        description="Every action of the page as a call. Pictures are those of the command line, bit for bit.",
        version=__version__,
        docs_url=None,  # FastAPI's pages load from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": "."}],  # beside this description, wherever a proxy serves it
        lifespan=lifespan,
    )
    routers = [part.router(studio) for part in PARTS]
    for router in routers:
        app.include_router(router, dependencies=[Depends(known_query)])
    _add_pages(app)
    _add_refusals(app, [route for router in routers for route in router.routes])
    return Guard(app, doors or Doors(), studio.limits)


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def home(request: Request) -> Response:
        return page_file("index.html", request)

    @app.get("/page/{name:path}", include_in_schema=False)
    def page(name: str, request: Request) -> Response:
        if name == "index.html":  # whose addresses count from the root
            return RedirectResponse("/")
        return page_file(name, request)

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return HTMLResponse(documentation(app.openapi()))


def _add_refusals(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Every mistake is one sentence as JSON."""

    @app.exception_handler(UndiffuseError)
    async def mistake(request: Request, error: UndiffuseError) -> Response:
        return refused(error)

    @app.exception_handler(BusyError)
    async def busy(request: Request, error: BusyError) -> Response:
        return JSONResponse({"error": str(error)}, 429, headers={"Retry-After": str(error.seconds)})

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        if found and found[0]["type"] == "model_attributes_type" and not is_json(request):
            return refused(WrongKindError("This takes JSON (Content-Type: application/json)"))
        status = 400 if found and found[0]["type"] == "json_invalid" else 422
        return JSONResponse({"error": sentence(found)}, status)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        words = SENTENCES.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        if error.status_code == 405 and (methods := _methods_of(routes, request.url.path)):
            headers["Allow"] = ", ".join(methods)
        return JSONResponse({"error": words}, error.status_code, headers=headers)

    @app.exception_handler(OSError)
    async def disk(request: Request, error: OSError) -> Response:
        return JSONResponse({"error": of_disk(error)}, 507 if error.errno in FULL else 500)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        logging.getLogger("undiffuse.studio").error("a mistake of ours", exc_info=error)
        return JSONResponse({"error": f"This should not happen, and is a mistake of ours: {type(error).__name__}"}, 500)


def _methods_of(routes: Sequence[BaseRoute], path: str) -> list[str]:
    """All that an address takes; a framework that has one route for each method names the first route's alone."""
    known = [route for route in routes if isinstance(route, Route)]
    kind = next((route.path for route in known if route.path_regex.match(path)), None)
    return sorted({method for route in known if route.path == kind for method in route.methods or ()})
