"""Many processes as one: who they are, how work is shared out, how they agree, and how the failure of one ends all.

torchrun starts the same program several times and tells each by environment variables which one it is. `joined` makes
a `Group` of them; a program that was started without torchrun gets `ALONE`, which costs nothing and loads no torch.

    with joined() as group:
        mine = group.my_part(images)                     # 0..k-1 here, k..2k-1 there
        values = group.gather_in_order(work(mine))       # of all images, in order, in every process

Notable choices:

* What is not a gradient travels by a gloo group of its own. It has no deadline, because others may have to wait for
  hours while one process prepares data; but it notices at once when a process is gone, since its connections close.
* One process speaks. A mistake that all processes make is told by rank 0; one that a single rank runs into (no memory,
  no such file) is told by that rank, with its name. The others leave quietly, with the same exit status.
* A rank that is lost is found by calling the roll. A thread of every survivor signs in, for the process itself may
  still wait for someone who waits for the one that is gone. Who has not signed in two seconds later is the one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from undiffuse.errors import UndiffuseError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.distributed import ProcessGroup
    from torch.distributed.distributed_c10d import Store

Items = TypeVar("Items", bound=Sequence[Any])

TIMEOUT = "UNDIFFUSE_TIMEOUT"
"""Environment variable: minutes after which a process that does not take part in an exchange of gradients is lost."""
MINUTES = 30.0
"""Its default: rank 0 may draw a grid of samples meanwhile, or write a large checkpoint."""
PATIENCE = timedelta(days=30)
"""Deadline of everything else."""
ROLL_CALL, WATCH = 2.0, 0.5
"""Seconds in which survivors sign in, and between two looks whether they should."""
FIRST_SAY = 2.0
"""Seconds that rank 0 has to speak before another one does."""


@dataclass(frozen=True)
class Group:
    """Processes that work together.

    Args:
        rank, world: this is process ``rank`` of 0 .. ``world - 1``.
        local_rank: its number on its machine.
        control: the gloo group of everything that is not a gradient.
        board: a store of keys that all processes see, and that outlives each of them.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    control: ProcessGroup | None = None
    board: Store | None = None

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, the one that writes files and speaks."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.world == 1

    # --- sharing out --------------------------------------------------------------------------------------------------

    def my_part(self, items: Items) -> Items:
        """This process's share of a sequence: contiguous, the first ones longer by one where it does not divide."""
        mine = cut(len(items), self.world)[self.rank]
        part: Items = items[mine.start : mine.stop]  # type: ignore[assignment]
        return part

    def gather_in_order(self, values: NDArray[Any] | None) -> NDArray[Any]:
        """The parts of all processes one after another, in each process.

        Args:
            values: (mine, ...), of one dtype and the same further axes everywhere; ``mine`` may differ. A process whose
                part was empty gives None; rank 0's never is.
        """
        if self.alone:
            assert values is not None
            return values
        import numpy as np
        import torch
        import torch.distributed as dist

        if values is None:
            values = np.empty(0, np.uint8)

        def gather(x: torch.Tensor) -> list[torch.Tensor]:
            found = [torch.empty_like(x) for _ in range(self.world)]
            dist.all_gather(found, x, group=self.control)
            return found

        counts = [int(count) for count in gather(torch.tensor(len(values)))]
        kind, *further = json.loads(self.told(lambda: json.dumps([values.dtype.str, *values.shape[1:]])))
        padded = np.zeros((max(counts), *further), kind)
        if len(values):
            padded[: len(values)] = values
        parts = gather(torch.from_numpy(padded.reshape(-1).view(np.uint8)))
        arrays = [part.numpy().view(kind).reshape(padded.shape) for part in parts]
        return np.concatenate([array[:count] for array, count in zip(arrays, counts, strict=True)])

    # --- agreeing -----------------------------------------------------------------------------------------------------

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.largest(0)

    def largest(self, value: int) -> int:
        """The largest of the values that the processes bring."""
        if self.alone:
            return value
        import torch
        import torch.distributed as dist

        found = torch.tensor(value)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.control)
        return int(found)

    def told(self, say: Callable[[], str], by: int = 0) -> str:
        """What rank ``by`` says; the others do not even ask themselves."""
        if self.alone:
            return say()
        import torch
        import torch.distributed as dist

        text = os.fsencode(say()) if self.rank == by else b""
        size = torch.tensor(len(text))
        dist.broadcast(size, by, group=self.control)
        letters = torch.empty(int(size), dtype=torch.uint8)
        if self.rank == by:
            letters = torch.tensor(list(text), dtype=torch.uint8)
        dist.broadcast(letters, by, group=self.control)
        return os.fsdecode(letters.numpy().tobytes())

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Rank 0 goes through the block first, then one process of every machine, then the others.

        For what is made once and found afterwards, such as prepared data: where machines share a disk it is made by
        rank 0, where they do not, once on each.
        """
        if self.alone:
            yield
            return
        mine = 0 if self.leads else 1 if self.local_rank == 0 else 2
        for turn in range(3):
            if turn == mine:
                yield
            self.barrier()

    # --- failing ------------------------------------------------------------------------------------------------------

    def watch(self, ended: threading.Event) -> None:
        """Sign in for this process when another one calls the roll, whatever this one is waiting for."""
        assert self.board is not None
        try:
            while not ended.wait(WATCH):
                if self.board.check(["roll"]):
                    self.board.set(f"survivor-{self.rank}", "here")
                    return
        except RuntimeError:  # the board is gone, and with it whoever would read it
            return

    def lost(self, advice: str) -> UndiffuseError:
        """The sentence for a connection that broke: which ranks are gone, and what to do.

        Args:
            advice: how to go on.
        """
        assert self.board is not None
        _ignore_sigterm()
        try:
            self.board.set("roll", "")
            if not self.board.check(["said"]):
                time.sleep(ROLL_CALL)
            gone = [k for k in range(self.world) if not self.board.check([f"survivor-{k}"])]
        except RuntimeError:
            gone = [0]  # the board hangs where rank 0 is, or where torchrun is
        ranks = " and ".join(map(str, gone)) or "unknown"
        return UndiffuseError(f"the connection to rank {ranks} of {self.world} was lost, so all ranks stop; {advice}")

    def settle(self, error: UndiffuseError) -> None:
        """Decide which process tells the user: rank 0 where it can, else the first that has something to say."""
        _ignore_sigterm()
        assert self.board is not None
        try:
            deadline = time.monotonic() + (0 if self.leads else FIRST_SAY)
            while not self.board.check(["said"]) and time.monotonic() < deadline:
                time.sleep(0.02)
            mine = f"{self.rank} {error.status}"
            said = self.board.compare_set("said", "", mine).decode()
        except RuntimeError:
            error.speaks = True
            return
        error.speaks = said == mine
        error.status = int(said.split()[1])
        if not error.speaks:
            time.sleep(0.3)  # torchrun ends everyone when the first is gone: the one who speaks should be that
        elif not self.leads:
            error.args = (f"rank {self.rank} on {socket.gethostname()}: {error}",)


ALONE = Group()
"""A program that runs by itself."""


def cut(count: int, pieces: int) -> list[range]:
    """0 .. count - 1 in contiguous pieces, the first ones longer by one where it does not divide (as tensor_split)."""
    least, more = divmod(count, pieces)
    starts = [k * least + min(k, more) for k in range(pieces + 1)]
    return [range(*ends) for ends in pairwise(starts)]


def is_lost(error: BaseException) -> bool:
    """Whether this is how torch says that a process cannot be reached."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


