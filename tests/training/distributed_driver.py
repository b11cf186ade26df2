"""Runs the command line in several processes at once, under torchrun's own agent, and says what came of it.

    python distributed_driver.py FOLDER  <  JSON list of launches  ->  one JSON line for each

A launch is ``{"world": 2, "argv": ["train", ...], "restarts": 0, "at": [step, rank, "kill"|"term"|"memory"]}``. The
processes are forked from one that has torch imported, so that they start at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import undiffuse.training.run.session as session
from undiffuse.cli import main
from undiffuse.runtime.torchrun import restarts


def arm(step: int, rank: int, what: str) -> None:
    """Let something happen to a process after a step of its training, the first time that it is started."""
    if int(os.environ["RANK"]) != rank or restarts():
        return
    real = session.training

    def training(*args: Any) -> Iterator[Any]:
        for result in real(*args):
            if result.step == step:
                if what == "memory":
                    raise MemoryError
                os.kill(os.getpid(), {"kill": signal.SIGKILL, "term": signal.SIGTERM}[what])
            yield result

    session.training = training


def work(folder: Path, launch: dict[str, Any]) -> None:
    """One process: its output goes to files of its own."""
    rank = os.environ["RANK"]
    for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
        stream.flush()
        os.dup2(os.open(folder / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
    torch.set_num_threads(1)
    if launch.get("at"):
        arm(*launch["at"])
    status = 1
    try:
        status = main(launch["argv"])
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    (folder / f"status-{rank}").write_text(str(status))
    sys.exit(status)


def alone(folder: Path, launch: dict[str, Any]) -> None:
    """A process without torchrun."""
    if pid := os.fork():
        os.waitpid(pid, 0)
        return
    try:
        os.environ["RANK"] = "0"  # for `arm` and the names of the files; not enough to be taken for torchrun's
        work(folder, launch)
    finally:
        os._exit(0)


def run(folder: Path, launch: dict[str, Any]) -> dict[str, Any]:
    folder.mkdir(parents=True)
    world = launch["world"]
    if world == 1:
        alone(folder, launch)
    else:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=world,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            run_id="test",
            max_restarts=launch.get("restarts", 0),
            monitor_interval=0.1,
            start_method="fork",
        )
        with suppress(ChildFailedError):
            elastic_launch(config, work)(folder, launch)

    def texts(name: str) -> list[str]:
        paths = [folder / f"{name}-{rank}" for rank in range(world)]
        return [path.read_text() if path.exists() else "" for path in paths]

    return {"out": texts("out"), "err": texts("err"), "status": texts("status")}


if __name__ == "__main__":
    for number, launch in enumerate(json.load(sys.stdin)):
        print(json.dumps(run(Path(sys.argv[1]) / f"launch-{number}", launch)), flush=True)
