"""An extractor out of a module of the user's own: ``--extractor module:PACKAGE.MODULE:FACTORY``.

    # my_features.py
    def build():
        network = MyNetwork().eval()                  # (batch, channels, *spatial) in [0, 1] -> (batch, D)
        network.load_state_dict(...)
        return network

    undiffuse evaluate runs/NAME --extractor module:./my_features.py:build

The factory takes no arguments. What it returns is called with a batch of float32 images in [0, 1] and gives features,
a pair (features, logits), or `Outputs`. It brings its own normalisation, and may say in an attribute ``resize`` how
images become its input. The code is run as it stands: name only modules that you trust.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.evaluation.features.extractor import Identity, Outputs
from undiffuse.runtime.safe_tensors import to_bytes

Answer = Tensor | tuple[Tensor, Tensor] | Outputs


@dataclass(frozen=True, eq=False)
class ModuleExtractor:
    """A user's function with the identity of its source and weights; use `load_module`."""

    function: Callable[[Tensor], Answer]
    identity: Identity
    device: torch.device

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "batch channels *spatial"]) -> Outputs:
        name = self.identity.name
        try:
            answer = self.function(images.to(self.device))
        except Exception as error:
            raise UndiffuseError(
                f"'{name}' failed on images of the shape {tuple(images.shape)}: {_say(error)}"
            ) from error
        if isinstance(answer, Tensor):
            answer = Outputs(answer)
        elif isinstance(answer, tuple) and len(answer) == 2:
            answer = Outputs(answer[0], logits=answer[1])
        if not isinstance(answer, Outputs):
            raise UndiffuseError(
                f"expected '{name}' to give features, (features, logits) or Outputs, got {type(answer).__name__}"
            )
        for what, rows in (answer.tensors() | {"features": answer.features}).items():
            check_rows(name, what, rows, len(images))
        return answer


def load_module(words: str, device: torch.device | str = "cpu") -> ModuleExtractor:
    """The extractor 'module:WORDS', which are PACKAGE.MODULE:FACTORY or FILE.py:FACTORY.

    Its sha256 is that of the module's source file, followed by the weights as a safetensors file where the factory
    returns an ``nn.Module``, which is also moved to the device and set to evaluation. Weights that a plain function
    holds, and other files that the source imports, are not part of it.

    Raises:
        UndiffuseError: no such module or factory, or one that fails or returns something that cannot be called.
    """
    place, _, factory = words.rpartition(":")
    if not place or not factory:
        raise UndiffuseError(f"expected `extractor=module:PACKAGE.MODULE:FACTORY`, got 'module:{words}'")
    module = _import(place)
    if factory not in vars(module):
        found = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise UndiffuseError(f"{place} has no '{factory}'{perhaps(factory, found)}")
    try:
        function = vars(module)[factory]()
    except Exception as error:
        raise UndiffuseError(f"{place}:{factory}() failed: {_say(error)}") from error
    if not callable(function):
        raise UndiffuseError(
            f"expected {place}:{factory}() to return what turns images into features, got {type(function).__name__}"
        )
    digest = hashlib.sha256(Path(str(module.__file__)).read_bytes())
    if isinstance(function, nn.Module):
        function.eval().requires_grad_(False).to(device)
        digest.update(to_bytes(function.state_dict()))
    resize = str(getattr(function, "resize", "left to the module"))
    return ModuleExtractor(function, Identity(f"module:{words}", digest.hexdigest(), resize), torch.device(device))


def _import(place: str) -> ModuleType:
    try:
        module = _run(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{place}.".startswith(f"{error.name}."):
            raise UndiffuseError(
                f"expected a module '{place}' that Python finds, got none; "
                "name its file instead: `extractor=module:./FILE.py:FACTORY`"
            ) from None
        raise UndiffuseError(f"importing {place} failed: {_say(error)}") from error
    if module.__file__ is None or not module.__file__.endswith(".py"):
        raise UndiffuseError(f"expected a module with a source file, got '{place}', which has none to tell versions by")
    return module


def _run(path: Path) -> ModuleType:
    if not path.is_file():
        raise UndiffuseError(f"expected a Python file {path}, got no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_rows(name: str, what: str, rows: Any, count: int) -> None:
    """Refuse what is not a matrix of floating numbers with one row an image."""
    if not isinstance(rows, Tensor) or rows.ndim != 2 or len(rows) != count or not rows.is_floating_point():
        came = f"{rows.dtype} {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
        raise UndiffuseError(f"expected '{name}' to give {what} of the shape ({count}, any), floating, got {came}")


def _say(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