@contextmanager
def joined(advice: str = "start it again") -> Iterator[Group]:
    """The group of the processes that torchrun started together with this one, or `ALONE`.

    The variables are torchrun's own: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. The group is taken down
    at the end of the block, however it ends.

    Args:
        advice: how to go on when a process is lost.

    Raises:
        UndiffuseError: a process was lost, or a group exists already.
    """
    if started_together() == 1:
        yield ALONE
        return
    group = _join()
    ended = threading.Event()
    watch = threading.Thread(target=group.watch, args=(ended,), daemon=True)
    watch.start()
    try:
        yield group
    except UndiffuseError as error:
        group.settle(error)
        raise
    except RuntimeError as error:
        if not is_lost(error):
            raise
        sentence = group.lost(advice)
        group.settle(sentence)
        raise sentence from error
    finally:
        import torch.distributed as dist

        ended.set()
        watch.join()  # a thread inside torch when the interpreter ends would abort the process
        dist.destroy_process_group()


def _join() -> Group:
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if dist.is_initialized():
        raise UndiffuseError("undiffuse makes the process group itself: call it before init_process_group, or after it")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    timeout = _timeout()
    try:
        store, rank, world = next(rendezvous("env://", timeout=timeout))
        board = PrefixStore(_meet(store, rank, world, time.monotonic() + timeout.total_seconds()), store)
        dist.init_process_group(backend, store=board, rank=rank, world_size=world, timeout=timeout)
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
    except RuntimeError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).splitlines()[0]
        raise UndiffuseError(f"the processes could not find each other through {where} ({reason})") from error
    return Group(rank, world, local_rank, control, board)


