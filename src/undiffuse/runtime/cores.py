"""How many threads PyTorch gets, and how long they wait for each other: set before it is loaded, and never again.

PyTorch on Linux shares each operation out by GNU's OpenMP. Its threads meet hundreds of times in a step, and the one
that comes first spins: it asks again and again, 300,000 times, which takes 7 ms, and holds a core meanwhile. On an idle
machine the others are there within microseconds. Beside a busy process one of them is waiting for that very core: on
two cores a training beside one process that only counts takes four times as long (docs/measure/quality-per-minute.md).
With few spins it has to be woken each time. `IDLE` spins, a tenth of a millisecond, are in between: longer than from
one operation to the next, much shorter than the slice of time that another process gets.
Where more wants to run than there are cores when it is loaded it is `BUSY`, as nearly every wait then ends in sleep.

In a container the cores that can be seen are those of the machine, and the time that may be used on them is less: more
threads than that wait for each other, stopped. So the number of threads is the quota's, to the nearest whole number.

Both are variables of the environment, which the library reads once, when it is loaded: `import undiffuse` sets them
where torch is not yet loaded, and where the user has not said anything about them. Spins change no result; the number
of threads changes the last bits, as it does in PyTorch.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

IDLE, BUSY = 4_000, 1_000
"""Times that a thread asks whether the others have come before it sleeps: where there are cores to spare, and not."""
LOOKS, BETWEEN = 5, 0.002
"""A machine is busy if it is each time that one looks, so many seconds apart."""
SPIN_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Variables by which a user says how threads wait."""
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Allowance:
    """The share of the machine that this process may use.

    Args:
        cores: that it may run on.
        quota: how many of them at a time, on average; None where nothing limits it.
    """

    cores: int
    quota: float | None

    @property
    def threads(self) -> int:
        """As many as do not wait for time on a core: quota and cores, whichever is less; at least 1."""
        return self.cores if self.quota is None else max(1, min(self.cores, int(self.quota + 0.5)))


def allowance(root: Path = Path("/")) -> Allowance:
    """The allowance of this process: its affinity mask and its control groups' quota.

    Args:
        root: of the file system; another one is for tests.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Allowance(cores, min(_quotas(root), default=None))


def _quotas(root: Path) -> Iterator[float]:
    """Cores at a time, by each control group from this process's own up to the outermost that sets a limit.

    A line of /proc/self/cgroup is ``number:controllers:path``. In version 2 there is one, ``0::path``, and the limit is
    in cpu.max: microseconds, or 'max', and of how many. In version 1 these are in two files, and -1 is no limit.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        mounts = root / "sys/fs/cgroup"
        if not controllers:
            for folder in _upwards(mounts, path):
                yield from _cores(_text(folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for mount in {mounts / controllers, mounts / "cpu"}:
                for folder in _upwards(mount, path):
                    yield from _cores([_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")])


def _upwards(mount: Path, path: str) -> list[Path]:
    """The folder of a control group and those above it. A container may see its own group as the mount itself, and its
    path from outside, which is not there."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [mount.joinpath(*parts[:n]) for n in range(len(parts), -1, -1)]


def _cores(numbers: list[str]) -> Iterator[float]:
    try:
        used, period = (int(number) for number in numbers)
    except ValueError:  # 'max', or no such file
        return
    if used > 0 and period > 0:
        yield used / period


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def is_busy(threads: int, root: Path = Path("/")) -> bool:
    """True where others want to run now who would leave too few of the machine's cores for so many threads."""
    for look in range(LOOKS):
        if look:
            time.sleep(BETWEEN)
        found = re.search(r"^procs_running (\d+)$", _text(root / "proc/stat"), re.MULTILINE)
        others = int(found[1]) - 1 if found else 0  # this process runs, too
        if others + threads <= (os.cpu_count() or 1):
            return False
    return True


def prepare(environment: MutableMapping[str, str] = os.environ, root: Path = Path("/")) -> None:
    """Set both variables for this process and those that it starts; none where torch is loaded, which is too late."""
    if "torch" in sys.modules or sys.platform != "linux":
        return
    allowed = allowance(root)
    if not any(name in environment for name in SPIN_SETTINGS):
        environment["GOMP_SPINCOUNT"] = str(BUSY if is_busy(allowed.threads, root) else IDLE)
    if THREADS not in environment and allowed.threads < allowed.cores:
        environment[THREADS] = str(allowed.threads)


def why(threads: int) -> str:
    """The origin of torch's number of threads, in words."""
    allowed = allowance()
    limit = "" if allowed.quota is None else f", of which the control group's quota gives it {allowed.quota:.3g}"
    cores = f"this process may run on {allowed.cores} of {os.cpu_count()} cores{limit}"
    if threads == allowed.threads:
        return cores
    said = f"{THREADS}={os.environ[THREADS]}" if THREADS in os.environ else "torch says so"
    return f"{said}; {cores}"


def waiting() -> str:
    """The way in which its threads wait for each other, in words."""
    said = [f"{name}={os.environ[name]}" for name in SPIN_SETTINGS if name in os.environ]
    return " ".join(said) or "as OpenMP does by itself: spinning for milliseconds, slow beside busy processes"
