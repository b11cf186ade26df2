"""Trained models by the names that users give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from undiffuse.checkpoints import cascade_folder
from undiffuse.checkpoints.find import locate
from undiffuse.config.network import GivenNetworkConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.factories.network import give_network, is_given, outline
from undiffuse.model.adapters import whole_model
from undiffuse.model.cascade import Cascade
from undiffuse.model.model import Model, build_model
from undiffuse.provenance.adapter_names import adapters_in
from undiffuse.runtime.devices import there
from undiffuse.runtime.safe_tensors import check_tensors
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.runtime.uninitialized import undrawn


@in_one_sentence
@own_modes()
def load(
    path: str | Path,
    weights: str = "ema",
    device: str = "cpu",
    revision: str | None = None,
    *,
    network: nn.Module | Callable[..., nn.Module] | None = None,
) -> Model | Cascade:
    """A trained model: ours, one in somebody else's layout, or one from the Hugging Face hub.

    Args:
        path: ``runs/NAME`` (a run's or a cascade's), ``runs/NAME/checkpoints/step-...``, ``NAME.safetensors``, the name
            of a model that comes with the package: ``digits``; a folder or a file of others, see docs/use/interop.md;
            or ``ORG/NAME`` on the hub, ``ORG/NAME@REVISION``. Any of them with adapters: ``digits+style.safetensors``,
            ``runs/NAME+a.safetensors:0.5+runs/b``.
        weights: 'ema' for the first average, 'raw' for the weights themselves, or a rate such as '0.999'.
        device: where the network goes.
        revision: on the hub: a branch, a tag or a commit.
        network: of a model whose network a program gave, which no file holds: a module, or what makes one, as
            `undiffuse.train` takes it.

    Raises:
        UndiffuseError: if there is no such model, no whole checkpoint, no such weights in it, or no such device.
    """
    if not isinstance(path, str | Path):
        of = "; undiffuse.from_diffusers takes a pipeline of diffusers" if hasattr(path, "unet") else ""
        raise UndiffuseError(f"undiffuse.load takes a path or a name, got a {type(path).__name__}{of}")
    if (parts := cascade_folder.read(Path(path))) is not None:
        return _cascade(parts, weights).to(there(device))
    name, adapters = adapters_in(path)
    where, found = there(device), locate(name, str(weights), revision)
    _take(network, found.config, path)
    whole = whole_model(found, adapters, str(weights))
    what = f"{whole.provenance['checkpoint']} ({whole.provenance['weights']})"
    expected = outline(whole.config, whole.info)
    tensors = {name: _as(tensor, expected.get(name)) for name, tensor in whole.tensors.items()}
    check_tensors(tensors, expected, what)
    with undrawn():
        model = build_model(whole.config, whole.info)
    model.network.load_state_dict(tensors)
    model.network.eval()
    model.provenance, model.loaded_as = whole.provenance, str(weights)
    return model.to(where)


def _as(tensor: Tensor, expected: Tensor | None) -> Tensor:
    """A file's numbers, float32, in the format of a network that a program gives, which may be half precision."""
    if expected is None or not (expected.is_floating_point() and tensor.is_floating_point()):
        return tensor
    return tensor.to(expected.dtype)


def _take(network: nn.Module | Callable[..., nn.Module] | None, config: TrainConfig, path: str | Path) -> None:
    """Have the architecture of a file's settings stand for a network that a program gives."""
    name, given = config.network.architecture, isinstance(config.network, GivenNetworkConfig)
    if network is not None and not given:
        raise UndiffuseError(f"{path} says what its network is, {name}: leave out network=")
    if network is not None:
        give_network(network, name)
    elif given and not is_given(name):
        raise UndiffuseError(
            f"The network of {path} is '{name}', which a program gave and no file holds: give it again, as in "
            f"undiffuse.load({str(path)!r}, network={name})"
        )


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
