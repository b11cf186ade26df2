"""A file of tensors under the names of somebody's code, as a model of ours: whose it is, is told by its names.

Such a file holds no settings. Shapes tell most of them; the rest is known for published files, or is in a .json beside.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors

from undiffuse.checkpoints.foreign.mapping import NameRule, check, pair, read
from undiffuse.checkpoints.foreign.original import edm, ho, lucidrains, openai
from undiffuse.checkpoints.foreign.original.arrays import ENDING as ARRAYS
from undiffuse.checkpoints.foreign.original.arrays import opened_arrays
from undiffuse.checkpoints.foreign.original.flags import process, read_flags, read_side
from undiffuse.checkpoints.foreign.tensors import (
    PICKLED,
    Held,
    Renamed,
    Tensors,
    check_state_dict,
    load_pickled,
    opened,
    unwrapped,
)
from undiffuse.checkpoints.saved_model import ForeignReader, SavedModel, provenance, unknown_data
from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.data import DataConfig
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import NetworkConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import EMAConfig, ObjectiveConfig
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.factories.network import outline

LAYOUTS = {
    "openai": "OpenAI's improved-diffusion and guided-diffusion",
    "ho": "Ho's TensorFlow code",
    "lucidrains": "denoising-diffusion-pytorch",
    "edm": "EDM's preconditioned network",
}
"""Whose a file is, by its recipe."""
MARKS = {openai.MARK, lucidrains.INSIDE + lucidrains.MARK, edm.MARK, edm.INSIDE + edm.MARK}
"""Names that tell a file of safetensors from ours."""
SAFE, OTHER_PICKLES = ".safetensors", (".pkl", ".pickle")


def recognises(path: Path) -> bool:
    """Whether a file is one of tensors alone: by its ending, and of safetensors by somebody's names in it."""
    if not path.is_file():
        return False
    if path.suffix != SAFE:
        return path.suffix in (*PICKLED, *OTHER_PICKLES, ARRAYS)
    try:
        with safetensors.safe_open(path, "pt") as file:
            return not MARKS.isdisjoint(unwrapped(file.keys()))
    except (safetensors.SafetensorError, OSError):
        return False


def holds_weights(path: Path) -> bool:
    """Whether a file that `recognises` knows by its ending alone holds weights rather than data: by its beginning.

    Arrays of images end in .npz, too, and anything may end in .bin.
    """
    if path.suffix == SAFE:
        return True
    if path.suffix != ARRAYS:
        with path.open("rb") as file:
            return file.read(2).startswith((b"PK", b"\x80"))  # an archive of torch's, or a plain pickle
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return False
    found = {*names, *ho.named(names), *lucidrains.named(names), *edm.named(names)}
    return not found.isdisjoint({openai.MARK, ho.MARK, lucidrains.MARK, edm.MARK})


def read_file(path: Path) -> SavedModel:
    """The model in such a file.

    Raises:
        UndiffuseError: it cannot be opened without running code, is of nobody that is known here, or is incomplete.
    """
    if path.suffix in (*PICKLED, *OTHER_PICKLES):
        tree = load_pickled(path)
        if lucidrains.is_trainer(tree):
            return _trainer(path, lucidrains.trained(tree, str(path)))
        check_state_dict(tree, path)
        return _of(path, Held(tree))
    with opened(path) if path.suffix == SAFE else opened_arrays(path) as tensors:
        return _of(path, tensors)


def _of(path: Path, tensors: Tensors) -> SavedModel:
    """The model of these tensors."""
    plain = unwrapped(tensors.shapes)
    if any(new != old for new, old in plain.items()):
        tensors = Renamed(tensors, plain)
    if openai.MARK in tensors.shapes:
        return _openai(path, tensors)
    names = ho.named(list(tensors.shapes))
    if ho.MARK in names:
        return _ho(path, Renamed(tensors, names))
    names = lucidrains.named(list(tensors.shapes))
    if lucidrains.MARK in names:
        return _lucidrains(path, tensors, Renamed(tensors, names), "raw")
    names = edm.named(list(tensors.shapes))
    if edm.MARK in names:
        return _edm(path, Renamed(tensors, names))
    raise UndiffuseError(
        f"{path} holds tensors under names that undiffuse does not know: it reads those of OpenAI's improved-diffusion "
        "and guided-diffusion, of Ho's TensorFlow code, denoising-diffusion-pytorch and EDM, and diffusers' folders"
    )


