"""Trained models by the names that users give them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from undiffuse.checkpoints import cascade_folder
from undiffuse.checkpoints.find import locate
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import drawing_settings, outline, without_critic
from undiffuse.model.cascade import Cascade
from undiffuse.model.model import Model, build_model
from undiffuse.runtime.devices import there
from undiffuse.runtime.safe_tensors import check_tensors
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.runtime.uninitialized import undrawn


@own_modes()
def load(path: str | Path, weights: str = "ema", device: str = "cpu", revision: str | None = None) -> Model | Cascade:
    """A trained model: ours, one in somebody else's layout, or one from the Hugging Face hub.

    Args:
        path: ``runs/NAME`` (a run's or a cascade's), ``runs/NAME/checkpoints/step-...``, ``NAME.safetensors``, the name
            of a model that comes with the package: ``digits``; a folder or a file of others, see docs/use/interop.md;
            or ``ORG/NAME`` on the hub, ``ORG/NAME@REVISION``.
        weights: 'ema' for the first average, 'raw' for the weights themselves, or a rate such as '0.999'.
        device: where the network goes.
        revision: on the hub: a branch, a tag or a commit.

    Raises:
        UndiffuseError: if there is no such model, no whole checkpoint, no such weights in it, or no such device.
    """
    if not isinstance(path, str | Path):
        raise UndiffuseError(f"undiffuse.load takes a path or a name, got {type(path).__name__}")
    if (parts := cascade_folder.read(Path(path))) is not None:
        return _cascade(parts, weights).to(there(device))
    where, found = there(device), locate(path, str(weights), revision)
    what = f"{found.provenance['checkpoint']} ({found.provenance['weights']})"
    config, tensors = drawing_settings(found.config), without_critic(found.config, found.tensors)
    check_tensors(tensors, outline(config, found.info), what)
    with undrawn():
        model = build_model(config, found.info)
    model.network.load_state_dict(tensors)
    model.network.eval()
    model.provenance, model.loaded_as = found.provenance, str(weights)
    return model.to(where)


def load_model(path: str | Path, weights: str = "ema", device: str = "cpu") -> Model:
    """A trained model as `load` finds it, and an error where it is a cascade."""
    model = load(path, weights, device)
    if isinstance(model, Cascade):
        raise UndiffuseError(f"One model is wanted here, and {path} is a cascade of several: name one of its models")
    return model


def _cascade(parts: cascade_folder.CascadeFolder, weights: str) -> Cascade:
    *lower, top = (load_model(file, weights) for file in parts.files)
    whole = {**top.provenance, "checkpoint": str(parts.path), "sha256": parts.sha256}
    return Cascade((*lower, replace(top, provenance=whole)))
