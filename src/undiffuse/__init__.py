"""undiffuse: denoising diffusion probabilistic models, trained, sampled, measured and understood.

Importing this package is instant: torch is loaded when the first name that needs it is used. How many threads it gets
then and how they wait for each other is set here, where it is not loaded yet; see `undiffuse.runtime.cores`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from undiffuse.runtime.cores import prepare as _prepare

if TYPE_CHECKING:
    from undiffuse.errors import UndiffuseError
    from undiffuse.export import convert
    from undiffuse.model import Model, load
    from undiffuse.model.make_cascade import make_cascade
    from undiffuse.training.api import train

__version__ = "0.1.0"

_HOMES = {
    "UndiffuseError": "undiffuse.errors",
    "Model": "undiffuse.model",
    "convert": "undiffuse.export",
    "load": "undiffuse.model",
    "make_cascade": "undiffuse.model.make_cascade",
    "train": "undiffuse.training.api",
}

__all__ = ["Model", "UndiffuseError", "__version__", "convert", "load", "make_cascade", "train"]

_prepare()


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'undiffuse' has no attribute '{name}'")
