"""Work that takes a while: it waits its turn, says how far it is, can be watched by many and cancelled by anyone.

A job's events are numbered from 1. Those that were told are kept, so that whoever comes late, or comes back, reads
them from where he was; of the steps, which carry pictures, only the last few are.
"""

from __future__ import annotations

import errno
import json
import math
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from undiffuse.config.flags import in_flags
from undiffuse.errors import UndiffuseError
from undiffuse.studio.jobs.batched_network import CancelledError, RequestHandle

STEPS_KEPT = 4
"""Step events that a job remembers."""
FINISHED_KEPT = 200
"""Jobs that are remembered when they are over."""
OVER = ("done", "error", "cancelled")
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a system says where there is no room."""


class BusyError(Exception):
    """The queue is full; ``seconds`` are those after which to try again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"The studio is busy; try again in {seconds} s")
        self.seconds = seconds


class ClosedError(UndiffuseError):
    """The studio is shutting down."""


@dataclass(frozen=True)
class Event:
    """One thing that was told; ``data`` is JSON."""

    number: int
    kind: str
    data: str


class Job:
    """One piece of work.

    Args:
        kind: 'sample', 'walk' or the name of an edit.
        model: the id of its model.
        request: what was asked for, as it is shown again.
    """

    def __init__(self, kind: str, model: str, request: dict[str, Any]) -> None:
        self.id = secrets.token_hex(8)
        self.kind, self.model, self.request = kind, model, request
        self.handle = RequestHandle()
        self.state = "queued"
        self.step = {"k": 0, "of": 0}
        self.error: str | None = None
        self.warning: str | None = None
        self.note: str | None = None
        self.seconds = 0.0
        self.evaluated = 0
        self._told: deque[Event] = deque()
        self._count = 0
        self._listeners: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        return self.state in OVER

    def tell(self, kind: str, **data: Any) -> None:
        """One more event, for everybody who listens."""
        with self._lock:
            self._count += 1
            self._told.append(Event(self._count, kind, json.dumps(finite(data))))
            steps = [event for event in self._told if event.kind == "step"]
            if len(steps) > (0 if kind in OVER else STEPS_KEPT):
                self._told.remove(steps[0])
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def begin(self, of: int, images: int = 0) -> None:
        self.step = {"k": 0, "of": of}
        self.tell("started", of=of, images=images)

    def at(self, k: int, of: int, **more: Any) -> None:
        """Tell that step k is done; refuse to go on where the job was cancelled."""
        self.handle.check()
        self.step = {"k": k, "of": of}
        self.tell("step", k=k, of=of, **more)

    def since(self, number: int) -> list[Event]:
        with self._lock:
            return [event for event in self._told if event.number > number]

    def listen(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Call ``listener`` after each event, in whatever thread tells it; what is returned ends that."""
        with self._lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self._lock, suppress(ValueError):
                self._listeners.remove(listener)

        return stop

    def images(self) -> list[dict[str, Any]]:
        return [json.loads(event.data) for event in self.since(0) if event.kind == "image"]


Work = Callable[[Job], None]


class JobQueue:
    """The queue, and the threads that work on it.

    Args:
        running: jobs at work at one time; they share evaluations.
        waiting: jobs in the queue; more are refused.
    """

    def __init__(self, running: int = 32, waiting: int = 128) -> None:
        self.limit = waiting
        self._running = running
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queue: deque[tuple[Job, Work]] = deque()
        self._at_work = 0
        self._took = 1.0
        self._closed = False
        self._changed = threading.Condition()

    def submit(self, job: Job, work: Work) -> Job:
        with self._changed:
            if self._closed:
                raise ClosedError("The studio is shutting down")
            if len(self._queue) >= self.limit:
                raise BusyError(max(1, math.ceil(len(self._queue) * self._took / self._running)))
            self._jobs[job.id] = job
            self._queue.append((job, work))
            job.tell("queued", position=len(self._queue) - 1)
            self._start()
        return job

    def get(self, identity: str) -> Job | None:
        return self._jobs.get(identity)

    def jobs(self) -> list[Job]:
        """All that are remembered, the newest first."""
        with self._changed:
            return list(reversed(self._jobs.values()))

    def position(self, job: Job) -> int:
        """The number of jobs before it in the queue; 0 for one that is not in it."""
        with self._changed:
            return next((k for k, (other, _) in enumerate(self._queue) if other is job), 0)

    def counts(self) -> dict[str, int]:
        with self._changed:
            return {"running": self._at_work, "waiting": len(self._queue), "limit": self.limit}

    def cancel(self, job: Job) -> None:
        """Let it go no further: one at work ends at its next evaluation, one in the queue at once."""
        job.handle.cancel()
        with self._changed:
            for entry in [entry for entry in self._queue if entry[0] is job]:
                self._queue.remove(entry)
                self._end(job, "cancelled")

    def close(self, patience: float = 5.0) -> None:
        """Cancel everything, and wait for it a while."""
        with self._changed:
            self._closed = True
            jobs = [job for job in self._jobs.values() if not job.over]
        for job in jobs:
            self.cancel(job)
        with self._changed:
            self._changed.wait_for(lambda: self._at_work == 0, patience)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Begin what may be begun, in the order of the queue; the lock is held."""
        before = len(self._queue)
        while self._queue and self._at_work < self._running:
            job, work = self._queue.popleft()
            self._at_work += 1
            threading.Thread(target=self._work, args=(job, work), name=f"job-{job.id}", daemon=True).start()
        if len(self._queue) != before:
            for k, (job, _) in enumerate(self._queue):
                job.tell("queued", position=k)

    def _work(self, job: Job, work: Work) -> None:
        began = time.monotonic()
        state, error = "done", ""
        try:
            job.state = "running"
            job.handle.check()
            work(job)
        except CancelledError:
            state = "cancelled"
        except UndiffuseError as mistake:
            state, error = "error", str(mistake)
        except OSError as trouble:
            state, error = "error", of_disk(trouble)
        except Exception as bug:
            state, error = "error", f"This should not happen, and is a mistake of ours: {type(bug).__name__}: {bug}"
        seconds = time.monotonic() - began
        with self._changed:
            self._at_work -= 1
            self._took = 0.8 * self._took + 0.2 * seconds
            job.seconds, job.evaluated = round(seconds, 3), job.handle.evaluations
            self._end(job, state, error)
            self._start()
            self._changed.notify_all()

    def _end(self, job: Job, state: str, error: str = "") -> None:
        job.state = state
        if state == "error":
            job.error = in_flags(error)
            job.tell("error", error=job.error)
        elif state == "cancelled":
            job.tell("cancelled")
        else:
            said = {"seconds": job.seconds, "evaluations": job.evaluated, "images": len(job.images())}
            job.tell("done", **said, warning=job.warning, note=job.note)
        over = [known for known in self._jobs.values() if known.over]
        for old in over[: max(0, len(over) - FINISHED_KEPT)]:
            del self._jobs[old.id]


def of_disk(error: OSError) -> str:
    """A sentence for what the system refused."""
    place = f" ({error.filename})" if error.filename else ""
    advice = "make room" if error.errno in FULL else "see to the folder of runs and its permissions"
    return f"The studio could not read or write a file: {error.strerror or error}{place}; {advice}, then try again"


def finite(value: Any) -> Any:
    """The same with None for what is no finite number, which JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
