"""Timing that waits for the device, and what the device can do at best."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch

MATRIX = {"cpu": 2048, "cuda": 8192, "mps": 4096}
"""Side of the square matrices whose product is the ceiling, by kind of device."""


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    wait(device)
    before = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - before


def median_seconds(work: Callable[[], object], device: torch.device, budget: float, untimed: int = 2) -> float:
    """Median seconds of ``work``, repeated for about ``budget`` seconds, at least three times, after untimed runs."""
    return statistics.median(all_seconds(work, device, budget, untimed))


def all_seconds(work: Callable[[], object], device: torch.device, budget: float, untimed: int) -> list[float]:
    for _ in range(untimed):
        work()
    wait(device)
    began, times = time.perf_counter(), list[float]()
    while len(times) < 3 or time.perf_counter() - began < budget:
        times.append(seconds_of(work, device))
    return times


def ceiling(device: torch.device, dtype: torch.dtype, budget: float) -> float:
    """FLOP/s of a large matrix product in this number format: what nothing that multiplies directly exceeds.

    A small product says first how large it may be for the budget: a CPU without instructions for bfloat16 would spend
    minutes on one of full size.
    """
    side = MATRIX.get(device.type, 2048)
    small = side // 8
    rate = _rate(device, dtype, small, 0)
    while side > small and 4 * 2 * side**3 / rate > budget:
        side //= 2
    return _rate(device, dtype, side, budget)


def _rate(device: torch.device, dtype: torch.dtype, side: int, budget: float) -> float:
    """FLOP/s of the quickest product: the others were disturbed."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(all_seconds(lambda: a @ b, device, budget, untimed=1))


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: of the device, or of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used
