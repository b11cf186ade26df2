"""Processes that outlive this one: started in a group of their own, and known again after a restart.

A process id alone says little, as it is given to others later; with the time at which the process started it is one's
own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process that was started here or by an earlier studio."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        return bool(self.started) and started(self.pid) == self.started

    def ask_to_stop(self) -> bool:
        """Send SIGTERM, upon which a training finishes its step and saves; whether there was anybody to ask."""
        if not self.alive:
            return False
        try:
            os.kill(self.pid, signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def start(words: Sequence[str], output: Path, folder: Path) -> Process:
    """Start a command whose standard output and error go to a file, in a session of its own."""
    with output.open("ab") as file:
        child = subprocess.Popen(
            list(words), stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=folder, start_new_session=True
        )
    # A child that has ended stays in the system's table until somebody asks how.
    threading.Thread(target=child.wait, name=f"child-{child.pid}", daemon=True).start()
    return Process(child.pid, started(child.pid))


def started(pid: int) -> str:
    """The time at which a process started, in the system's words; '' where there is none, or only its exit status."""
    status = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = status.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else fields[19]
    found = subprocess.run(["ps", "-o", "lstart=,state=", "-p", str(pid)], capture_output=True, text=True, check=False)
    words = found.stdout.split()
    return " ".join(words[:-1]) if words and not words[-1].startswith("Z") else ""


def wait_until_gone(process: Process, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while process.alive and time.monotonic() < end:
        time.sleep(0.05)
    return not process.alive