def _meet(store: Store, rank: int, world: int, deadline: float) -> str:
    """A name for this meeting of processes: a corner of the store where none of them has been before.

    After a restart torchrun's store still holds the addresses of those who died, and whoever looks them up waits for
    the dead. So each process says hello under a name of its own; rank 0 invites those who said it last, again and
    again until all of them have answered.
    """
    me, names, meeting = uuid.uuid4().hex, "", ""
    store.set(f"hello/{rank}", me)
    while time.monotonic() < deadline:
        if rank == 0:
            found = " ".join(store.get(f"hello/{k}").decode() for k in range(world))
            if found != names:
                names, meeting = found, uuid.uuid4().hex
                store.set("invitation", f"{meeting} {names}")
        elif store.check(["invitation"]):
            meeting, *invited = store.get("invitation").decode().split()
            meeting = meeting if invited[rank] == me else ""
        if meeting:
            store.set(f"{meeting}/{rank}", "here")
            if rank == 0 and store.check([f"{meeting}/{k}" for k in range(world)]):
                store.set(f"{meeting}/begin", "")
            if store.check([f"{meeting}/begin"]):
                return meeting
        time.sleep(0.01)
    raise RuntimeError("not all of them came")


def _timeout() -> timedelta:
    text = os.environ.get(TIMEOUT, "") or str(MINUTES)
    try:
        return timedelta(minutes=float(text))
    except ValueError:
        raise UndiffuseError(f"{TIMEOUT} must be a number of minutes, such as 30, got '{text}'") from None


def _ignore_sigterm() -> None:
    """torchrun ends the others as soon as one has failed; this one is about to end by itself, with a sentence."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


# --- what torchrun says -----------------------------------------------------------------------------------------------


def started_together() -> int:
    """How many processes torchrun started; 1 without it."""
    known = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    return int(os.environ["WORLD_SIZE"]) if known else 1


def follows() -> bool:
    """Whether this is one of several processes, and not rank 0."""
    return started_together() > 1 and os.environ["RANK"] != "0"


def restarts() -> int:
    """How often torchrun has started this again after a failure (``--max-restarts``)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def may_restart() -> bool:
    """Whether torchrun would start this again after a failure."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def speaks(error: UndiffuseError) -> bool:
    """Whether this process is the one that tells the user; decided by rank 0's first say before a group was made."""
    if error.speaks is not None or not follows():
        return error.speaks is not False
    _ignore_sigterm()
    time.sleep(FIRST_SAY)
    return False
