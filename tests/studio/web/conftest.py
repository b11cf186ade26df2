"""The studio's page in a real browser, with a stand-in for its server that answers as the API says, at once.

The stand-in is strict where a browser should be: its Content-Security-Policy allows no inline script and no inline
style, and every request that leaves the machine or fails is an error of the test.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parents[3] / "src" / "undiffuse" / "studio" / "web"
POLICY = "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; base-uri 'none'"
PATIENCE = 30
"""Seconds for what takes a fraction of one on a machine with nothing else to do."""
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
TYPES |= {".woff2": "font/woff2", ".png": "image/png", ".json": "application/json"}


def png(seed: int, size: tuple[int, int] = (28, 28)) -> bytes:
    """A soft blob on black, another for each seed."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / size[0]
    cx, cy = draw.uniform(0.3, 0.7, 2)
    values = 255 * np.exp(-((np.hypot(x - cx, y - cy) - 0.2) ** 2) / 0.005)
    packed = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(packed, "PNG")
    return packed.getvalue()


def setting(name: str, kind: str, default: Any, **more: Any) -> dict[str, Any]:
    """A setting as GET /v1/settings describes it."""
    standard = {"choices": None, "words": None, "list": False, "optional": False, "help": f"What {name} does."}
    return {"name": name, "type": kind, "default": default, **standard, **more}


SAMPLE = [
    setting("sampler", "str", "dpm++2m-sde"),
    setting("steps", "int", 20),
    setting("spacing", "str", "trailing", choices=["leading", "trailing"]),
    setting("eta", "float", 0.0),
    setting("classes", "str", [], list=True),
    setting("text", "str", ""),
    setting("guidance", "float", 1.0),
    setting("morph_to", "int", None, optional=True),
    setting("morph", "float", 0.5),
]
MODEL = {
    "id": "digits",
    "name": "digits",
    "kind": "shipped",
    "path": "digits",
    "step": 15000,
    "parameters": 650000,
    "shape": [1, 28, 28],
    "classes": [str(k) for k in range(10)],
    "conditions": ["class"],
    "edits": ["inpaint", "outpaint", "upscale", "vary", "interpolate", "translate"],
    "sampling": {"sampler": "ddim", "steps": 20, "guidance": 2.0, "classes": ["all"]},
    "student": None,
    "live": {"steps": [], "why": "Live drawing takes a model that draws in at most 8 evaluations of its network"},
}
METHOD = setting("method", "str", "dps", choices=["replace", "repaint", "dps"])
JUMP = setting("jump", "int", 10, acts_with={"method": ["repaint"]})
OVERLAP = setting("overlap", "int", "auto", words=["auto", "none"])
SIDES = ("top", "bottom", "left", "right")
EDITS = [
    {"name": "inpaint", "images": ["image", "mask"], "copies": True, "options": [METHOD, JUMP]},
    {
        "name": "outpaint",
        "images": ["image"],
        "copies": True,
        "options": [*(setting(side, "int", 0) for side in SIDES), OVERLAP],
    },
    {"name": "upscale", "images": ["image"], "copies": True, "options": [setting("factor", "int", 2)]},
    {"name": "vary", "images": ["image"], "copies": True, "options": [setting("strength", "float", 0.5)]},
    {
        "name": "interpolate",
        "images": ["first", "second"],
        "copies": False,
        "options": [
            setting("way", "str", "slerp", choices=["slerp", "shared"]),
            setting("frames", "int", 5),
            setting("strength", "float", 0.5, acts_with={"way": ["shared"]}),
        ],
    },
    {
        "name": "translate",
        "images": ["image"],
        "copies": False,
        "options": [setting("to", "str", ""), setting("source", "str", ":none"), setting("exact", "bool", False)],
    },
]
STATUS = {
    "version": "0.1.0",
    "limits": {"count": 64, "steps": 1000, "previews": 16},
    "extras": {"mp4": True, "text": False, "digits": True},
}


