"""Files of tensors, looked at before they are read: names and shapes first, values one by one when all of them fit.

safetensors are mapped into memory. Pickled files (``.bin``, ``.pt``, ``.ckpt``) are opened with ``weights_only=True``
alone, which knows tensors, numbers, texts and lists of them and runs no code; of those only zip archives with nothing
compressed in them, as torch has written since 1.6, so that a small file cannot grow while it is read.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.safe_tensors import unique_names

PICKLED = (".bin", ".pt", ".pth", ".ckpt")
"""Endings of torch's pickled files."""
FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensors:
    """The tensors of an open file: the shape of each by its name, and its values when they are asked for."""

    shapes: Mapping[str, Shape]
    values: Callable[[str], Tensor]

    def __call__(self, name: str) -> Tensor:
        return self.values(name)

    def renamed(self, names: Mapping[str, str]) -> Tensors:
        """The tensors under other names; ``names`` has the file's for each of them."""
        return Tensors({new: self.shapes[old] for new, old in names.items()}, lambda new: self(names[new]))


def held(tensors: Mapping[str, Tensor]) -> Tensors:
    """Tensors in memory."""
    return Tensors({name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors.__getitem__)


WRAPPERS = ("module.", "_orig_mod.")
"""Before every name of a network that was saved inside DistributedDataParallel or torch.compile."""


def unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Names without what a wrapper has put before all of them, to the names that they had."""
    found = {name: name for name in names}
    while found and (wrapper := next((w for w in WRAPPERS if all(name.startswith(w) for name in found)), None)):
        found = {name.removeprefix(wrapper): old for name, old in found.items()}
    return found


@contextmanager
def opened(path: Path) -> Iterator[Tensors]:
    """The floating-point tensors of a file, for as long as it is open."""
    if path.suffix in PICKLED:
        tree = load_pickled(path)
        check_state_dict(tree, path)
        yield held(tree)
        return
    try:
        _check_names(path)
        file = safetensors.safe_open(path, "pt")
    except OSError as error:
        raise UndiffuseError(f"cannot read {path}: {error.strerror or error}") from None
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise UndiffuseError(f"{path} is not a valid safetensors file: {error}") from None
    with file as mapped:
        slices = {name: mapped.get_slice(name) for name in mapped.keys()}  # noqa: SIM118 - not a mapping
        for name, part in slices.items():
            if part.get_dtype() not in FLOATS:
                raise UndiffuseError(f"{path} has '{name}' of type {part.get_dtype()}, where weights are floats")
        yield Tensors({name: tuple(part.get_shape()) for name, part in slices.items()}, mapped.get_tensor)


def _check_names(path: Path) -> None:
    """Refuse a header that names a tensor twice: the library lets it pass."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        json.loads(file.read(length), object_pairs_hook=unique_names)


def check_state_dict(tree: Any, path: Path) -> None:
    """Check that a file holds a dictionary of floating-point tensors."""
    valid = isinstance(tree, dict) and all(isinstance(name, str) for name in tree)
    if not valid or not all(isinstance(value, Tensor) and _is_dense(value) for value in tree.values()):
        raise UndiffuseError(f"{path} should hold tensors by their names and nothing else")
    if sum(tensor.nbytes for tensor in tree.values()) > path.stat().st_size:
        raise UndiffuseError(f"{path} is not valid: its tensors claim more than the file holds")


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout == torch.strided and tensor.device.type == "cpu"


def load_pickled(path: Path) -> Any:
    """The contents of one of torch's pickled files, if they are tensors, numbers, texts and collections of these."""
    instead = "save its tensors with safetensors.torch.save_file where you trust it, and give that file"
    try:
        with zipfile.ZipFile(path) as archive:
            plain = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        if not plain:
            raise UndiffuseError(f"{path} is compressed, as torch writes no file of weights: {instead}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except zipfile.BadZipFile:
        raise UndiffuseError(f"{path} is no archive as torch has written them since version 1.6: {instead}") from None
    except pickle.UnpicklingError:
        raise UndiffuseError(f"{path} holds pickled objects beside its tensors and is not opened: {instead}") from None
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, TypeError, AttributeError, IndexError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UndiffuseError(f"{path} cannot be read as a file of torch's ({first[:200]}): {instead}") from None
