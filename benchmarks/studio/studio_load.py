"""Many clients at one studio, over real HTTP: the table of docs/use/studio.md.

    python -m benchmarks.studio.studio_load [--clients 64] [--seconds 60]      latency, batching, pictures, memory
    python -m benchmarks.studio.studio_load --requests 2000                    memory after 200 and after 2,000 requests

`undiffuse studio` is started as a process of its own on the loopback address, with a folder that is thrown away. Each
client asks for one picture of the model `digits` after the other, by POST /v1/samples, and reads its server-sent events
to the end; where it is told to come back later (429), it waits as long as Retry-After says. In the end some of the
pictures are compared with those that `Model.sample` draws here, pixel by pixel. What is told:

* answers by status, of every call
* seconds from the request to the picture, and to the first step that was shown: percentiles over requests
* rows per evaluation of the network: 1 would be a queue without batching at step level
* resident memory of the server
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import undiffuse

WAYS: tuple[dict[str, Any], ...] = (
    {"sampler": "ddim", "steps": 20},
    {"sampler": "dpm++2m-sde", "steps": 12},
    {"sampler": "ddpm", "steps": 25, "classes": ["seven"]},
    {"sampler": "heun", "steps": 8, "classes": ["two"], "guidance": 2.0},
)
"""Settings of a request, in turn: other samplers, numbers of steps and classes, so that no two walk in step."""
EXPECTED = (200, 202, 429)
"""Statuses of answers that are no failure."""
SHORT: tuple[dict[str, Any], ...] = ({"sampler": "ddim", "steps": 3},)
"""For memory, which knows requests but not how long they took."""


@dataclass(frozen=True)
class Server:
    """A studio that runs."""

    port: int
    pid: int

    def memory(self) -> float:
        """Resident memory in MiB."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) / 1024

    def get(self, path: str) -> bytes:
        """The body of an answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        body = connection.getresponse().read()
        connection.close()
        return body


@contextmanager
def serving(folder: Path, *models: str) -> Iterator[Server]:
    """A studio of models in a folder, as a process of its own."""
    words = [sys.executable, "-m", "undiffuse", "studio", *(models or ["digits"]), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            if found is None:
                raise RuntimeError("the studio did not start")
            yield Server(int(found[1]), process.pid)
        finally:
            process.terminate()


@dataclass
class Counts:
    """What the clients met."""

    statuses: Counter[int] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    to_picture: list[float] = field(default_factory=list)
    to_step: list[float] = field(default_factory=list)
    pictures: dict[int, str] = field(default_factory=dict)
    """Address by number of the request."""
    refusals: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> int:
        with self.lock:
            self.asked += 1
            return self.asked - 1


def client(server: Server, counts: Counts, go_on: Callable[[int], bool], ways: Sequence[dict[str, Any]]) -> None:
    """Ask for one picture after the other, as long as ``go_on`` says so of a request's number."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=300)
    while go_on(number := counts.next()):
        began = time.monotonic()
        try:
            ask(connection, number, ways[number % len(ways)], counts, began)
        except (OSError, HTTPException) as error:  # a client whose connection breaks is a failure like any other
            connection.close()
            with counts.lock:
                counts.ends[type(error).__name__] += 1
    connection.close()


