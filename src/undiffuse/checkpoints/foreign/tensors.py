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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import safetensors
import torch
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.safe_tensors import unique_names

PICKLED = (".bin", ".pt", ".pth", ".ckpt")
"""Endings of torch's pickled files."""
FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}


class Tensors(Protocol):
    """The tensors of an open file."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each by its name."""
        ...

    def __call__(self, name: str) -> Tensor:
        """One of them."""
        ...


@dataclass(frozen=True)
class Held:
    """Tensors in memory."""

    tensors: Mapping[str, Tensor]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def __call__(self, name: str) -> Tensor:
        return self.tensors[name]


@dataclass(frozen=True)
class Mapped:
    """Tensors in a safetensors file."""

    file: Any
    shapes: Mapping[str, tuple[int, ...]]

    def __call__(self, name: str) -> Tensor:
        tensor: Tensor = self.file.get_tensor(name)
        return tensor


WRAPPERS = ("module.", "_orig_mod.")
"""Before every name of a network that was saved inside DistributedDataParallel or torch.compile."""


@dataclass(frozen=True)
class Renamed:
    """Tensors under other names: ``names`` has the file's for each of them."""

    tensors: Tensors
    names: Mapping[str, str]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {new: self.tensors.shapes[old] for new, old in self.names.items()}

    def __call__(self, name: str) -> Tensor:
        return self.tensors(self.names[name])


def unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Names without what a wrapper has put before all of them, to the names that they had."""
    found = {name: name for name in names}
    while found and (wrapper := next((w for w in WRAPPERS if all(name.startswith(w) for name in found)), None)):
        found = {name.removeprefix(wrapper): old for name, old in found.items()}
    return found


@contextmanager
def opened(path: Path) -> Iterator[Tensors]:
    """The floating-point tensors of a file, for as long as it is open.

    Raises:
        UndiffuseError: it cannot be read, is not what its name says, or holds what are no floating-point tensors.
    """
    if path.suffix in PICKLED:
        tree = load_pickled(path)
        check_state_dict(tree, path)
        yield Held(tree)
        return
    try:
        _check_names(path)
        file = safetensors.safe_open(path, "pt")
    except OSError as error:
        raise UndiffuseError(f"cannot read {path}: {error.strerror or error}") from None
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise UndiffuseError(f"{path} is not a valid safetensors file: {error}") from None
    with file as held:
        slices = {name: held.get_slice(name) for name in held.keys()}  # noqa: SIM118 - not a mapping
        for name, part in slices.items():
            if part.get_dtype() not in FLOATS:
                raise UndiffuseError(f"{path} has '{name}' of type {part.get_dtype()}, where weights are floats")
        yield Mapped(held, {name: tuple(part.get_shape()) for name, part in slices.items()})


def _check_names(path: Path) -> None:
    """Refuse a header that names a tensor twice, which the library lets pass."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        json.loads(file.read(length), object_pairs_hook=unique_names)


def check_state_dict(tree: Any, path: Path) -> None:
    """Refuse what is no dictionary of floating-point tensors.

    Raises:
        UndiffuseError: it is something else.
    """
    valid = isinstance(tree, dict) and all(isinstance(name, str) for name in tree)
    if not valid or not all(isinstance(value, Tensor) and _is_dense(value) for value in tree.values()):
        raise UndiffuseError(f"{path} should hold tensors by their names and nothing else")
    if sum(tensor.nbytes for tensor in tree.values()) > path.stat().st_size:
        raise UndiffuseError(f"{path} is not valid: its tensors claim more than the file holds")


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout == torch.strided and tensor.device.type == "cpu"


def load_pickled(path: Path) -> Any:
    """What is in one of torch's pickled files, if it is tensors, numbers, texts and collections of these.

    Raises:
        UndiffuseError: it is something else, which might run code; or compressed, or of torch before 1.6.
    """
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
