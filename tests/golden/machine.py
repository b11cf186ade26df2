"""What decides the last bits of what is computed here."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import torch

BITS = ("torch", "capability", "vendor")
"""Where these are equal, so are the bits."""


def machine() -> dict[str, str]:
    """Versions, and the kind of processor, by which PyTorch and its libraries choose their kernels."""
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "vendor": _vendor(),
        "pillow": version("pillow"),
        "numpy": version("numpy"),
    }


def _vendor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(found, platform.machine())