def ask(connection: HTTPConnection, number: int, settings: dict[str, Any], counts: Counts, began: float) -> None:
    """One request, from POST to the last of its events."""
    body = {"model": "digits", "n": 1, "seed": number, "settings": settings, "previews": 1}
    while True:
        connection.request("POST", "/v1/samples", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        job = json.loads(answer.read())
        with counts.lock:
            counts.statuses[answer.status] += 1
            if answer.status >= 400:
                counts.refusals[job["error"]] += 1
        if answer.status != 429:
            break
        time.sleep(int(answer.headers["Retry-After"]))
    if answer.status != 202:
        return
    connection.request("GET", job["events"])
    answer = connection.getresponse()
    kind, url, first_step = "", "", None
    for line in answer:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
            first_step = first_step or (time.monotonic() if kind == "step" else None)
        elif name == "data" and kind == "image":
            url = json.loads(value)["url"]
    with counts.lock:
        counts.statuses[answer.status] += 1
        counts.ends[kind] += 1
        counts.to_picture.append(time.monotonic() - began)
        if first_step is not None:
            counts.to_step.append(first_step - began)
        if url:
            counts.pictures[number] = url


def load(server: Server, clients: int, go_on: Callable[[int], bool], ways: Sequence[dict[str, Any]] = WAYS) -> Counts:
    """So many clients at once."""
    counts = Counts()
    threads = [threading.Thread(target=client, args=(server, counts, go_on, ways)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


def differing(server: Server, counts: Counts, checks: int) -> tuple[int, int]:
    """How many of the pictures were compared with the library's, and how many are other ones."""
    numbers = sorted(counts.pictures)
    chosen = [numbers[k] for k in np.linspace(0, len(numbers) - 1, min(checks, len(numbers))).astype(int)]
    model, wrong = undiffuse.load("digits"), 0
    for number in chosen:
        how = {name: tuple(v) if isinstance(v, list) else v for name, v in WAYS[number % len(WAYS)].items()}
        expected = model.sample(1, number, **how).array[0, 0]
        with Image.open(io.BytesIO(server.get(counts.pictures[number]))) as image:
            wrong += not np.array_equal(np.asarray(image), expected)
    return len(chosen), wrong


def percentiles(seconds: list[float]) -> str:
    values = np.percentile(seconds, [50, 95, 99, 100])
    return " / ".join(f"{value:.2f}" for value in values) + " s (50 / 95 / 99 / 100 %)"


def minute(clients: int, seconds: float, checks: int, say: Callable[[str], object] = print) -> Counts:
    """Clients for some time, and what they met.

    Raises:
        SystemExit: a failure of the server, or a picture that is not the library's.
    """
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        check(load(server, 1, lambda number: number < 4), 0)  # the model is loaded now
        before = json.loads(server.get("/v1/status"))["work"]
        end = time.monotonic() + seconds
        began = time.monotonic()
        counts = load(server, clients, lambda number: time.monotonic() < end)
        took = time.monotonic() - began
        memory = server.memory()
        work = json.loads(server.get("/v1/status"))["work"]
        compared, wrong = differing(server, counts, checks)
    rows, evaluations = work["rows"] - before["rows"], work["evaluations"] - before["evaluations"]
    say(f"{clients} clients, {took:.0f} s: {counts.ends['done']} pictures, {counts.ends['done'] / took:.1f} a second")
    say(f"answers by status: {dict(sorted(counts.statuses.items()))}; streams ended with {dict(counts.ends)}")
    for sentence, times in counts.refusals.items():
        say(f"  {times} x {sentence}")
    say(f"to the picture: {percentiles(counts.to_picture)}; to the first step: {percentiles(counts.to_step)}")
    say(f"{rows} rows in {evaluations} evaluations: {rows / evaluations:.1f} rows each")
    say(f"{compared} pictures compared with Model.sample: {wrong} differ")
    say(f"resident memory of the server: {memory:.0f} MiB")
    check(counts, wrong)
    return counts


def flat(requests: int, first: int, clients: int, say: Callable[[str], object] = print) -> tuple[float, float]:
    """Resident memory in MiB after ``first`` requests and after all of them.

    Raises:
        SystemExit: a failure of the server.
    """
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        memory = []
        for count in (first, requests - first):
            counts = load(server, clients, lambda number, count=count: number < count, SHORT)  # type: ignore[misc]
            check(counts, 0)
            memory.append(server.memory())
            say(f"{memory[-1]:.0f} MiB resident after {count} requests more")
    return memory[0], memory[1]


def check(counts: Counts, wrong: int) -> None:
    """Raise SystemExit where anything failed."""
    broken = sum(times for status, times in counts.statuses.items() if status not in EXPECTED)
    ill = sum(times for kind, times in counts.ends.items() if kind != "done")
    if broken or ill or wrong:
        raise SystemExit(f"{broken} answers were refusals or failures, {ill} streams ended ill, {wrong} differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--checks", type=int, default=40, help="pictures that are compared")
    parser.add_argument("--requests", type=int, help="measure memory over so many requests, in place of time")
    typed = parser.parse_args()
    if typed.requests:
        flat(typed.requests, min(200, typed.requests // 2), typed.clients)
    else:
        minute(typed.clients, typed.seconds, typed.checks)


if __name__ == "__main__":
    main()
