"""One trainer a run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from undiffuse.errors import UndiffuseError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the run's lock. It is the kernel's (flock): a process that dies, however it dies, lets it go.

    Raises:
        UndiffuseError: another process holds it; the message names its process id.
    """
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise UndiffuseError(
                f"{folder} is being trained by process {pid}; wait for it, stop it, or choose another --name"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
