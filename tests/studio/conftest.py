"""A studio on a folder of its own, two tiny runs, and a client that reads events."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import undiffuse
from undiffuse.studio.addresses import Doors
from undiffuse.studio.app import make_app
from undiffuse.studio.jobs.queue import JobQueue
from undiffuse.studio.limits import Limits
from undiffuse.studio.studio import Studio

HOST = "http://127.0.0.1:8000"
TINY = {"base": 8, "multipliers": (1,), "blocks": 1, "attention_levels": (), "middle_attention": False}
TINY |= {"batch": 4, "log_every": 1, "sample_count": 4, "timesteps": 20, "ema": (0.9,)}


@pytest.fixture(scope="session", autouse=True)
def cache(own_cache: None) -> None:
    """Of all tests here."""


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs, 'a' and 'b', of noise in colour."""
    folder = tmp_path_factory.mktemp("data")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    np.save(folder / "noise.npy", pixels)
    place = tmp_path_factory.mktemp("work") / "runs"
    for name, lr in (("a", 1e-3), ("b", 1e-4)):
        undiffuse.train(folder / "noise.npy", name=name, runs=place, quiet=True, steps=2, lr=lr, sample_every=1, **TINY)
    return place


@dataclass
class Page:
    """What the page does, as calls."""

    client: TestClient
    studio: Studio

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.json() if "json" in answer.headers["content-type"] else answer.content

    def post(self, path: str, body: Any, status: int = 202) -> Any:
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if "json" in answer.headers["content-type"] else answer.content

    def edit(self, name: str, request: Any, status: int = 202, data: Any = None, **files: bytes) -> Any:
        sent = {key: (f"{key}.png", content, "image/png") for key, content in files.items()}
        form = {"request": json.dumps(request), **(data or {})}
        fields = {field: (None, text) for field, text in form.items()}
        answer = self.client.post(f"/v1/edits/{name}", files={**fields, **sent})
        assert answer.status_code == status, answer.text
        return answer.json()

    def events(self, job: Any, after: int | None = None) -> list[tuple[str, Any]]:
        """All events of a job until it is over."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        return read_events(self.client.get(job["events"], headers=headers).text)

    def images(self, job: Any) -> list[Any]:
        """The pictures of a job that must end well."""
        told = self.events(job)
        assert told[-1][0] == "done", told[-1]
        return [data for kind, data in told if kind == "image"]

    def draw(self, **body: Any) -> list[Any]:
        """Samples."""
        return self.images(self.post("/v1/samples", body))


def read_events(text: str) -> list[tuple[str, Any]]:
    """Kind and data of server-sent events."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


@contextmanager
def opened(
    folder: Path, runs: Path, queue: JobQueue | None = None, limits: Limits | None = None, **doors: Any
) -> Iterator[Page]:
    """A studio's page."""
    queue = queue or JobQueue(running=8, waiting=64)
    studio = Studio.of(runs=runs, gallery=folder / "gallery", limits=limits, queue=queue)
    app = make_app(studio, Doors(**doors))
    with TestClient(app, base_url=HOST, raise_server_exceptions=False) as client:
        yield Page(client, studio)


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[str]:
    """The address of a real server, as a process of its own: `undiffuse studio` in a folder."""
    command = [sys.executable, "-m", "undiffuse", "studio", "--port", "0", "--device", "cpu", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, "the studio did not start"
            yield found[0].rstrip("/")
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Iterator[str]:
    """The address of a real server with the two runs."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(runs, folder / "runs")
    with serving(folder) as address:
        yield address


@pytest.fixture
def open_page(tmp_path: Path, runs: Path) -> Iterator[Callable[..., Page]]:
    """``open_page(limits=..., token=...)``: a studio of the two runs and the shipped model, made otherwise."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(opened(tmp_path, how.pop("runs", runs), **how))


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """A studio of the two runs and the shipped model."""
    return open_page()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Iterator[Page]:
    """The same for a whole file of tests that leave nothing behind which others would mind."""
    with opened(tmp_path_factory.mktemp("shared"), runs) as page:
        yield page
