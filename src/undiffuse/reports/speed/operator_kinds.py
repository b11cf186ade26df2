"""The parts of a step's time, by kind of operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

KINDS = (
    ("convolution", ("convolution", "conv2d", "cudnn", "_slow_conv")),
    ("attention", ("scaled_dot_product", "flash_attention", "efficient_attention", "softmax")),
    ("normalisation", ("group_norm", "layer_norm", "batch_norm")),
    ("matrix product", ("::mm", "::bmm", "addmm", "baddbmm", "::matmul", "linear")),
    ("activation", ("silu", "gelu", "relu", "dropout")),
    ("optimiser and averages", ("adam", "_foreach_", "lerp", "clip_grad")),
    ("copies and layout", ("copy_", "::cat", "contiguous", "::to", "::pad", "upsample", "pixel_shuffle", "::fill_")),
    ("random numbers", ("normal", "uniform", "random", "::rand")),
)
"""(kind, parts of operators' names), the first that fits."""
OTHER = "other"


def kind_of(name: str) -> str:
    lowered = name.lower()
    return next((kind for kind, parts in KINDS if any(part in lowered for part in parts)), OTHER)


def shares(work: Callable[[], object], device: torch.device, repeats: int = 3) -> dict[str, float]:
    """Part of the operators' own time that each kind takes, largest first; the parts add up to 1."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    work()
    with profile(activities=activities) as recorded:
        for _ in range(repeats):
            work()
        if cuda:
            torch.cuda.synchronize(device)
    found: dict[str, float] = {}
    for event in recorded.key_averages():
        own = event.self_device_time_total if cuda else event.self_cpu_time_total
        if event.key.startswith("aten::") or cuda:
            kind = kind_of(event.key)
            found[kind] = found.get(kind, 0.0) + own
    total = sum(found.values()) or 1.0
    return dict(sorted(((kind, own / total) for kind, own in found.items()), key=lambda item: -item[1]))