@dataclass
class Studio:
    """The stand-in's state, and what was asked of it.

    Args:
        pace: seconds between two steps of a job.
        answers: path of a GET -> its JSON, or a function of the query; (JSON, status) for a refusal.
        posts: path of a POST -> a function of the JSON that came, likewise.
    """

    pace: float = 0.01
    kept: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    posts: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    streams: dict[str, Callable[[], Iterator[tuple[str, Any]]]] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None
    url: str = ""
    below: str = ""
    """The sub-path below which all is served, as by a proxy; nothing is elsewhere."""

    def keep(self, seed: int, index: int, kind: str = "sample", size: tuple[int, int] = (28, 28)) -> dict[str, Any]:
        """A picture for the gallery."""
        identity = f"{len(self.pictures):020x}"
        self.pictures[identity] = png(97 * seed + index, size)
        settings = {
            "sampler": "ddim",
            "steps": 20,
            "classes": ["7"],
            "guidance": 2.0,
            "spacing": "trailing",
            "text": "",
        }
        item = {
            "id": identity,
            "url": f"/v1/gallery/{identity}.png",
            "created": "2026-11-21T12:00:00Z",
            "width": size[0],
            "height": size[1],
            "kind": kind,
            "model": "digits",
            "parameters": "Steps: 20",
            "again": True,
            "walk": kind == "sample",
            "recipe": {"kind": kind, "model": "digits", "step": 15000, "seed": seed, "index": index},
        }
        item["recipe"] |= {
            "settings": settings,
            "command": f"undiffuse sample digits -n 1 --first {index} --seed {seed}",
        }
        self.kept.insert(0, item)
        return item

    def job(self, request: dict[str, Any], kind: str = "sample", n: int | None = None) -> dict[str, Any]:
        """Take a job on."""
        identity = f"job{len(self.jobs)}"
        self.jobs[identity] = {"request": request, "kind": kind, "n": n or request.get("n", 1), "cancelled": False}
        return {"id": identity, "url": f"/v1/samples/{identity}", "events": f"/v1/samples/{identity}/events"}

    def tell(self, identity: str) -> Iterator[tuple[str, Any]]:
        """The events of a job."""
        job = self.jobs[identity]
        request, n, sample = job["request"], job["n"], job["kind"] == "sample"
        of, seed, first = request.get("settings", {}).get("steps", 5), request.get("seed", 0), request.get("first", 0)
        yield "queued", {"position": 0}
        yield "started", {"of": of, "images": n}
        for k in range(1, of + 1):
            time.sleep(self.pace)
            if job["cancelled"]:
                yield "cancelled", {}
                return
            look = "data:image/png;base64," + base64.b64encode(png(k)).decode()
            shown = range(first, first + min(n, request.get("previews", 0))) if sample else ()
            yield (
                "step",
                {"k": k, "of": of, "t": 950.0, "previews": [{"index": i, "x_t": look, "x0": look} for i in shown]},
            )
        for index in range(first, first + n):
            item = self.keep(seed, index, job["kind"], (28, 28) if sample else (32, 32))
            same = {"identical": True} if request.get("again") else {}
            yield (
                "image",
                {**{key: item[key] for key in ("id", "url", "width", "height", "recipe")}, "index": index, **same},
            )
        yield "done", {"seconds": 0.2, "evaluations": of, "images": n, "warning": None}


