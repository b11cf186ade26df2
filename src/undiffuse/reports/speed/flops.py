"""Floating-point operations of a network, counted without computing anything.

Two per multiplication and addition, of convolutions, matrix products and attention done directly; everything else
is a per cent or two. A faster algorithm does not lower the count: the figure says what was asked for.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def flops(network: nn.Module, shape: tuple[int, ...], batch: int, backward: bool = False) -> int:
    """FLOPs of one evaluation of ``batch`` samples of ``shape`` (channels, *spatial).

    With the backward pass about three times as many. Tensors are without storage, which have shapes and nothing else.
    """
    ghost = copy.deepcopy(network).to("meta").train(backward)
    x, time = torch.empty(batch, *shape, device="meta"), torch.empty(batch, device="meta")
    with torch.set_grad_enabled(backward), FlopCounterMode(display=False) as counter:
        y = ghost(x, time)
        if backward:
            y.sum().backward()
    return int(counter.get_total_flops())
