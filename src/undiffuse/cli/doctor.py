"""What this computer has: versions, device, memory, threads, optional parts. Send it along with a question."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from argparse import Namespace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from undiffuse.cli.parser import Parser
from undiffuse.errors import counted
from undiffuse.runtime.cores import waiting, why
from undiffuse.runtime.installing import install, install_extra

PARTS = ("torch", "numpy", "pillow", "safetensors", "jaxtyping", "pyyaml", "tqdm")
OPTIONAL = {
    "fastapi": ("undiffuse studio", "studio"),
    "av": ("videos as data, MP4 films", "video"),
    "pyarrow": ("parquet files", "parquet"),
    "datasets": ("data sets hf:NAME", "datasets"),
    "lmdb": ("LMDB", "lmdb"),
    "huggingface_hub": ("models by their names on the hub", "hub"),
    "onnx": ("convert --to onnx", "export"),
    "onnxruntime": ("extractors in ONNX files", "onnx"),
    "tensorboard": ("--track tensorboard", "tensorboard"),
    "wandb": ("--track wandb", "wandb"),
    "trackio": ("--track trackio", "trackio"),
}
"""Module: what it is for, the extra that brings it."""
GIB = 1024**3


def configure(parser: Parser) -> None:
    """No options."""


def run(typed: Namespace) -> None:
    for name, value in facts():
        print(f"{name:<17}{value}")


def facts() -> list[tuple[str, str]]:
    """(what, value) in the order of printing."""
    from undiffuse.version import __version__

    return [
        ("undiffuse", f"{__version__} in {Path(__file__).parents[1]}"),
        ("python", f"{platform.python_version()} in {sys.prefix}"),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        *((part, version(part)) for part in PARTS),
        *devices(),
        ("memory", f"{memory() / GIB:.1f} GiB" if memory() else "unknown"),
        ("disk", f"{shutil.disk_usage('.').free / GIB:.1f} GiB free here"),
        *((module, optional(module)) for module in OPTIONAL),
    ]


def version(part: str) -> str:
    try:
        return metadata.version(part)
    except metadata.PackageNotFoundError:
        return f"missing: {install(part)}"


def optional(module: str) -> str:
    purpose, extra = OPTIONAL[module]
    return f"present ({purpose})" if find_spec(module) else f"absent: for {purpose}, {install_extra(extra)}"


def devices() -> list[tuple[str, str]]:
    import torch

    from undiffuse.runtime.precision import in_hardware, times_as_long

    word = "bfloat16" if in_hardware() else "no bfloat16"
    cost = f"{word} (a convolution takes {times_as_long():.2g} times as long as in float32)"
    threads = torch.get_num_threads()
    rows = [
        ("cpu", f"{counted(os.cpu_count() or 1, 'core')}, torch uses {counted(threads, 'thread')}, {cost}"),
        ("threads", f"{threads}: {why(threads)}"),
        ("waiting", waiting()),
    ]
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        bfloat16 = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16"
        rows.append((f"cuda:{index}", f"{card.name}, {card.total_memory / GIB:.1f} GiB, {bfloat16}"))
    if not torch.cuda.is_available():
        rows.append(("cuda", "none" if torch.version.cuda else "none: this torch is built without CUDA"))
    rows.append(("mps", "present" if torch.backends.mps.is_available() else "none"))
    return rows


def memory() -> int:
    """Bytes of main memory, 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
