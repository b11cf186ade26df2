"""Live drawing, over real HTTP: milliseconds from a slider's move to its picture, and those of the processor.

    python -m benchmarks.studio.live runs/FAST ... [--moves 60]

`undiffuse studio` is started as a process of its own on the loopback address, with a folder that is thrown away. Each
model, in each number of steps that it can be asked for, morphs from seed to seed by POST /v1/live; all take turns, so
that a machine that changes its speed does so for all. Afterwards the first picture is compared with that of
`Model.sample`, pixel by pixel.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import undiffuse
from benchmarks.studio.studio_load import Server, serving

TURN = 10
"""Moves of one model before it is another's turn."""


def ask(connection: HTTPConnection, path: str, body: Any = None) -> dict[str, Any]:
    sent = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, sent, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found: dict[str, Any] = json.loads(answer.read())
    if answer.status != 200:
        raise SystemExit(found["error"])
    return found


def processor(server: Server) -> float:
    """Milliseconds of all its threads so far."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="runs, files or names of fast models")
    parser.add_argument("--moves", type=int, default=60, help="of each model and number of steps")
    typed = parser.parse_args(words)
    places = [str(Path(name).resolve()) if Path(name).exists() else name for name in typed.models]
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), *places) as server,
        closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection,
    ):
        given = ask(connection, "/v1/models")["models"][: len(places)]
        models = [ask(connection, f"/v1/models/{model['id']}") for model in given]
        cases = [(model, steps) for model in models for steps in sorted(model["live"]["steps"])]
        taken: list[list[float]] = [[] for _ in cases]
        spent = [0.0] * len(cases)
        for turn in range(-1, typed.moves // TURN):  # the first one warms up
            for k, (model, steps) in enumerate(cases):
                before = processor(server)
                for move in range(TURN):
                    settings = {"steps": steps, "morph_to": 1000, "morph": move / TURN, "classes": model["classes"][:1]}
                    began = time.perf_counter()
                    found = ask(connection, "/v1/live", {"model": model["id"], "seed": turn + 1, "settings": settings})
                    taken[k] += [1000 * (time.perf_counter() - began)] * (turn >= 0)
                spent[k] += (processor(server) - before) * (turn >= 0)
        print("| model | evaluations | median, ms | 95 of 100, ms | processor, ms |\n|---|---|---|---|---|")
        for (model, steps), times, busy in zip(cases, taken, spent, strict=True):
            late = statistics.quantiles(times, n=20)[-1]
            print(
                f"| {model['id']} | {steps} | {statistics.median(times):.0f} | {late:.0f} | {busy / len(times):.0f} |"
            )
        settings = {"classes": models[-1]["classes"][:1]}
        found = ask(connection, "/v1/live", {"model": models[-1]["id"], "seed": 7, "settings": settings})
    (image,) = undiffuse.load(places[-1]).sample(1, 7, **settings).images()
    with Image.open(io.BytesIO(base64.b64decode(found["url"].partition(",")[2]))) as drawn:
        print(f"the same as Model.sample: {np.array_equal(np.asarray(drawn), np.asarray(image))}")


if __name__ == "__main__":
    main()
