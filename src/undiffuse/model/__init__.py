"""A trained model: loaded, asked for samples, and handed on.

`Model`, `Cascade`, `load` and `build_model` are here; they load torch where they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from undiffuse.model.cascade import AnyModel, Cascade
    from undiffuse.model.diffusers_pipeline import from_diffusers
    from undiffuse.model.loading import load, load_model
    from undiffuse.model.model import Model, build_model

_HOMES = {
    "AnyModel": "cascade",
    "Cascade": "cascade",
    "Model": "model",
    "build_model": "model",
    "from_diffusers": "diffusers_pipeline",
    "load": "loading",
    "load_model": "loading",
}

__all__ = ["AnyModel", "Cascade", "Model", "build_model", "from_diffusers", "load", "load_model"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"undiffuse.model.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'undiffuse.model' has no attribute '{name}'")
