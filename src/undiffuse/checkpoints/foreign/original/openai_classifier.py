"""OpenAI's classifiers of noisy images (Dhariwal & Nichol 2021, section 4): the way down of their U-Net, and a head.

    time_embed.{0,2}   input_blocks.K.J   middle_block.J   out.0   out.2.{positional_embedding, qkv_proj, c_proj}

The way down has what the U-Net's has (`openai`) under the same names. How many levels there are is told by the size of
images, which is a flag, and by the number of positions that the head knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from undiffuse.checkpoints.foreign.mapping import NameRule, Shape, check, pair, read
from undiffuse.checkpoints.foreign.original import openai
from undiffuse.checkpoints.foreign.original.flags import Flags, process, read_flags
from undiffuse.checkpoints.foreign.tensors import Tensors, opened
from undiffuse.checkpoints.saved_model import SavedModel, provenance, unknown_data
from undiffuse.config.data import DataConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import EMAConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.unet_classifier import UNetClassifier
from undiffuse.runtime.uninitialized import outlined

POSITIONS = "out.2.positional_embedding"
"""What tells a classifier, and which head it has."""


@dataclass(frozen=True)
class Architecture:
    """What shapes and flags tell.

    Args:
        network: settings of its way down.
        channels: of images.
        classes: that it tells apart.
        positions: that its head attends to.
    """

    network: UNetConfig
    channels: int
    classes: int
    positions: int

    def build(self) -> UNetClassifier:
        return UNetClassifier(self.channels, self.classes, 2, self.network, self.positions)


def read_classifier(path: Path) -> tuple[SavedModel, UNetClassifier]:
    """The classifier in a file, and its network with these weights.

    Raises:
        UndiffuseError: it is none of OpenAI's, or does not fit its flags.
    """
    with opened(path) as tensors:
        if POSITIONS not in tensors.shapes:
            raise UndiffuseError(
                f"{path} holds no classifier of noisy images: of files, those of OpenAI's guided-diffusion are read, "
                f"with a '{POSITIONS}'"
            )
        return _read(path, tensors)


def _read(path: Path, tensors: Tensors) -> tuple[SavedModel, UNetClassifier]:
    flags = read_flags(path)
    found = architecture(tensors.shapes, flags, str(path))
    with outlined():
        network = found.build()
    expected = network.state_dict()
    pairs = pair(expected, rules(found.network, flags.use_new_attention_order))
    check(pairs, expected, tensors.shapes, str(path))
    config = TrainConfig(
        recipe="openai",
        data=DataConfig(source=path.stem),
        network=found.network,
        diffusion=process(flags, learn_variance=False),
        ema=EMAConfig(ema=()),
    )
    shape = (found.channels, flags.image_size, flags.image_size)
    info = unknown_data(path.stem, shape, tuple(str(number) for number in range(found.classes)))
    values: dict[str, Tensor] = read(pairs, tensors)
    network.load_state_dict(values, assign=True)
    return SavedModel(config, info, values, provenance(path, path, layout="OpenAI's guided-diffusion")), network


def architecture(shapes: Mapping[str, Shape], flags: Flags, where: str) -> Architecture:
    """The network of these shapes.

    Raises:
        UndiffuseError: they are those of no such network.
    """
    size = partial(openai.side_of, shapes, where)
    positions = size(POSITIONS, 1) - 1
    side = math.isqrt(max(positions, 0))
    levels = (flags.image_size // side).bit_length() if side else 0
    if not side or side**2 != positions or side << (levels - 1) != flags.image_size:
        raise UndiffuseError(
            f"{where} attends to {positions} positions at its end, which images of {flags.image_size} x "
            f"{flags.image_size} pixels do not come down to: see its image_size"
        )
    count = next(k for k in range(len(shapes) + 1) if not _begins(shapes, f"input_blocks.{k + 1}.0."))
    length, rest = divmod(count + 1, levels)
    if rest or length < 2:
        raise UndiffuseError(f"{where} has {count} blocks on its way down, which are no {levels} levels of one length")
    firsts = [f"input_blocks.{1 + level * length}" for level in range(levels)]
    residual = f"input_blocks.{length}.0.op.weight" not in shapes
    network = openai.network_of(shapes, flags, firsts, length - 1, residual, where)
    return Architecture(network, size(openai.MARK, 1), size("out.2.c_proj.weight"), positions)


def _begins(shapes: Mapping[str, Shape], start: str) -> bool:
    return any(name.startswith(start) for name in shapes)


def rules(network: UNetConfig, new_order: bool) -> list[NameRule]:
    """The table: the head's, and the U-Net's for the rest."""
    return [
        NameRule("out.qkv", "out.2.qkv_proj", openai.one_wide()),
        NameRule("out.out", "out.2.c_proj", openai.one_wide()),
        NameRule("out", "out.2", leaf="positional_embedding"),
        *openai.rules(network, new_order),
    ]
