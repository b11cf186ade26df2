"""A batch shared out by rows among the cores of a CPU: each thread does a part of it from the first layer to the last.

PyTorch as it comes divides every operation among the threads: each waits for the slowest, hundreds of times a pass, and
thin matrix products and copies do not divide well. Here a thread takes rows instead, runs the whole network over them
on one core, and all meet once. With two cores that makes a training step of networks of 4 to 36 M parameters 1.2 to 1.4
times as quick (docs/develop/lab-notes.md); Winograd's convolutions, which pay on one core alone, are part of that.

A small network gains nothing, or loses: its operations are so short that the threads wait for Python, which serves one
at a time. So `pays` decides, by a fixed rule of shapes and never by a measurement at run time. The demo's network is
near the border: alone it is about as quick either way, but threads that meet once a step lose little where another
process takes a part of a core, and threads that meet in every operation lose most of their time
(docs/measure/quality-per-minute.md).

The result is that of the whole batch up to float rounding, which depends on the number of threads, as it does in
PyTorch, and on nothing else: parts are cut and summed in one order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from functools import lru_cache
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

WORK = 1 << 16
"""Activations of the first level, in each thread, from which threads pay."""


@runtime_checkable
class RowParallel(Protocol):
    """A network whose rows may be evaluated in threads, each by itself, and that says how much a row is."""

    def row_work(self, spatial: Sequence[int]) -> float:
        """Activations of the first level, of one row of these sizes."""
        ...


T = TypeVar("T")
R = TypeVar("R")


class ThreadPool:
    """As many threads as PyTorch has been given, each with one core."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pool = ThreadPoolExecutor(self.size)

    def run(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """``[work(part) for part in parts]``, all at once; gradients are recorded, and autocast is on, as they are for
        the caller."""
        recorded, threads = torch.is_grad_enabled(), torch.get_num_threads()
        autocast, format = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def alone(part: T) -> R:
            with torch.set_grad_enabled(recorded), torch.autocast("cpu", format) if autocast else nullcontext():
                return work(part)

        # A new thread takes PyTorch's number as it is at its first operation, MKL looks at it each time: it is 1 here.
        torch.set_num_threads(1)
        try:
            done = [self._pool.submit(alone, part) for part in parts]
            wait(done)  # for all of them, after an error in one, too
            return [future.result() for future in done]
        finally:
            torch.set_num_threads(threads)


@lru_cache
def the_team(size: int) -> ThreadPool:
    """The process's one team of a size, for training and evaluations alike.

    Each thread has its own part of the heap, and what one has freed no other can use: teams that take turns would hold
    the memory of all of them.
    """
    return ThreadPool(size)


class RowsInThreads(nn.Module):
    """A network whose batches are shared out among the cores; ``network(x, time, **conditions)`` as before.

    Too few rows go as they are, and so does what gradients are wanted of.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._team = the_team(torch.get_num_threads())

    def forward(self, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
        assert isinstance(self.network, RowParallel)
        if torch.is_grad_enabled() or not pays(self.network, x.shape, self._team.size):
            whole: Tensor = self.network(x, time, **conditions)
            return whole

        def evaluate(part: tuple[Tensor, ...]) -> Tensor:
            rows, times, *told = part
            y: Tensor = self.network(rows, times, **dict(zip(conditions, told, strict=True)))
            return y

        return torch.cat(self._team.run(evaluate, cut_rows((x, time, *conditions.values()), self._team.size)))


def in_threads(network: nn.Module) -> nn.Module:
    """The network for evaluations: on a CPU of several cores with its rows in threads, where it is a `RowParallel`."""
    if not isinstance(network, RowParallel) or torch.get_num_threads() == 1:
        return network
    return RowsInThreads(network) if next(network.parameters()).device.type == "cpu" else network


def pays(network: RowParallel, shape: Sequence[int], threads: int) -> bool:
    """True where a batch of this shape, (rows, channels, *spatial), is quicker with its rows in so many threads."""
    rows, _, *spatial = shape
    return threads > 1 and rows >= threads and rows / threads * network.row_work(spatial) >= WORK


def cut_rows(tensors: Sequence[Tensor], parts: int) -> list[tuple[Tensor, ...]]:
    """Tensors of as many rows each, cut alike into parts whose sizes differ by one at most."""
    return list(zip(*(tensor.tensor_split(parts) for tensor in tensors), strict=True))
