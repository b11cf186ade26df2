"""Find the first tensor of a step that is not finite."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

TOO_LARGE = "the norm of the gradient, too large for its number format"
"""Where nothing else was found."""


def first_non_finite(network: nn.Module, run: Callable[[], Tensor]) -> str:
    """Repeat a step under hooks, and name the first thing in it that is not finite.

    The order is that of the computation: parameters, what enters the network, what enters and leaves its modules as
    they run, the losses, and then the gradients of the parameters from the last to the first.

    Args:
        run: forward and backward pass of the step; returns the losses.
    """
    for name, parameter in network.named_parameters():
        if not _finite(parameter):
            return f"parameter '{name}'"
    found: list[str] = []

    def watch(name: str, module: nn.Module) -> list[RemovableHandle]:
        called = f"module '{name}'" if name else "the network"

        def before(_: nn.Module, inputs: tuple[object, ...]) -> None:
            if not found and not all(map(_finite, inputs)):
                found.append(f"the input of {called}")

        def after(_: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            if not found and not _finite(output):
                found.append(f"the output of {called}")

        return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]

    handles = [handle for item in network.named_modules() for handle in watch(*item)]
    try:
        losses = run()
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return found[0]
    if not _finite(losses):
        return "the loss"
    for name, parameter in reversed(list(network.named_parameters())):
        if parameter.grad is not None and not _finite(parameter.grad):
            return f"the gradient of parameter '{name}'"
    return TOO_LARGE


def _finite(value: object) -> bool:
    return not isinstance(value, Tensor) or bool(torch.isfinite(value).all())
