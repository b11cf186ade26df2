"""One network for many requests: their evaluations are gathered and made together.

Each request walks its own trajectory in its own thread. What it calls as its network is a `SharedNetwork`, which hands
the rows to the model's `Evaluator` and waits. The evaluator's one thread takes whatever rows are waiting, of whichever
requests, times, samplers and guidance, and evaluates them as one batch: a request that arrives while others are half
way joins their next evaluation.

* Whoever stands beside it, a sample must come out as the command line draws it, to the last bit. A network's rounding
  may depend on the size of a batch and, in principle, on the place in it. So when a model is loaded, `sizes_alike`
  compares: only batches of sizes that gave the very same bits for the same rows, at other places and beside others, are
  mixed. Where none do, or where a request's own batch has another size, its calls are evaluated as they come, one
  after the other, exactly as the command line does.
* The command line always draws whole micro-batches; here only the rows that were asked for are evaluated.
* Calls that need gradients (edits by DPS and PiGDM) or bfloat16 are evaluated alone, as they come.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.errors import UndiffuseError
from undiffuse.networks.conditions import Condition
from undiffuse.runtime.precision import InBfloat16
from undiffuse.runtime.random_streams import generator

SIZES = (4, 8, 16, 32)
"""Rows of a mixed batch: the smallest that holds those that wait. 8 is 4 under classifier-free guidance."""
GATHER_SECONDS = 0.01
"""Seconds that rows wait for those of requests that are between two evaluations."""


class CancelledError(Exception):
    """The request was cancelled: raised in its own thread, at its next evaluation."""


class RequestHandle:
    """A request at the evaluator: the rows of each micro-batch that it wants, all by default; its calls so far."""

    def __init__(self) -> None:
        self.slots: frozenset[int] | None = None
        self.size = 1
        self.evaluations = 0
        self.cancelled = False
        self._call: _Call | None = None

    def want(self, slots: Sequence[int], size: int) -> None:
        """From now on, only these rows of each micro-batch of this size are wanted."""
        self.slots, self.size = frozenset(slots), size

    def want_all(self) -> None:
        """From now on, all rows are wanted: they depend on each other."""
        self.slots = None

    def cancel(self) -> None:
        """Wake the request, wherever it waits, and let it go no further."""
        self.cancelled = True
        if call := self._call:
            call.done.set()

    def check(self) -> None:
        if self.cancelled:
            raise CancelledError


@dataclass(eq=False)
class _Call:
    """One call of the network by one request."""

    handle: RequestHandle
    x: Tensor
    time: Tensor
    conditions: dict[str, Tensor]
    rows: list[int]
    """Those that are wanted."""
    alone: bool
    bfloat16: bool
    signature: tuple[Any, ...]
    taken: int = 0
    left: int = 0
    output: Tensor | None = None
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


_Part = tuple[_Call, list[int]]
"""Some rows of a call."""


class EvaluationCounter:
    """The number of evaluations, and of the rows wanted in them."""

    def __init__(self) -> None:
        self.evaluations = self.rows = 0
        self._lock = threading.Lock()

    def count(self, rows: int) -> None:
        with self._lock:
            self.evaluations += 1
            self.rows += rows


class Evaluator:
    """A network in evaluation mode and the thread that evaluates it.

    Args:
        sizes: batches of which sizes give the same bits, rising; from `sizes_alike`.
        on_batch: called with the number of wanted rows of each batch, for whoever counts.
    """

    def __init__(
        self, network: nn.Module, sizes: Sequence[int], on_batch: Callable[[int], object] = lambda rows: None
    ) -> None:
        self.network, self.sizes, self._on_batch = network, tuple(sizes), on_batch
        self._waiting: list[_Call] = []
        self._active = 0
        self._since = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="evaluator", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        return self._active > 0

    def network_for(self, handle: RequestHandle) -> SharedNetwork:
        return SharedNetwork(self, handle)

    @contextmanager
    def active(self) -> Iterator[None]:
        """A request is under way: others may wait for its rows a moment."""
        with self._changed:
            self._active += 1
        try:
            yield
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Stop the thread; calls that wait fail."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=60)

    # --- in the request's thread --------------------------------------------------------------------------------------

    def evaluate(self, handle: RequestHandle, x: Tensor, time: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """The network's output; rows that are not wanted are 0."""
        handle.check()
        bfloat16 = torch.is_autocast_enabled(x.device.type)  # in this request's thread
        alone = (torch.is_grad_enabled() and x.requires_grad) or bfloat16 or len(x) not in self.sizes
        wanted = handle.slots
        rows = [row for row in range(len(x)) if wanted is None or row % handle.size in wanted]
        shapes = tuple((name, *value.shape[1:], value.dtype) for name, value in sorted(conditions.items()))
        signature = (x.dtype, *x.shape[1:], *shapes)
        call = _Call(handle, x, time, dict(conditions), rows, alone, bfloat16, signature, left=len(rows))
        handle._call = call
        handle.evaluations += 1
        with self._changed:
            if self._closed:
                raise UndiffuseError("The studio is shutting down")
            if not self._waiting:
                self._since = _now()
            self._waiting.append(call)
            self._changed.notify_all()
        handle.check()  # a cancel between the first look and here did not find the call
        call.done.wait()
        handle._call = None
        handle.check()
        if call.error is not None:
            raise call.error
        assert call.output is not None
        return call.output

    # --- in the evaluator's thread ------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._ready():
                    self._changed.wait(GATHER_SECONDS if self._waiting else None)
                if self._closed:
                    for call in self._waiting:
                        call.error = UndiffuseError("The studio is shutting down")
                        call.done.set()
                    return
                parts = self._take()
            if parts:
                self._finish(parts)
                del parts  # the last batch must not outlive its requests

    def _ready(self) -> bool:
        """Whether to begin: the batch is full, everybody who may come is here, or was waited for."""
        self._waiting = [call for call in self._waiting if not call.handle.cancelled]
        if self._closed or not self._waiting:
            return self._closed
        rows = sum(len(call.rows) - call.taken for call in self._waiting)
        here = len(self._waiting) >= self._active
        return here or rows >= max(self.sizes, default=1) or _now() - self._since >= GATHER_SECONDS

    def _take(self) -> list[_Part]:
        """The oldest call and, where it may be mixed, as many rows of others as fit, in the order they came."""
        first = self._waiting[0]
        if first.alone:
            self._waiting.remove(first)
            return [(first, first.rows)]
        parts, room = list[_Part](), self.sizes[-1]
        for call in list(self._waiting):
            if call.alone or call.signature != first.signature or not room:
                continue
            some = call.rows[call.taken : call.taken + room]
            call.taken += len(some)
            room -= len(some)
            parts.append((call, some))
            if call.taken == len(call.rows):
                self._waiting.remove(call)
        self._since = _now()
        return parts

    def _finish(self, parts: list[_Part]) -> None:
        try:
            self._evaluate(parts)
        except Exception as error:  # the request's thread knows what to do with it
            for call, _ in parts:
                call.error = error
                call.left = 0
                with self._changed:
                    if call in self._waiting:
                        self._waiting.remove(call)
        for call, some in parts:
            call.left = max(0, call.left - len(some))
            if not call.left:
                call.done.set()

    def _evaluate(self, parts: list[_Part]) -> None:
        count = sum(len(some) for _, some in parts)
        self._on_batch(count)
        if parts[0][0].alone:
            call = parts[0][0]
            network = InBfloat16(self.network) if call.bfloat16 else self.network
            with torch.set_grad_enabled(call.x.requires_grad):
                call.output = network(call.x, call.time, **call.conditions)
            return
        size = next(size for size in self.sizes if size >= count)

        def gathered(values: Callable[[_Call], Tensor]) -> Tensor:
            rows = torch.cat([values(call)[some] for call, some in parts])
            return torch.cat([rows, rows[-1:].expand(size - count, *rows.shape[1:])]) if size > count else rows

        names = parts[0][0].conditions
        with torch.no_grad():
            output = self.network(
                gathered(lambda call: call.x),
                gathered(lambda call: call.time),
                **{name: gathered(lambda call, name=name: call.conditions[name]) for name in names},  # type: ignore[misc]
            )
        first = 0
        for call, some in parts:
            if call.output is None:
                call.output = output.new_zeros((len(call.x), *output.shape[1:]))
            call.output[some] = output[first : first + len(some)]
            first += len(some)


