"""Gradients of several threads, summed while the backward passes still run, always in the same order.

    gradient = ((what was there + of part 0) + of part 1) + ...        rounded the same way in every run

Each thread goes backwards through its rows of the batch. Where it has the gradient of a parameter it waits until the
threads before it have added theirs, adds its own, and lets go of it. So there is one set of gradients, however many
threads: kept side by side until all are through, 16 threads would hold 16, and one thread would have to add them up.

A thread that has ended, by an error too, keeps nobody waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Condition, local
from typing import TypeVar

from torch import Tensor, nn

from undiffuse.runtime.threads import ThreadPool

T = TypeVar("T")
R = TypeVar("R")


class ThreadedGradients:
    """A team of threads that differentiate, each a part of one sum, with respect to a network's parameters."""

    def __init__(self, team: ThreadPool, network: nn.Module) -> None:
        self.team = team
        self._mine = local()
        self._news = Condition()
        self._ended: set[int] = set()
        self._added: dict[str, int] = {}
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                self._added[name] = 0
                parameter.register_hook(partial(self._wait, name))
                parameter.register_post_accumulate_grad_hook(partial(self._tell, name))

    @property
    def size(self) -> int:
        return self.team.size

    def run(self, work: Callable[[T], tuple[R, Tensor]], parts: Sequence[T]) -> list[R]:
        """``work`` gives a result and a scalar for each part: the results, with the gradient of the scalars' sum added
        to the parameters' gradients."""
        self._ended.clear()
        self._added = dict.fromkeys(self._added, 0)

        def backward(numbered: tuple[int, T]) -> R:
            number, part = numbered
            with self._part(number):
                result, total = work(part)
                total.backward()
            return result

        return self.team.run(backward, list(enumerate(parts)))

    @contextmanager
    def _part(self, number: int) -> Iterator[None]:
        self._mine.number = number
        try:
            yield
        finally:
            self._mine.number = None
            with self._news:
                self._ended.add(number)
                self._news.notify_all()

    def _wait(self, name: str, gradient: Tensor) -> None:
        number = getattr(self._mine, "number", None)
        if number is None:  # somebody else's backward pass
            return
        with self._news:
            self._news.wait_for(lambda: self._added[name] == number or self._ended.issuperset(range(number)))

    def _tell(self, name: str, parameter: Tensor) -> None:
        with self._news:
            self._added[name] += 1
            self._news.notify_all()
