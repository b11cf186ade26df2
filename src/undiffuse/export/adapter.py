"""What a training with `lora_rank` learned in a file of its own, which goes on the model that it started from, or on
another of the same network: ``digits+style.safetensors``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from undiffuse.checkpoints.find import locate
from undiffuse.checkpoints.model_file import SUFFIX, to_bytes
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.export.preconditions import without_paths
from undiffuse.model import Model
from undiffuse.networks.lora import is_whole, learned_of
from undiffuse.provenance.adapter_names import adapters_in
from undiffuse.provenance.png import check_free, write_file
from undiffuse.runtime.durable_files import PLACE


def write(model: Model, path: Path, overwrite: bool = False) -> list[str]:
    if path.suffix != SUFFIX:
        raise UndiffuseError(f"An adapter's file is called NAME{SUFFIX}, not {path.name}")
    check_free(path, overwrite, PLACE)
    place = model.provenance.get("checkpoint")
    found = locate(place, model.provenance["weights"]) if place and not adapters_in(place)[1] else None
    if found is None or not (found.config.lora.lora_rank and is_whole(found.tensors)):
        raise UndiffuseError(
            f"{place or 'This model'} holds no adapter of its own: those are in runs that were trained with `lora_rank`"
        )
    config = replace(without_paths(found.config), lora=found.config.lora)
    step, weights = found.provenance["step"], found.provenance["weights"]
    data = to_bytes(SavedModel.of(config, found.info, learned_of(found.tensors), step, weights))
    write_file(path, data, overwrite, PLACE)
    base = found.config.start.start_from
    return [f"file    {path}, {len(data):,} bytes: undiffuse sample {quoted(f'{base}+{path}')}"]
