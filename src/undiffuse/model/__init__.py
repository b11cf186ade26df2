"""A trained model: loaded, asked for samples, and handed on.

`Model`, `load` and `build_model` are here; they load torch where they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from undiffuse.model.model import Model, build_model, load

__all__ = ["Model", "build_model", "load"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("undiffuse.model.model"), name)
    raise AttributeError(f"module 'undiffuse.model' has no attribute '{name}'")