READER = ForeignReader("a file of tensors", recognises, read_file)


def _openai(path: Path, tensors: Tensors) -> SavedModel:
    if openai.MARK_UNET not in tensors.shapes:
        raise UndiffuseError(
            f"{path} is a classifier of OpenAI's and makes no images: it leads a model that does, with "
            f"undiffuse sample RUN --classifier {quoted(path)}"
        )
    flags = read_flags(path)
    found = openai.architecture(tensors.shapes, flags, str(path))
    config = _config("openai", path, found.network, process(flags, found.learn_variance), bool(found.classes))
    shape = (found.channels, flags.image_size, flags.image_size)
    weights = "raw" if path.name.startswith("model") else "ema"
    table = openai.rules(found.network, flags.use_new_attention_order)
    return _found(path, config, shape, found.classes, table, tensors, weights=weights)


def _ho(path: Path, tensors: Renamed) -> SavedModel:
    network, channels = ho.architecture(tensors.shapes, str(path))
    size = ho.side(path, network)
    config = _config("ho", path, network, ho.PROCESS)
    weights = "ema" if any(ho.AVERAGE in name for name in tensors.names.values()) else "raw"
    return _found(path, config, (channels, size, size), 0, ho.rules(network), tensors, weights=weights)


def _trainer(path: Path, parts: lucidrains.TrainerFile) -> SavedModel:
    """The average in a trainer's file, or the weights where there is none."""
    check_state_dict(parts.process, path)
    if parts.average is None:
        weights, tensors = "raw", parts.process
    else:
        check_state_dict(parts.average, path)
        weights, tensors = "ema", parts.average
    held = Renamed(Held(tensors), unwrapped(tensors))
    network = Renamed(held, lucidrains.named(list(held.names)))
    chain = Renamed(Held(parts.process), unwrapped(parts.process))
    return _lucidrains(path, chain, network, weights, parts.step)


def _lucidrains(path: Path, chain: Tensors, tensors: Renamed, weights: str, step: int = 0) -> SavedModel:
    found = lucidrains.architecture(tensors.shapes, str(path))
    diffusion = replace(lucidrains.process(chain, str(path)), learn_variance=found.learn_variance)
    size = read_side(path)
    config = _config("lucidrains", path, found.network, diffusion)
    table = lucidrains.rules(found.network)
    return _found(path, config, (found.channels, size, size), 0, table, tensors, weights=weights, step=step)


def _edm(path: Path, tensors: Renamed) -> SavedModel:
    edm.check_name(path)
    found = edm.architecture(tensors.shapes, str(path))
    edm.check_filters(tensors.tensors, found.network.architecture, str(path))
    config = _config("edm", path, found.network, edm.PROCESS, bool(found.classes))
    shape = (found.channels, found.side, found.side)
    return _found(path, config, shape, found.classes, edm.rules(found), tensors, weights="ema")


def _config(
    recipe: str, path: Path, network: NetworkConfig, diffusion: DiffusionConfig, classes: bool = False
) -> TrainConfig:
    return TrainConfig(
        recipe=recipe,
        data=DataConfig(source=path.stem),
        network=network,
        diffusion=diffusion,
        conditions=ConditionConfig(condition=("class",) if classes else (), condition_dropout=0.0),
        objective=ObjectiveConfig(loss="hybrid" if diffusion.learn_variance else "simple"),
        ema=EMAConfig(ema=()),
    )


def _found(
    path: Path,
    config: TrainConfig,
    shape: tuple[int, ...],
    classes: int,
    table: list[NameRule],
    tensors: Tensors,
    **origin: Any,
) -> SavedModel:
    """The model of a file; ``origin`` is what `provenance` is told of it, weights and step."""
    info = unknown_data(path.stem, shape, tuple(str(number) for number in range(classes)))
    expected = outline(config, info)
    pairs = pair(expected, table)
    check(pairs, expected, tensors.shapes, str(path))
    return SavedModel(
        config, info, read(pairs, tensors), provenance(path, path, layout=LAYOUTS[config.recipe], **origin)
    )
