"""What a user calls a model, found: a run, a checkpoint, a model's file, one that ships, somebody
else's layout, or the name of any of these on the hub."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from undiffuse.checkpoints import cascade_folder, model_file
from undiffuse.checkpoints.foreign import SavedModel, reader_of
from undiffuse.checkpoints.foreign.original.reader import holds_weights
from undiffuse.checkpoints.hub import MODEL, HubName, fetch, hub_name
from undiffuse.checkpoints.pretrained import PREFIX, is_here, names, shipped, shipped_name, written_as_path
from undiffuse.checkpoints.run_lock import NO_CHECKPOINT, check_unlocked, has_begun
from undiffuse.checkpoints.saved_model import provenance
from undiffuse.checkpoints.training_checkpoint import ema_file, latest
from undiffuse.checkpoints.training_checkpoint import load as load_checkpoint
from undiffuse.config.schema import CLASSIFIER
from undiffuse.errors import UndiffuseError, perhaps, quoted
from undiffuse.provenance.adapter_names import adapters_in


def locate(name: str | Path, weights: str = "ema", revision: str | None = None) -> SavedModel:
    """The settings and the tensors of the model of this name.

    Args:
        name, weights, revision: see `undiffuse.model.load`.
    """
    path = Path(name)
    _say_which(name)
    there = shipped(name) or path.exists()
    hub = None if there else hub_name(name if revision is None else f"{name}@{revision}")
    if revision is not None and hub is None:
        raise UndiffuseError(f"A revision is of a model on the hub, ORG/NAME, and {path} is none")
    if hub is not None:
        return _from_hub(hub, weights)
    file = shipped(name)
    return _local(path, weights) if file is None else _from_file(file, Path(shipped_name(name)), weights)


def _say_which(name: str | Path) -> None:
    text = str(name)
    if text.startswith(PREFIX) and shipped(name) is None:
        raise UndiffuseError(f"No model '{text}' comes with undiffuse{perhaps(text, [PREFIX + n for n in names()])}")
    if text in names() and is_here(text) and not written_as_path(name):
        kind = "file" if Path(text).is_file() else "run"
        warnings.warn(
            f"{text} is the {kind} ./{text} here; the model of that name that comes with undiffuse is {PREFIX}{text}",
            stacklevel=6,
        )


def is_there(name: str | Path) -> bool:
    """True where all that a name names is on this machine: a model, by whatever name, and each adapter on it."""
    base, adapters = adapters_in(name)
    return all(shipped(one) is not None or Path(one).exists() for one in (base, *(part.name for part in adapters)))


def is_model(name: str | Path) -> bool:
    """True where a name that may be a model's or data's is a model's: by names and beginnings of files alone.

    Every kind that `undiffuse.model.load` opens is one: a run, a checkpoint, a cascade, a model's file, one that ships,
    somebody else's folder or file, and ORG/NAME that is nothing on the disk.
    """
    name, _ = adapters_in(name)
    path = Path(name)
    if shipped(name) is not None or hub_name(name) is not None:
        return True
    if path.is_file():
        return path.suffix == model_file.SUFFIX or (reader_of(path) is not None and holds_weights(path))
    marks = ("manifest.json", cascade_folder.NAME, MODEL)
    return (
        (path / "checkpoints").is_dir()
        or has_begun(path)
        or any((path / m).is_file() for m in marks)
        or reader_of(path) is not None
    )


def _local(path: Path, weights: str) -> SavedModel:
    if (reader := reader_of(path)) is not None:
        return _chosen(reader.read(path), weights)
    if path.is_file():
        if path.suffix != model_file.SUFFIX:
            raise UndiffuseError(
                f"A model's file ends in {model_file.SUFFIX}, and {path} is none: name the run that it belongs to"
            )
        return _from_file(path, path, weights)
    if (path / MODEL).is_file() and not (path / "manifest.json").exists():
        return _from_file(path / MODEL, path, weights)
    return _from_folder(_checkpoint_folder(path), weights)


def _from_hub(hub: HubName, weights: str) -> SavedModel:
    """The model under the name and the commit that it has on the hub, not under those of the cache."""
    folder = fetch(hub)
    found = _local(folder, weights)
    info = replace(found.info, name=hub.repo) if found.info.name == folder.name else found.info
    return replace(found, info=info, provenance={**found.provenance, "checkpoint": f"{hub.repo}@{folder.name}"})


def _chosen(found: SavedModel, weights: str) -> SavedModel:
    """The one set of weights that there is, if it is the one that was asked for."""
    has = found.provenance["weights"]
    if weights not in ("ema", has):
        raise UndiffuseError(f"{found.provenance['checkpoint']} holds no weights '{weights}', only '{has}'")
    return found


def _from_folder(folder: Path, weights: str) -> SavedModel:
    saved = load_checkpoint(folder)
    if saved.config.recipe == CLASSIFIER:
        raise UndiffuseError(
            f"{folder} is of a classifier and makes no images: it leads a model that does, with "
            f"undiffuse sample RUN --classifier {quoted(folder)}"
        )
    averages = {str(rate): tensors for rate, tensors in saved.averages.items()}
    choices = {"raw": saved.weights, **averages}
    if weights == "ema" and averages:
        weights = next(iter(averages))
    if weights not in choices:
        raise UndiffuseError(f"{folder} holds no weights '{weights}'{perhaps(weights, choices)}")
    file = folder / ("model.safetensors" if weights == "raw" else ema_file(float(weights)))
    return SavedModel(saved.config, saved.info, choices[weights], provenance(folder, file, weights, saved.state.step))


def _from_file(file: Path, name: Path, weights: str) -> SavedModel:
    """``name`` is what the user called it, which for a shipped model is the same on every machine."""
    saved = model_file.read(file)
    found = replace(saved, provenance=provenance(name, file, saved.provenance["weights"], saved.provenance["step"]))
    return _chosen(found, weights)


def _checkpoint_folder(path: Path) -> Path:
    if (path / "manifest.json").exists():
        return path
    if not (path / "checkpoints").is_dir():
        check_unlocked(path, NO_CHECKPOINT)
        raise UndiffuseError(
            f"A model is loaded from a run's folder or a checkpoint's; {path} is "
            + ("neither" if path.exists() else "not there")
            + f": see what is in runs/, or take one that comes with undiffuse ({', '.join(names())})"
        )
    folder, torn = latest(path / "checkpoints")
    if folder is None and torn:
        raise UndiffuseError(f"{path} holds no whole checkpoint: bring a copy of one back, or train anew; {torn[0]}")
    if folder is None:
        check_unlocked(path, NO_CHECKPOINT)
        raise UndiffuseError(
            f"{path} holds no whole checkpoint yet: train on with undiffuse train --resume {quoted(path)}"
        )
    for message in torn:
        warnings.warn(f"{message}; an earlier checkpoint is used", stacklevel=4)
    return folder
