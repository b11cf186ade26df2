"""Kills real training processes and compares what their resumed runs end in with an uninterrupted run.

    python kill_driver.py FOLDER KILLS SEED [METHOD]  ->  one JSON line; with a METHOD the runs are those of students

A training here is a process forked from one that has torch imported, so that a kill costs no import. Half of the
kills fall at a random moment; the other half inside the writing of files: before or after the k-th call of os.fsync,
os.rename or os.replace, or when half of the k-th file is written. A run is killed a few times, then finished and
compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny import tiny_data, tiny_settings

from undiffuse.checkpoints import training_checkpoint
from undiffuse.runtime import durable_files
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.callbacks.console import Console
from undiffuse.training.callbacks.metrics import read_metrics

FINISHED, NOTHING_TO_RESUME = 0, 3
ROW = {"parameterization": "v", "dropout": 0.0}
STUDENT: dict[str, Any] = {}
"""The settings of a student, if the runs are of one."""
KILLS_A_RUN = 5


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_call(number: int, when: str) -> None:
    """Die before, within or after the ``number``-th call that makes something durable."""
    calls = 0

    def patch(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def wrapped(*args: object) -> object:
            nonlocal calls
            calls += 1
            if calls == number and when == "before":
                die()
            result = real(*args)
            if calls == number and when == "after":
                die()
            return result

        setattr(owner, name, wrapped)

    if when == "half":
        real = durable_files.write_durably

        def write_half(path: Path, data: bytes) -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                path.write_bytes(data[: len(data) // 2])
                die()
            real(path, data)

        durable_files.write_durably = training_checkpoint.write_durably = write_half
    else:
        for name in ("fsync", "rename", "replace"):
            patch(os, name)


def train(folder: Path) -> int:
    """Start the run, or go on with it."""
    console = Console(quiet=True)
    if training_checkpoint.latest(folder / "checkpoints")[0] is not None:
        resume_run(folder, dataset=tiny_data(), console=console)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # killed before its first step: there is nothing to lose
        start_run(tiny_settings(**STUDENT), tiny_data(), folder, console=console)
    return FINISHED


def fork(folder: Path, arm: Callable[[], None] = lambda: None) -> int:
    """The process id of a training in a process of its own."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        arm()
        status = train(folder)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def wait(pid: int) -> bool:
    """Whether the process was killed; any other end but success is a failure of the test."""
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        sys.exit(f"a training failed with status {os.WEXITSTATUS(status)}")
    return os.WIFSIGNALED(status)


def outcome(folder: Path) -> dict[str, object]:
    """All of a finished run that must not depend on kills: log lines without times, tensor files, grids."""
    lines = [{k: v for k, v in line.items() if k != "time"} for line in read_metrics(folder / "metrics.jsonl", bool)]
    last = training_checkpoint.checkpoints(folder / "checkpoints")[-1]
    made = [*last.glob("*.safetensors"), *(folder / "samples").iterdir()]
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made}
    left = [path.name for path in (folder / "checkpoints").iterdir() if not path.name.startswith("step-")]
    return {"lines": lines, "last": last.name, "hashes": hashes, "left": left}


def main(folder: Path, kills: int, seed: int, method: str = "") -> dict[str, object]:
    torch.set_num_threads(1)
    chance = random.Random(seed)
    if method:
        STUDENT.update(ROW)
        assert not wait(fork(folder / "teacher"))
        walks = {"teacher_times": (8.0, 6.0, 4.0, 2.0), "student_times": (8.0, 4.0), "student_steps": (2, 1)}
        named = {"method": method, "teacher": str(folder / "teacher"), "origin": str(folder / "teacher")}
        STUDENT.update(named, **walks, start_from=str(folder / "teacher"))
    reference = folder / "uninterrupted"
    began = time.monotonic()
    assert not wait(fork(reference))
    duration = time.monotonic() - began
    expected = outcome(reference)

    done = {"moment": 0, "before": 0, "after": 0, "half": 0}
    runs, differing = 0, []
    while sum(done.values()) < kills:
        run = folder / f"run-{runs}"
        runs += 1
        for _ in range(min(KILLS_A_RUN, kills - sum(done.values()))):
            how = chance.choice(["moment"] * 3 + ["before", "after", "half"])
            if how == "moment":
                pid = fork(run)
                time.sleep(chance.uniform(0.1, 0.9) * duration)
                os.kill(pid, signal.SIGKILL)
            else:
                number = chance.randint(1, 12 if how == "half" else 30)
                pid = fork(run, lambda: kill_at_call(number, how))  # noqa: B023 - called before the next turn
            done[how] += wait(pid)
        wait(fork(run))
        if outcome(run) != expected:
            differing.append(run.name)
    return {"kills": done, "runs": runs, "differing": differing, "steps": expected["lines"][-1]["step"]}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])))