class Handler(BaseHTTPRequestHandler):
    studio: Studio

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def send(self, body: bytes, kind: str = "application/json", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, body: Any, status: int = 200) -> None:
        self.send(json.dumps(body).encode(), status=status)

    def stream(self, told: Iterator[tuple[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the person left the page
            for number, (name, data) in enumerate(told):
                self.wfile.write(f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode())
                self.wfile.flush()

    def below(self) -> bool:
        """Take the sub-path off; whether it was there."""
        inside = self.path.startswith(self.studio.below)
        self.path = self.path.removeprefix(self.studio.below)
        if not inside:
            self.answer({"error": f"{self.path} is not of the studio"}, 404)
        return inside

    def do_GET(self) -> None:
        if not self.below():
            return
        address = urlsplit(self.path)
        path, query, studio = address.path, parse_qs(address.query), self.studio
        *_, parent, last = path.split("/")
        if path == "/" or path.startswith("/page/"):
            file = PAGE / (path.removeprefix("/page/") if path != "/" else "index.html")
            self.send(file.read_bytes(), TYPES[file.suffix]) if file.is_file() else self.answer({"error": "No."}, 404)
        elif last == "events" and path not in studio.streams:
            self.stream(studio.tell(parent))
        elif path in studio.streams:
            self.stream(studio.streams[path]())
        elif path == "/v1/gallery":
            kind = query.get("kind", [""])[0]
            self.answer({"items": [item for item in studio.kept if kind in ("", item["kind"])], "more": False})
        elif parent == "gallery" and last.endswith(".png"):
            self.send(studio.pictures[last[:-4]], "image/png")
        elif parent == "gallery":
            found = next((item for item in studio.kept if item["id"] == last), None)
            self.answer(*((found, 200) if found else ({"error": "There is no such picture"}, 404)))
        elif last.startswith(("walk.", "sheet.")) or path.endswith(".png"):
            self.send(png(5, (56, 56)), "image/png")
        elif path in studio.answers:
            found = studio.answers[path]
            found = found(query) if callable(found) else found
            self.answer(*(found if isinstance(found, tuple) else (found, 200)))
        else:
            self.answer({"error": f"There is no {path}."}, 404)

    def do_POST(self) -> None:
        if not self.below():
            return
        body, path, studio = self.rfile.read(int(self.headers["Content-Length"])), self.path, self.studio
        form = self.headers["Content-Type"].startswith("multipart/")
        request = body if form else json.loads(body)
        studio.asked.append(("POST", path, request))
        if studio.refusal:
            status, said = studio.refusal
            self.answer({"error": said}, status)
        elif path == "/v1/samples":
            self.answer(studio.job(request), 202)
        elif path.startswith("/v1/edits/"):
            asked = json.loads(body.split(b'name="request"\r\n\r\n')[1].split(b"\r\n--")[0])
            self.answer(studio.job(asked, path.rsplit("/", 1)[1]), 202)
        elif path.endswith("/again"):
            self.answer(studio.job({"again": True, "settings": {"steps": 3}}), 202)
        elif path == "/v1/gallery/grid":
            self.send(png(1, (56, 56)), "image/png")
        elif path in studio.posts:
            found = studio.posts[path](request)
            self.answer(*(found if isinstance(found, tuple) else (found, 202)))
        else:
            self.answer({"error": f"There is no {path}."}, 404)

    def do_DELETE(self) -> None:
        if not self.below():
            return
        studio, name = self.studio, self.path.rsplit("/", 1)[1]
        studio.asked.append(("DELETE", self.path, None))
        if name in studio.jobs:
            studio.jobs[name]["cancelled"] = True
        studio.kept = [item for item in studio.kept if item["id"] != name]
        self.answer({})


@pytest.fixture
def studio() -> Iterator[Studio]:
    """A stand-in that listens, with the digits' model and an empty gallery."""
    state = Studio()
    samplers = [{"name": name, "note": f"What {name} is."} for name in ("ddim", "ddpm", "dpm++2m-sde")]
    state.answers = {
        "/v1/status": STATUS,
        "/v1/models": {"models": [{key: MODEL[key] for key in ("id", "name", "kind")} | {"state": "ready"}]},
        "/v1/models/digits": MODEL,
        "/v1/samplers": {"samplers": samplers, "spacings": ["leading", "trailing"]},
        "/v1/settings": {"sample": SAMPLE, "train": {}, "edits": {}},
        "/v1/edits": {"edits": EDITS},
    }
    handler = type("Bound", (Handler,), {"studio": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, or a reason why there is none."""
    driver = pytest.importorskip(
        "playwright.sync_api", reason="the browser's driver is not installed: pip install playwright"
    )
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with driver.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def until() -> Callable[[Any, str], None]:
    """Wait for a JavaScript expression; the policy forbids Playwright's own waiting, which needs eval."""

    def wait(page: Any, true: str) -> None:
        end = time.monotonic() + PATIENCE
        while not page.evaluate(true):
            assert time.monotonic() < end, f"never true: {true}"
            page.wait_for_timeout(25)

    return wait


@pytest.fixture
def visit(browser: Any, studio: Studio) -> Iterator[Callable[..., Any]]:
    """Open a page of the studio as a person; errors of the console and requests elsewhere fail the test."""
    troubles: list[str] = []
    allowed: list[str] = []
    contexts = []

    def go(where: str, width: int = 1280, refused: bool = False, **more: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True, **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        if refused:
            allowed.append("Failed to load resource")
        page.on("console", lambda said: said.type in ("error", "warning") and troubles.append(said.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        outside = lambda asked: not asked.url.startswith((studio.url, "data:", "blob:"))  # noqa: E731
        page.on("request", lambda asked: outside(asked) and troubles.append(f"asked for {asked.url}"))
        page.goto(f"{studio.url}{studio.below}/{where}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert [said for said in troubles if not any(said.startswith(start) for start in allowed)] == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser takes seconds a test: all that is beside this file is slow."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)
