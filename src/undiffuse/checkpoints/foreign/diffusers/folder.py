"""Folders as diffusers writes them: a pipeline, or a U-Net with a scheduler's settings beside it.

    model_index.json                                    which parts there are
    unet/config.json                                    or config.json in old repositories, such as google/ddpm-*
    unet/diffusion_pytorch_model.safetensors (.bin)     beside it, see `weights`
    scheduler/scheduler_config.json                     or scheduler_config.json
    undiffuse.json                                      ours: what the others have no place for

The last one, where there is one, tells names of classes, what the data were, and settings of the training. It is
believed only as far as it says of the network and the process what the other files say: those may have been changed
since. diffusers ignores it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from undiffuse.checkpoints.foreign.diffusers import network, own_network_folder, weights
from undiffuse.checkpoints.foreign.diffusers.names import modern, rules
from undiffuse.checkpoints.foreign.diffusers.network import CLASS_NAME, Architecture, architecture, unet_values
from undiffuse.checkpoints.foreign.diffusers.scheduler import left_out, process, sampling, scheduler_values
from undiffuse.checkpoints.foreign.diffusers.scheduler import obstacles as process_obstacles
from undiffuse.checkpoints.foreign.diffusers.weights import Weights, find_weights
from undiffuse.checkpoints.foreign.mapping import TensorPair, pair, read, write
from undiffuse.checkpoints.foreign.settings import Settings, read_settings
from undiffuse.checkpoints.foreign.tensors import unwrapped
from undiffuse.checkpoints.saved_model import ForeignReader, SavedModel, foreign_config, provenance, unknown_data
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.files import from_dict, to_dict
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import from_plain
from undiffuse.data.info import DataInfo, StoredInfo
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import outline
from undiffuse.runtime.installing import check_format

INDEX, UNET, SCHEDULER, OURS = "model_index.json", "config.json", "scheduler_config.json", "undiffuse.json"
FILES = (
    INDEX,
    OURS,
    UNET,
    SCHEDULER,
    f"unet/{UNET}",
    f"scheduler/{SCHEDULER}",
    *(f"{place}{name}" for place in ("", "unet/") for name in weights.FETCHED),
)
"""All that is read of such a folder, as patterns, pickled weights and variants apart."""
VARIANTS = tuple(f"{place}{name}" for place in ("", "unet/") for name in weights.VARIANTS)
"""What is read where there are no weights in full precision."""
CODE = tuple(own_network_folder.CODE)
"""What is written and never read."""
FORMAT = 1
"""Version of `OURS`."""


def recognizes(path: Path) -> bool:
    """True for a pipeline's folder and one that holds a U-Net of diffusers."""
    if (path / INDEX).is_file() or (path / "unet" / UNET).is_file():
        return True
    config = path / UNET
    if not config.is_file() or (path / "manifest.json").exists():
        return False
    try:
        return "_class_name" in read_settings(config)
    except UndiffuseError:
        return False


# --- reading ----------------------------------------------------------------------------------------------------------


def read_folder(path: Path) -> SavedModel:
    """The model in such a folder."""
    _check_parts(path)
    unet, scheduler = _places(path)
    stored_in = find_weights(unet.parent)
    settings, described = read_settings(scheduler), read_settings(unet)
    if described.values.get("_class_name") == own_network_folder.CLASS_NAME:
        return _own(path, stored_in, settings)
    found = architecture(described)
    diffusion = process(settings, found.learn_variance)
    stored = _ours(path)
    null_class = stored is not None and _agree(*stored, found)
    if stored is not None and null_class:
        config, info = stored
        if not _says(config.diffusion, diffusion):  # the file was changed since
            config = replace(config, diffusion=diffusion)
    else:
        config = foreign_config("diffusers", path.name, found.network, diffusion, found.class_rows)
        info = unknown_data(path.name, (found.channels, *found.size), range(found.class_rows))
    expected, where = outline(config, info), stored_in.files[0]
    pairs = pair(expected, rules(found.swapped, null_class))
    with stored_in.opened() as tensors:
        names = {modern(new): old for new, old in unwrapped(tensors.shapes).items()}
        values = read(pairs, expected, tensors.renamed(names), str(where))
    return SavedModel(config, info, values, _provenance(path, stored_in, settings))


def _provenance(path: Path, stored_in: Weights, scheduler: Settings) -> dict[str, Any]:
    more: dict[str, Any] = {"variant": stored_in.variant} if stored_in.variant else {}
    if unsaid := left_out(scheduler):
        more["sampling_left_out"] = unsaid
    kind = "ema" if stored_in.files[0].parent.name == "unet_ema" else "raw"
    return provenance(path, stored_in.files, kind, layout="diffusers", sampling=sampling(scheduler), **more)


def _own(path: Path, stored_in: Weights, scheduler: Settings) -> SavedModel:
    """A model of ours in code of its own, which is never run: `OURS` says all, and the tensors have our names."""
    stored = _ours(path)
    if stored is None:
        raise UndiffuseError(f"{path} has no {OURS}, which says what network its {own_network_folder.CLASS_NAME} is")
    config, info = stored
    expected = outline(config, info)
    pairs = [TensorPair(name, (name,)) for name in expected]
    with stored_in.opened() as tensors:
        values = read(pairs, expected, tensors, str(stored_in.files[0]))
    return SavedModel(config, info, values, _provenance(path, stored_in, scheduler))


READER = ForeignReader("diffusers", recognizes, read_folder)


