"""PyTorch's modes as a new process has them, whatever the caller's are.

A notebook's ``torch.no_grad()``, ``torch.inference_mode()``, ``torch.autocast(...)``, default type or default device
reach into everything that is called under them: a training has no gradients there, and samples have other bits than
their files say. What is called from outside works in modes of its own, and the caller's come back with its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch
from torch import nn

T = TypeVar("T")


@contextmanager
def own_modes() -> Iterator[None]:
    """Inside: gradients on, no inference mode, no autocast, float32 by default, on the CPU by default.

    Of the block or, as ``@own_modes()``, of a function. A generator must not yield inside: its caller would be in them.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if (before := torch.get_default_dtype()) != torch.float32:
            stack.callback(torch.set_default_dtype, before)
            torch.set_default_dtype(torch.float32)
        if (
            torch.get_default_device().type != "cpu"
        ):  # every call goes through such a default, so only where there is one
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Inside: the network without dropout; afterwards each of its modules is in the mode in which it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def evaluating(network: nn.Module, items: Iterable[T]) -> Iterator[T]:
    """The items, each made in `own_modes`, which the caller is outside of whenever one is yielded, and in evaluation
    mode, in which the network stays until the last one."""
    iterator = iter(items)
    with evaluation_mode(network):
        while True:
            with own_modes():
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
