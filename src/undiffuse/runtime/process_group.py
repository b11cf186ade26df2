"""Many processes as one: who they are, how work is shared out, and how they agree; see `rank_failure` for their end.

torchrun starts the same program several times and tells each by environment variables which one it is. `joined` makes
a `Group` of them; a program that was started without torchrun gets `ALONE`, which costs nothing and loads no torch.

    with joined() as group:
        mine = group.shard(images)                     # 0..k-1 here, k..2k-1 there
        values = group.gather_in_order(work(mine))       # of all images, in order, in every process

Notable choices:

* What is not a gradient travels by a gloo group of its own. It has no deadline, because others may have to wait for
  hours while one process prepares data; but it notices at once when a process is gone, since its connections close.
"""

from __future__ import annotations

import json
import os
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
from undiffuse.runtime.rank_failure import choose_speaker, is_lost, lost_ranks, watch
from undiffuse.runtime.torchrun import started_together

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.distributed import ProcessGroup
    from torch.distributed.distributed_c10d import Store

Items = TypeVar("Items", bound=Sequence[Any])

TIMEOUT = "UNDIFFUSE_TIMEOUT"
"""Environment variable: minutes after which a process that does not take part in an exchange of gradients is lost."""
MINUTES = 30.0
"""Its default: rank 0 may draw a grid of samples meanwhile, or write a large checkpoint."""
CONTROL_TIMEOUT = timedelta(days=30)
"""Deadline of everything else."""


@dataclass(frozen=True)
class Group:
    """Processes that work together.

    Args:
        rank, world: this is process ``rank`` of 0 .. ``world - 1``.
        local_rank: its number on its machine.
        control: the gloo group of everything that is not a gradient.
        store: a store of keys that all processes see, and that outlives each of them.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    control: ProcessGroup | None = None
    store: Store | None = None

    @property
    def is_main(self) -> bool:
        """True for rank 0, the one that writes files and speaks."""
        return self.rank == 0

    @property
    def is_single(self) -> bool:
        return self.world == 1

    # --- sharing out --------------------------------------------------------------------------------------------------

    def shard(self, items: Items) -> Items:
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
        if self.is_single:
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
        kind, *further = json.loads(self.broadcast_text(lambda: json.dumps([values.dtype.str, *values.shape[1:]])))
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
        if self.is_single:
            return value
        import torch
        import torch.distributed as dist

        found = torch.tensor(value)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.control)
        return int(found)

    def broadcast_text(self, say: Callable[[], str], by: int = 0) -> str:
        """The text that rank ``by`` says; the others do not even ask themselves."""
        if self.is_single:
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
    def main_first(self) -> Iterator[None]:
        """Rank 0 goes through the block first, then one process of every machine, then the others.

        For what is made once and found afterwards, such as prepared data: where machines share a disk it is made by
        rank 0, where they do not, once on each.
        """
        if self.is_single:
            yield
            return
        mine = 0 if self.is_main else 1 if self.local_rank == 0 else 2
        for turn in range(3):
            if turn == mine:
                yield
            self.barrier()


ALONE = Group()
"""A program that runs by itself."""


def cut(count: int, pieces: int) -> list[range]:
    """0 .. count - 1 in contiguous pieces, the first ones longer by one where it does not divide (as tensor_split)."""
    least, more = divmod(count, pieces)
    starts = [k * least + min(k, more) for k in range(pieces + 1)]
    return [range(*ends) for ends in pairwise(starts)]


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
    watcher = threading.Thread(target=watch, args=(group, ended), daemon=True)
    watcher.start()
    try:
        yield group
    except UndiffuseError as error:
        choose_speaker(group, error)
        raise
    except RuntimeError as error:
        if not is_lost(error):
            raise
        sentence = lost_ranks(group, advice)
        choose_speaker(group, sentence)
        raise sentence from error
    finally:
        import torch.distributed as dist

        ended.set()
        watcher.join()  # a thread inside torch when the interpreter ends would abort the process
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
        shared = PrefixStore(_meet(store, rank, world, time.monotonic() + timeout.total_seconds()), store)
        dist.init_process_group(backend, store=shared, rank=rank, world_size=world, timeout=timeout)
        control = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
    except RuntimeError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).splitlines()[0]
        raise UndiffuseError(f"the processes could not find each other through {where} ({reason})") from error
    return Group(rank, world, local_rank, control, shared)


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
