"""Convolutions in float32 on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Inside, a GPU convolves in float32: PyTorch rounds the inputs to 10 bits (TF32) unless told otherwise.

    Features are an instrument's reading; they must not depend on the device that it stands on.
    """
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield
