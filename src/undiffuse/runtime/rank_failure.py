"""How the failure of one process ends all of them, and who tells the user.

* A rank that is lost is found by calling the roll. A thread of every survivor signs in, for the process itself may
  still wait for someone who waits for the one that is gone. Who has not signed in two seconds later is the one.
* One process speaks. A mistake that all processes make is told by rank 0; one that a single rank runs into (no memory,
  no such file) is told by that rank, with its name. The others leave quietly, with the same exit status.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.torchrun import follows

if TYPE_CHECKING:
    from undiffuse.runtime.process_group import Group

ROLL_CALL, WATCH = 2.0, 0.5
"""Seconds in which survivors sign in, and between two looks whether they should."""
FIRST_SAY = 2.0
"""Seconds that rank 0 has to speak before another one does."""


def watch(group: Group, ended: threading.Event) -> None:
    """Sign in for this process when another one calls the roll, whatever this one is waiting for."""
    assert group.store is not None
    try:
        while not ended.wait(WATCH):
            if group.store.check(["roll"]):
                group.store.set(f"survivor-{group.rank}", "here")
                return
    except RuntimeError:  # the store is gone, and with it whoever would read it
        return


def is_lost(error: BaseException) -> bool:
    """True where torch says by this that a process cannot be reached."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


def lost_ranks(group: Group, advice: str) -> UndiffuseError:
    """The sentence for a connection that broke: which ranks are gone, and what to do."""
    assert group.store is not None
    _ignore_sigterm()
    try:
        group.store.set("roll", "")
        if not group.store.check(["said"]):
            time.sleep(ROLL_CALL)
        gone = [k for k in range(group.world) if not group.store.check([f"survivor-{k}"])]
    except RuntimeError:
        gone = [0]  # the store hangs where rank 0 is, or where torchrun is
    ranks = " and ".join(map(str, gone)) or "unknown"
    return UndiffuseError(f"the connection to rank {ranks} of {group.world} was lost, so all ranks stop; {advice}")


def choose_speaker(group: Group, error: UndiffuseError) -> None:
    """Decide which process tells the user: rank 0 where it can, else the first that has something to say."""
    _ignore_sigterm()
    assert group.store is not None
    try:
        deadline = time.monotonic() + (0 if group.is_main else FIRST_SAY)
        while not group.store.check(["said"]) and time.monotonic() < deadline:
            time.sleep(0.02)
        own = f"{group.rank} {error.status}"
        said = group.store.compare_set("said", "", own).decode()
    except RuntimeError:
        error.speaks = True
        return
    error.speaks = said == own
    error.status = int(said.split()[1])
    if not error.speaks:
        time.sleep(0.3)  # torchrun ends everyone when the first is gone: the one who speaks should be that
    elif not group.is_main:
        error.args = (f"rank {group.rank} on {socket.gethostname()}: {error}",)


def speaks(error: UndiffuseError) -> bool:
    """True for the process that tells the user; decided by rank 0's first say before a group was made."""
    if error.speaks is not None or not follows():
        return error.speaks is not False
    _ignore_sigterm()
    time.sleep(FIRST_SAY)
    return False


def _ignore_sigterm() -> None:
    """torchrun ends the others as soon as one has failed; this one is about to end by itself, with a sentence."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