_now: Callable[[], float] = time.monotonic


class SharedNetwork(nn.Module):
    """A network whose evaluations are the evaluator's; its parameters are the network's own."""

    def __init__(self, evaluator: Evaluator, handle: RequestHandle) -> None:
        super().__init__()
        self.network = evaluator.network
        self._evaluator, self._ticket = evaluator, handle

    def forward(self, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
        return self._evaluator.evaluate(self._ticket, x, time, conditions)

    def train(self, mode: bool = True) -> SharedNetwork:
        """Do nothing: others use the network at this moment."""
        return self


@torch.no_grad()
def sizes_alike(
    network: nn.Module, shape: Sequence[int], told: Sequence[Condition], device: torch.device, reference: int
) -> list[int]:
    """The sizes of batches, of ``reference`` and `SIZES`, in which a row has the same bits as in one of ``reference``.

    Random rows are evaluated in a batch of that many, and again in batches of each size, at other places and with
    others beside them. Empty where even batches of ``reference`` rows differ from each other.

    Args:
        reference: rows of the command line's evaluations, the model's micro-batch. One row is a picture that fills the
            device alone: nothing is gained by mixing it with others, and nothing is evaluated here.
    """
    if reference == 1:
        return [1]
    sizes = sorted({reference, *SIZES})
    draw = generator(0, "sizes alike")
    count = max(sizes)
    x, time = torch.randn(count, *shape, generator=draw), 1000 * torch.rand(count, generator=draw)
    values = {"x": x, "time": time, **{condition.name: _told(condition, count, shape[1:], draw) for condition in told}}
    values = {name: value.to(device) for name, value in values.items()}

    def evaluated(rows: Tensor) -> Tensor:
        own = {name: value[rows.to(device)] for name, value in values.items()}
        output: Tensor = network(own.pop("x"), own.pop("time"), **own)
        return output

    rows = torch.arange(reference)
    wanted = evaluated(rows)
    found = []
    for size in sizes:
        order = torch.randperm(max(size, reference), generator=draw)[:size]
        mine = order < reference
        if evaluated(order)[mine.to(device)].equal(wanted[order[mine].to(device)]):
            found.append(size)
    return found if reference in found else []


def _told(condition: Condition, count: int, spatial: Sequence[int], draw: torch.Generator) -> Tensor:
    if condition.kind == "class":
        return torch.randint(0, condition.size + 1, (count,), generator=draw)
    size = condition.size
    inner = {"vector": (size,), "tokens": (4, size), "image": (size, *spatial)}[condition.kind]
    return torch.randn(count, *inner, generator=draw)
