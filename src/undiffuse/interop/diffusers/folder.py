"""Folders as diffusers writes them: a pipeline, or a U-Net with a scheduler's settings beside it.

    model_index.json                                    which parts there are
    unet/config.json                                    or config.json in old repositories, such as google/ddpm-*
    unet/diffusion_pytorch_model.safetensors (.bin)     beside it
    scheduler/scheduler_config.json                     or scheduler_config.json
    undiffuse.json                                      ours: what the others have no place for

The last one, where there is one, tells names of classes, what the data were, and settings of the training. It is
believed only as far as it says of the network and the process what the other files say: those may have been changed
since. diffusers ignores it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from undiffuse.build import outline
from undiffuse.config import ConditionConfig, EMAConfig, ObjectiveConfig, TrainConfig
from undiffuse.config_file import from_dict, from_plain, to_dict
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.interop.diffusers.names import modern, rules
from undiffuse.interop.diffusers.network import CLASS_NAME, Architecture, architecture, unet_values
from undiffuse.interop.diffusers.scheduler import process, sampling, scheduler_values
from undiffuse.interop.found import Found, Reader, provenance, unknown_data
from undiffuse.interop.mapping import check, pair, read, write
from undiffuse.interop.settings import Settings, read_settings
from undiffuse.interop.tensors import opened

INDEX, UNET, SCHEDULER, OURS = "model_index.json", "config.json", "scheduler_config.json", "undiffuse.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLED = "diffusion_pytorch_model.bin"
FILES = (
    INDEX,
    OURS,
    UNET,
    SCHEDULER,
    WEIGHTS,
    f"unet/{UNET}",
    f"unet/{WEIGHTS}",
    f"scheduler/{SCHEDULER}",
)
"""All that is read of such a folder, pickled weights apart."""
FORMAT = 1
"""Version of `OURS`."""


def recognises(path: Path) -> bool:
    """Whether a folder is a pipeline's or holds a U-Net of diffusers."""
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


def read_folder(path: Path) -> Found:
    """The model in such a folder.

    Raises:
        UndiffuseError: a part is missing, is of another kind, or is more than undiffuse's networks can be.
    """
    _check_parts(path)
    unet = _part(path, "unet", UNET, "which describes the network")
    scheduler = _part(path, "scheduler", SCHEDULER, "which says what noise the network was trained on")
    weights = _weights(unet.parent)
    settings = read_settings(scheduler)
    found = architecture(read_settings(unet))
    config, info = _described(path, found, settings)
    stored = _ours(path)
    null_class = stored is not None and _agree(stored, found)
    if stored is not None and null_class:
        config, info = _completed(stored, config, settings)
    expected = outline(config, info)
    pairs = pair(expected, rules(found.swapped, null_class))
    with opened(weights) as tensors:
        names = {modern(name): name for name in tensors.shapes}
        check(pairs, expected, {new: tensors.shapes[old] for new, old in names.items()}, str(weights))
        values = read(pairs, lambda name: tensors(names[name]))
    return Found(config, info, values, provenance(path, weights, layout="diffusers", sampling=sampling(settings)))


READER = Reader("diffusers", recognises, read_folder)


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


def _part(path: Path, folder: str, name: str, role: str) -> Path:
    for place in (path / folder / name, path / name):
        if place.is_file():
            return place
    raise UndiffuseError(f"{path} has neither {folder}/{name} nor {name}, {role}")


def _weights(folder: Path) -> Path:
    for name in (WEIGHTS, PICKLED):
        if (folder / name).is_file():
            return folder / name
    raise UndiffuseError(f"{folder} has no {WEIGHTS}: save its pipeline again with diffusers' save_pretrained")


def _described(path: Path, found: Architecture, scheduler: Settings) -> tuple[TrainConfig, DataInfo]:
    """Settings and data as diffusers' files tell them."""
    learned = found.learn_variance
    config = TrainConfig(
        recipe="diffusers",
        network=found.network,
        diffusion=process(scheduler, learned),
        conditions=ConditionConfig(condition=("class",) if found.class_rows else (), condition_dropout=0.0),
        objective=ObjectiveConfig(loss="hybrid" if learned else "simple"),
        ema=EMAConfig(ema=()),
    )
    classes = tuple(str(number) for number in range(found.class_rows))
    info = unknown_data(path.name, (found.channels, *found.size), classes)
    return replace(config, data=replace(config.data, source=path.name)), info


@dataclass(frozen=True)
class _Stored:
    """What `OURS` says."""

    config: TrainConfig
    info: DataInfo


def _ours(path: Path) -> _Stored | None:
    file = path / OURS
    if not file.is_file():
        return None
    settings = read_settings(file)
    version = settings.values.get("format")
    if type(version) is not int or version > FORMAT:
        raise UndiffuseError(
            f"{file} has format {version!r:.20}, this undiffuse reads up to {FORMAT}; "
            "upgrade with: pip install --upgrade undiffuse"
        )
    config = from_dict(settings.values.get("config"), str(file))
    return _Stored(config, from_plain(DataInfo, settings.values.get("data"), str(file)))


def _agree(stored: _Stored, found: Architecture) -> bool:
    """Whether the network is the one that we wrote."""
    sizes = [(n.base, n.multipliers, n.blocks) for n in (stored.config.network, found.network)]
    if sizes[0] != sizes[1] or stored.info.shape != (found.channels, *found.size):
        return False  # sizes first: the next line builds what the file says
    try:
        return architecture(Settings(unet_values(stored.config, stored.info), Path(UNET))) == found
    except UndiffuseError:
        return False


def _completed(stored: _Stored, config: TrainConfig, scheduler: Settings) -> tuple[TrainConfig, DataInfo]:
    """The stored settings, with the process that the scheduler's file tells where it tells another one."""
    try:
        written = Settings(scheduler_values(stored.config.diffusion), Path(SCHEDULER))
        same = process(written, stored.config.diffusion.learn_variance) == config.diffusion
    except UndiffuseError:
        same = False
    diffusion = stored.config.diffusion if same else config.diffusion
    return replace(stored.config, diffusion=diffusion), stored.info


# --- writing ----------------------------------------------------------------------------------------------------------


def write_folder(config: TrainConfig, info: DataInfo, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """A pipeline that ``diffusers.DDPMPipeline.from_pretrained`` loads, in an empty folder.

    Raises:
        UndiffuseError: diffusers has no such model, and why; nothing was written.
    """
    unet, scheduler = unet_values(config, info), scheduler_values(config.diffusion)
    pairs = pair(tensors, rules(swapped=False, null_class=True))
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": unet["_diffusers_version"],
        "scheduler": ["diffusers", scheduler["_class_name"]],
        "unet": ["diffusers", CLASS_NAME],
    }
    ours = {"format": FORMAT, "config": to_dict(config), "data": info.to_json()}
    for part in ("unet", "scheduler"):
        (folder / part).mkdir(parents=True)
    for name, values in ((INDEX, index), (f"unet/{UNET}", unet), (f"scheduler/{SCHEDULER}", scheduler), (OURS, ours)):
        (folder / name).write_text(_json(values), encoding="utf-8")
    data = safetensors.torch.save(write(pairs, tensors), {"format": "pt"})
    (folder / "unet" / WEIGHTS).write_bytes(data)


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"
