"""What a user calls a model, found: a run, a checkpoint, a model's file, one that ships, or somebody else's layout."""

from __future__ import annotations

import warnings
from pathlib import Path

from undiffuse import modelfile
from undiffuse.checkpoint import ema_file, latest
from undiffuse.checkpoint import load as load_checkpoint
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.interop import Found, reader_of
from undiffuse.interop.found import provenance
from undiffuse.pretrained import names, shipped


def locate(name: str | Path, weights: str = "ema") -> Found:
    """The settings and the tensors of the model of this name.

    Args:
        name: see `undiffuse.model.load`.
        weights: 'ema' for the first average, 'raw' for the weights themselves, or a rate such as '0.999'.

    Raises:
        UndiffuseError: there is no such model, no whole checkpoint, or no such weights in it.
    """
    path = Path(name)
    if (file := shipped(path)) is not None:
        return _from_file(file, path, weights)
    if (reader := reader_of(path)) is not None:
        return _chosen(reader.read(path), weights)
    if path.is_file():
        return _from_file(path, path, weights)
    return _from_folder(_checkpoint_folder(path), weights)


def _chosen(found: Found, weights: str) -> Found:
    """The one set of weights that there is, if it is the one that was asked for."""
    has = found.provenance["weights"]
    if weights not in ("ema", has):
        raise UndiffuseError(f"{found.provenance['checkpoint']} holds no weights '{weights}', only '{has}'")
    return found


def _from_folder(folder: Path, weights: str) -> Found:
    saved = load_checkpoint(folder)
    averages = {str(rate): tensors for rate, tensors in saved.averages.items()}
    choices = {"raw": saved.weights, **averages}
    if weights == "ema" and averages:
        weights = next(iter(averages))
    if weights not in choices:
        raise UndiffuseError(f"{folder} holds no weights '{weights}'{perhaps(weights, choices)}")
    file = folder / ("model.safetensors" if weights == "raw" else ema_file(float(weights)))
    return Found(saved.config, saved.info, choices[weights], provenance(folder, file, weights, saved.state.step))


def _from_file(file: Path, name: Path, weights: str) -> Found:
    """``name`` is what the user called it, which for a shipped model is the same on every machine."""
    saved = modelfile.read(file)
    found = Found(saved.config, saved.info, saved.tensors, provenance(name, file, saved.weights, saved.step))
    return _chosen(found, weights)


def _checkpoint_folder(path: Path) -> Path:
    if (path / "manifest.json").exists():
        return path
    if not (path / "checkpoints").is_dir():
        raise UndiffuseError(
            f"A model is loaded from a run's folder or a checkpoint's; {path} is "
            + ("neither" if path.exists() else "not there")
            + f": see what is in runs/, or take one that comes with undiffuse ({', '.join(names())})"
        )
    folder, torn = latest(path / "checkpoints")
    for message in torn:
        warnings.warn(f"{message}; an earlier checkpoint is used", stacklevel=4)
    if folder is None:
        raise UndiffuseError(f"{path} holds no whole checkpoint yet: train on with undiffuse train --resume {path}")
    return folder
