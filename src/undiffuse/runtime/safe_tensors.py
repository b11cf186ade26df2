"""safetensors to and from bytes, trusting nothing that is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from undiffuse.errors import UndiffuseError


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file with these tensors: the same bytes for the same values.

    Through memory, since the library's ``save_file`` gives mode 0600 whatever the umask says.
    """
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def from_bytes(data: bytes, where: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; ``where`` is its name in messages."""
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        json.loads(data[8 : 8 + length], object_pairs_hook=unique_names)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise UndiffuseError(f"{where} is not a valid safetensors file: {error}") from None
    return tensors


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An ``object_pairs_hook`` for json that refuses a name that stands twice."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Compare names, shapes and types with those of the network or optimiser that the tensors are for."""
    if missing := expected.keys() - found.keys():
        raise UndiffuseError(f"{what} lacks '{min(missing)}' ({len(missing)} tensors in all): other settings made it")
    if unknown := found.keys() - expected.keys():
        raise UndiffuseError(f"{what} has an unknown '{min(unknown)}' ({len(unknown)} in all): other settings made it")
    for name, tensor in expected.items():
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise UndiffuseError(
                f"{what} has '{name}' of shape {tuple(found[name].shape)} and type {found[name].dtype}, "
                f"expected {tuple(tensor.shape)} and {tensor.dtype}: other settings made it"
            )
