"""Floating-point operations of a network, counted without computing anything.

Two per multiplication and addition, of convolutions, matrix products and attention done directly; everything else
is a per cent or two. A faster algorithm does not lower the count: the figure says what was asked for.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(network: nn.Module, shape: tuple[int, ...], batch: int) -> int:
    """FLOPs of one evaluation of ``batch`` samples of ``shape`` (channels, *spatial)."""
    with torch.no_grad():
        return _count(network, shape, batch, backward=False)


def step_flops(network: nn.Module, shape: tuple[int, ...], batch: int) -> int:
    """FLOPs of a forward and a backward pass; about three times the forward one."""
    return _count(network, shape, batch, backward=True)


def _count(network: nn.Module, shape: tuple[int, ...], batch: int, backward: bool) -> int:
    """On tensors without storage, which have shapes and nothing else."""
    ghost = copy.deepcopy(network).to("meta").train(backward)
    x, time = torch.empty(batch, *shape, device="meta"), torch.empty(batch, device="meta")
    with FlopCounterMode(display=False) as counter:
        y = ghost(x, time)
        if backward:
            y.sum().backward()
    return int(counter.get_total_flops())
