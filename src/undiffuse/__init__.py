"""undiffuse: denoising diffusion probabilistic models, trained, sampled, measured, edited with and understood.

    model = undiffuse.train("photos/")      a `Model`, as `undiffuse.load("runs/NAME")` gives it
    samples = model.sample(16)
    fast = undiffuse.distill("runs/NAME")
    undiffuse.sweep("photos/", {"lr": [1e-4, 3e-4]}, name="rates", minutes=10)
    undiffuse.convert(model, path, "onnx")  for other programs
    undiffuse.from_diffusers(pipeline)      the model around a pipeline's own network
    undiffuse.TrainingModule((3, 64, 64))   a model that learns in a loop of Lightning's, of accelerate's, of one's own

What these are made of is in rooms, each with its own table of contents:

    diffusion       processes, denoisers, samplers, guidance, losses
    networks        U-Nets, and what they can be told
    data            from files to batches
    recipes         ready-made settings
    editing         inpainting, super-resolution and other edits of pictures
    evaluation      FID and friends, likelihood, anomalies
    visualization   grids, plots, animations
    register        own samplers, losses, schedules, optimizers, networks, by name

Importing this package is instant: torch is loaded when the first name that needs it is used. How many threads it gets
then and how they wait for each other is set here, where it is not loaded yet; see `undiffuse.runtime.cores`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from undiffuse.config.registry import load_packages as _load_packages
from undiffuse.runtime.cores import prepare as _prepare
from undiffuse.version import __version__

if TYPE_CHECKING:
    from undiffuse import data, diffusion, editing, evaluation, networks, recipes, register, visualization
    from undiffuse.errors import UndiffuseError
    from undiffuse.export import convert
    from undiffuse.model import Cascade, Model, from_diffusers, load
    from undiffuse.model.make_cascade import make_cascade
    from undiffuse.sweeps import sweep
    from undiffuse.training.api import train
    from undiffuse.training.callbacks.callback import Callback
    from undiffuse.training.distillation.api import distill
    from undiffuse.training.module import TrainingModule

_HOMES = {
    "Callback": "undiffuse.training.callbacks.callback",
    "Cascade": "undiffuse.model",
    "Model": "undiffuse.model",
    "TrainingModule": "undiffuse.training.module",
    "UndiffuseError": "undiffuse.errors",
    "convert": "undiffuse.export",
    "distill": "undiffuse.training.distillation.api",
    "from_diffusers": "undiffuse.model",
    "load": "undiffuse.model",
    "make_cascade": "undiffuse.model.make_cascade",
    "sweep": "undiffuse.sweeps",
    "train": "undiffuse.training.api",
}
_ROOMS = ("data", "diffusion", "editing", "evaluation", "networks", "recipes", "register", "visualization")

__all__ = [
    "Callback",
    "Cascade",
    "Model",
    "TrainingModule",
    "UndiffuseError",
    "__version__",
    "convert",
    "data",
    "diffusion",
    "distill",
    "editing",
    "evaluation",
    "from_diffusers",
    "load",
    "make_cascade",
    "networks",
    "recipes",
    "register",
    "sweep",
    "train",
    "visualization",
]

_prepare()


def __getattr__(name: str) -> object:
    if name in _HOMES or name in _ROOMS:
        _load_packages()
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"undiffuse.{name}")
    raise AttributeError(f"module 'undiffuse' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
