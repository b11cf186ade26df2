"""A model in one file, see `checkpoints.model_file`: what ``undiffuse.load`` opens without the run around it."""

from __future__ import annotations

from pathlib import Path

from undiffuse.checkpoints.model_file import SUFFIX, to_bytes
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.config.network import GivenNetworkConfig
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.export.preconditions import without_paths
from undiffuse.factories.network import drawing_tensors
from undiffuse.model import Model
from undiffuse.provenance.png import check_free, write_file
from undiffuse.runtime.durable_files import PLACE


def write(model: Model, path: Path, overwrite: bool = False) -> list[str]:
    if path.suffix != SUFFIX:
        raise UndiffuseError(f"A model's file is called NAME{SUFFIX}, not {path.name}")
    check_free(path, overwrite, PLACE)
    data = packed(model)
    write_file(path, data, overwrite, PLACE)
    network = model.config.network
    if isinstance(network, GivenNetworkConfig):
        use = f"undiffuse.load({str(path)!r}, network={network.architecture})"
    elif model.config.conditions.upscale > 1:
        use = f"undiffuse edit upscale {quoted(path)} small.png"
    else:
        use = f"undiffuse sample {quoted(path)}"
    return [f"file    {path}, {len(data):,} bytes: {use}"]


def packed(model: Model) -> bytes:
    """The file's bytes."""
    weights, step = str(model.provenance.get("weights", "raw")), int(model.provenance.get("step", 0))
    tensors = drawing_tensors(model.config, model.network.state_dict())
    return to_bytes(SavedModel.of(without_paths(model.config), model.info, tensors, step, weights))
