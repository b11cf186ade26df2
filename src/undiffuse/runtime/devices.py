"""Tensors for a device, without a wait for it.

    x.to("cuda")        waits until the GPU has done everything that it was asked to do, then copies
    send(x, cuda)       asks for the copy, too, and goes on

A step of a training or of a sampler sends ten coefficients and more. If each of them waits, the GPU stands idle while
Python prepares what comes next, tens of times a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.process_group import ALONE, Group

SMALL = 1 << 16
"""Bytes that CUDA takes along with the request itself. It stages more of them in pinned memory, for which it may wait,
unless they lie there already."""


def there(device: torch.device | str) -> torch.device:
    """A device that can be computed on."""
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UndiffuseError(
            f"there is no device '{device}' here ({reason}); use auto, cpu, cuda, cuda:1 or mps"
        ) from None
    return found


def choose_device(name: str, group: Group = ALONE) -> torch.device:
    """The device that a setting names; 'auto' is CUDA, else MPS, else the CPU.

    Args:
        group: each of several processes on a machine takes a CUDA device of its own.

    Raises:
        UndiffuseError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and not group.is_single:
        name = f"cuda:{group.local_rank}"
    return there(name)


def send(x: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; itself where it is there.

    Only what leaves the CPU goes without a wait: what arrives there could be read before it is whole.
    """
    if x.device.type != "cpu" or device.type in ("cpu", "mps"):
        return x.to(device)
    if device.type == "cuda" and x.nbytes > SMALL:
        x = x.pin_memory()
    return x.to(device, non_blocking=True)