def _check_parts(path: Path) -> None:
    """Refuse pipelines of more than a U-Net and a scheduler."""
    if not (path / INDEX).is_file():
        return
    index = read_settings(path / INDEX)
    for name, value in index.values.items():
        if not name.startswith("_") and name not in ("unet", "scheduler", "noise_scheduler") and value:
            raise UndiffuseError(
                f"{path} is a pipeline with a '{name}': undiffuse reads those of a '{CLASS_NAME}' and a scheduler alone"
            )


CHECKPOINT = re.compile(r"checkpoint-\d+")
"""What diffusers' train_unconditional.py calls its checkpoints: unet/, unet_ema/, and no word of the noise."""


def _places(path: Path) -> tuple[Path, Path]:
    """The files that describe the network and the noise; of a checkpoint the average, and the noise of its training."""
    checkpoint = path.parent if path.name in ("unet", "unet_ema") else path
    if not CHECKPOINT.fullmatch(checkpoint.absolute().name) or (path / INDEX).is_file():
        unet = _part(path, "unet", UNET, "which describes the network")
        return unet, _part(path, "scheduler", SCHEDULER, "which says what noise the network was trained on")
    average = path / "unet_ema" / UNET
    unet = average if average.is_file() else _part(path, "unet", UNET, "which describes the network")
    for place in (checkpoint, checkpoint.absolute().parent):
        for scheduler in (place / "scheduler" / SCHEDULER, place / SCHEDULER):
            if scheduler.is_file():
                return unet, scheduler
    raise UndiffuseError(
        f"{checkpoint} is a checkpoint of diffusers' train_unconditional.py, which does not say what noise its network "
        f"was trained on: write it beside it with diffusers.DDPMScheduler(...).save_pretrained("
        f'"{checkpoint / "scheduler"}") and what --ddpm_num_steps, --ddpm_beta_schedule and --prediction_type were'
    )


def _part(path: Path, folder: str, name: str, role: str) -> Path:
    for place in (path / folder / name, path / name):
        if place.is_file():
            return place
    raise UndiffuseError(f"{path} has neither {folder}/{name} nor {name}, {role}")


def _ours(path: Path) -> tuple[TrainConfig, DataInfo] | None:
    file = path / OURS
    if not file.is_file():
        return None
    values = read_settings(file).values
    check_format(values.get("format"), FORMAT, file)
    config = from_dict(values.get("config"), str(file))
    return config, from_plain(StoredInfo, values.get("data"), str(file)).info()


def _agree(config: TrainConfig, info: DataInfo, found: Architecture) -> bool:
    """True where the network is the one that we wrote."""
    if not isinstance(config.network, UNetConfig):
        return False
    sizes = [(n.base, n.multipliers, n.blocks) for n in (config.network, found.network)]
    if sizes[0] != sizes[1] or info.shape != (found.channels, *found.size):
        return False  # sizes first: the next line builds what the file says
    try:
        return architecture(Settings(unet_values(config, info), Path(UNET))) == found
    except UndiffuseError:
        return False


def _says(config: DiffusionConfig, found: DiffusionConfig) -> bool:
    """True where the scheduler's file that we write for a process is read as this one."""
    try:
        return process(Settings(scheduler_values(config), Path(SCHEDULER)), config.learn_variance) == found
    except UndiffuseError:
        return False


# --- writing ----------------------------------------------------------------------------------------------------------


def obstacles(config: TrainConfig, info: DataInfo) -> list[str]:
    """All that diffusers' own classes do not have of a model of ours; with none of it they can hold it."""
    return [*network.obstacles(config, info), *process_obstacles(config.diffusion)]


def write_folder(config: TrainConfig, info: DataInfo, tensors: Mapping[str, Tensor], folder: Path) -> list[str]:
    """A pipeline that diffusers loads, in an empty folder: by its own classes, else by code of ours that lies there.

    Returns:
        Why diffusers' own classes cannot hold it; nothing where they can.
    """
    reasons = obstacles(config, info)
    others = own_network_folder.obstacles(config, info) if reasons else []
    if others:
        raise UndiffuseError(
            f"diffusers' own classes cannot hold this model: {'; '.join(reasons)}; and the code that undiffuse writes "
            f"beside a model has no {', no '.join(others)}"
        )
    if reasons:
        unet, scheduler = (
            own_network_folder.unet_values(config, info),
            scheduler_values(own_network_folder.scheduler_config(config.diffusion)),
        )
        pairs = [TensorPair(name, (name,)) for name in tensors]
        classes: tuple[Any, Any] = (
            ["pipeline", own_network_folder.PIPELINE],
            ["modeling", own_network_folder.CLASS_NAME],
        )
    else:
        unet, scheduler = unet_values(config, info), scheduler_values(config.diffusion)
        pairs = pair(tensors, rules(swapped=False, null_class=True))
        classes = ("DDPMPipeline", ["diffusers", CLASS_NAME])
    index = {
        "_class_name": classes[0],
        "_diffusers_version": unet["_diffusers_version"],
        "scheduler": ["diffusers", scheduler["_class_name"]],
        "unet": classes[1],
    }
    ours = {"format": FORMAT, "config": to_dict(config), "data": info.to_json()}
    for part in ("unet", "scheduler"):
        (folder / part).mkdir(parents=True)
    for name, values in ((INDEX, index), (f"unet/{UNET}", unet), (f"scheduler/{SCHEDULER}", scheduler), (OURS, ours)):
        (folder / name).write_text(_json(values), encoding="utf-8")
    data = safetensors.torch.save(write(pairs, tensors), {"format": "pt"})
    (folder / "unet" / weights.WEIGHTS).write_bytes(data)
    for name, text in own_network_folder.code().items() if reasons else ():
        (folder / name).write_text(text, encoding="utf-8")
    return reasons


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"
