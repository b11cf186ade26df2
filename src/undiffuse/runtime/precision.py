"""The number format that a network computes in: float32, or bfloat16 with everything around it in float32.

bfloat16 has float32's range and 8 of its 24 bits. Autocast runs convolutions and matrix products in it; weights, the
state of a sampler, its arithmetic and the losses stay float32.

* 'auto' is bfloat16 where CUDA has it in hardware, and float32 elsewhere.
* A CPU without instructions for bfloat16 computes in it all the same, up to 60 times as slowly as in float32. Whether
  this one has them is found out by a small convolution in either format. Asking for instruction sets would need
  PyTorch's private predicates, which know x86 alone and say what the processor can, not what its libraries do: both
  those of AVX-512 and oneDNN's own say yes where oneDNN was told to leave the instructions alone
  (``ONEDNN_MAX_CPU_ISA``). Measured: 0.4 to 0.7 of float32's time with AVX-512 BF16, 2.4 to 3 times with AVX-512
  alone, 26 to 60 times with AVX2.
"""

from __future__ import annotations

import time
import warnings
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from undiffuse.config.network import PrecisionName


SLOW = 1.7
"""Times as long as in float32, from which on a CPU is said not to compute in bfloat16: between what those that do and
those that do not were measured at, and far from both."""


def uses_bfloat16(precision: PrecisionName, device: torch.device) -> bool:
    """True where bfloat16 was asked for, and by 'auto' where CUDA has it in hardware."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bfloat16"


def settled(precision: PrecisionName, device: torch.device) -> PrecisionName:
    """The meaning of 'auto' on this device, and any other as it is; with a warning where that is slow."""
    if not uses_bfloat16(precision, device):
        return "float32"
    if sentence := slow_bfloat16(device):
        warnings.warn(sentence, stacklevel=1)  # from here, whoever asks: so it is said once
    return "bfloat16"


class InBfloat16(nn.Module):
    """A network whose evaluations run under bfloat16 autocast; ``network(x, time, **conditions)`` as before."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            output: Tensor = self.network(x, time, **conditions)
        return output


def in_precision(network: nn.Module, precision: PrecisionName) -> nn.Module:
    """The network for evaluations in this format, which must be `settled`."""
    return InBfloat16(network) if precision == "bfloat16" else network


@cache
def times_as_long() -> float:
    """A convolution's time in bfloat16 on this CPU, in units of that in float32.

    The least of several, which other programs do not change, on one thread: two would wait for each other.
    """
    draw = torch.Generator().manual_seed(0)
    x, kernel = torch.randn(4, 32, 16, 16, generator=draw), torch.randn(32, 32, 3, 3, generator=draw)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        float32, bfloat16 = (
            min(_seconds(x.to(dtype), kernel.to(dtype)) for _ in range(10)) for dtype in (torch.float32, torch.bfloat16)
        )
    finally:
        torch.set_num_threads(threads)
    return bfloat16 / float32


def _seconds(x: Tensor, kernel: Tensor) -> float:
    before = time.perf_counter()
    torch.conv2d(x, kernel, padding=1)
    return time.perf_counter() - before


def in_hardware() -> bool:
    """True where this CPU computes in bfloat16."""
    return times_as_long() < SLOW


def slow_bfloat16(device: torch.device) -> str:
    """A warning for networks in bfloat16 on this device, where it is a CPU that does not compute in it; or ''."""
    if device.type != "cpu" or in_hardware():
        return ""
    return (
        f"in bfloat16 a convolution takes {times_as_long():.2g} times as long as in float32 on this CPU, which has no "
        "instructions for it: use `precision=float32`"
    )
