"""A model for other programs: which formats there are, `TARGETS`, and who writes each.

A format is a module with ``write(model, path, overwrite) -> list[str]``: it writes the file or the folder and returns
what it has to say of it, in lines. It is imported when it is asked for, so this list is free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from undiffuse.errors import in_one_sentence

if TYPE_CHECKING:
    from undiffuse.model import AnyModel


@dataclass(frozen=True)
class Target:
    """A format for people, and the module that writes it."""

    what: str
    module: str


TARGETS = {
    "onnx": Target("ONNX, and beside it a script that samples with NumPy and onnxruntime alone", "export.onnx_file"),
    "onnx-int8": Target("the same with weights of 8 bits, a quarter of the size", "export.int8"),
    "diffusers": Target(
        "a folder that diffusers loads, by its own classes or by code beside the weights", "export.diffusers_folder"
    ),
    "file": Target("one safetensors file for undiffuse, in half precision", "export.model_file"),
    "adapter": Target(
        "what a training with `lora_rank` learned, alone; NAME+FILE is the model with it", "export.adapter"
    ),
    "pt2": Target("torch.export's file: PyTorch runs it without this package", "export.pt2_file"),
}


@in_one_sentence
def convert(model: AnyModel, path: Path, target: str, overwrite: bool = False) -> list[str]:
    """Write a model in one of the `TARGETS`; what was written and how exact it is, in lines.

    Raises:
        UndiffuseError: something is at ``path`` already, a package is missing, or the format cannot hold the model.
    """
    from undiffuse.export.preconditions import check_whole
    from undiffuse.runtime.torch_modes import own_modes

    with own_modes():
        write = import_module(f"undiffuse.{TARGETS[target].module}").write
        lines: list[str] = write(check_whole(model), path, overwrite)
    return lines
