"""A file of tensors under the names of somebody's code, as a model of ours: whose it is, is told by its names.

Such a file holds no settings. Shapes tell most of them; the rest is known for published files, or is in a .json beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from undiffuse.build import outline
from undiffuse.config import (
    ConditionConfig,
    DataConfig,
    DiffusionConfig,
    EMAConfig,
    ObjectiveConfig,
    TrainConfig,
    UNetConfig,
)
from undiffuse.errors import UndiffuseError
from undiffuse.interop.found import Found, Reader, provenance, unknown_data
from undiffuse.interop.mapping import Rule, check, pair, read
from undiffuse.interop.original import ho, openai
from undiffuse.interop.original.arrays import ENDING as ARRAYS
from undiffuse.interop.original.arrays import opened_arrays
from undiffuse.interop.original.flags import process, read_flags
from undiffuse.interop.tensors import PICKLED, Held, Tensors, check_state_dict, load_pickled, opened

LAYOUTS = {"openai": "OpenAI's improved-diffusion and guided-diffusion", "ho": "Ho's TensorFlow code"}
"""Whose a file is, by its recipe."""
SAFE, OTHER_PICKLES = ".safetensors", (".pkl", ".pickle")


def recognises(path: Path) -> bool:
    """Whether a file is one of tensors alone: by its ending, and of safetensors by OpenAI's names in it."""
    if not path.is_file():
        return False
    if path.suffix != SAFE:
        return path.suffix in (*PICKLED, *OTHER_PICKLES, ARRAYS)
    try:
        with safetensors.safe_open(path, "pt") as file:
            return openai.MARK in file.keys()  # noqa: SIM118 - not a mapping
    except (safetensors.SafetensorError, OSError):
        return False


def read_file(path: Path) -> Found:
    """The model in such a file.

    Raises:
        UndiffuseError: it cannot be opened without running code, is of nobody that is known here, or is incomplete.
    """
    with _opened(path) as tensors:
        if openai.MARK in tensors.shapes:
            return _openai(path, tensors)
        names = ho.named(list(tensors.shapes))
        if ho.MARK in names:
            return _ho(path, _Renamed(tensors, names))
    raise UndiffuseError(
        f"{path} holds tensors under names that undiffuse does not know: it reads those of OpenAI's improved-diffusion "
        "and guided-diffusion and of Ho's TensorFlow code, and diffusers' folders"
    )


READER = Reader("a file of tensors", recognises, read_file)


def _openai(path: Path, tensors: Tensors) -> Found:
    if openai.MARK_UNET not in tensors.shapes:
        raise UndiffuseError(
            f"{path} is a classifier of OpenAI's, which undiffuse does not read: its head is an attention over all "
            "positions, which ours have not; train one with undiffuse train-classifier"
        )
    flags = read_flags(path)
    found = openai.architecture(tensors.shapes, flags, str(path))
    config = _config("openai", path, found.network, process(flags, found.learn_variance), bool(found.classes))
    shape = (found.channels, flags.image_size, flags.image_size)
    weights = "raw" if path.name.startswith("model") else "ema"
    table = openai.rules(found.network, flags.use_new_attention_order)
    return _found(path, config, shape, found.classes, table, tensors, weights)


def _ho(path: Path, tensors: _Renamed) -> Found:
    network, channels = ho.architecture(tensors.shapes, str(path))
    size = ho.side(path, network)
    config = _config("ho", path, network, ho.PROCESS)
    weights = "ema" if any(ho.AVERAGE in name for name in tensors.names.values()) else "raw"
    return _found(path, config, (channels, size, size), 0, ho.rules(network), tensors, weights)


def _config(
    recipe: str, path: Path, network: UNetConfig, diffusion: DiffusionConfig, classes: bool = False
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
    table: list[Rule],
    tensors: Tensors,
    weights: str,
) -> Found:
    info = unknown_data(path.stem, shape, tuple(str(number) for number in range(classes)))
    expected = outline(config, info)
    pairs = pair(expected, table)
    check(pairs, expected, tensors.shapes, str(path))
    return Found(config, info, read(pairs, tensors), provenance(path, path, weights, layout=LAYOUTS[config.recipe]))


# --- files ------------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[Tensors]:
    """The tensors of a file of any of the endings."""
    if path.suffix == SAFE:
        with opened(path) as tensors:
            yield tensors
    elif path.suffix == ARRAYS:
        with opened_arrays(path) as arrays:
            yield arrays
    else:
        tree = load_pickled(path)
        _check_no_trainer(tree, path)
        check_state_dict(tree, path)
        yield Held(tree)


def _check_no_trainer(tree: Any, path: Path) -> None:
    if isinstance(tree, dict) and {"step", "model", "ema"} <= tree.keys():
        raise UndiffuseError(
            f"{path} is a file of denoising-diffusion-pytorch's trainer, whose network undiffuse cannot be: its stem "
            "is 7 x 7, its attention linear with learned extra tokens, its norms divide by the root mean square"
        )


@dataclass(frozen=True)
class _Renamed:
    """Tensors under other names: ``names`` has the file's for each of them."""

    tensors: Tensors
    names: Mapping[str, str]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {new: self.tensors.shapes[old] for new, old in self.names.items()}

    def __call__(self, name: str) -> Tensor:
        return self.tensors(self.names[name])
