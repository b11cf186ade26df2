"""OpenAI's classifiers of noisy images (Dhariwal & Nichol 2021, section 4): the way down of their U-Net, and a head.

    time_embed.{0,2}   input_blocks.K.J   middle_block.J   out.0   out.2.{positional_embedding, qkv_proj, c_proj}

The way down has what the U-Net's has (`openai`) under the same names. How many levels there are is told by the size of
images, which is a flag, and by the number of positions that the head knows.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from undiffuse.checkpoints.foreign.mapping import NameRule, pair, read
from undiffuse.checkpoints.foreign.original import openai
from undiffuse.checkpoints.foreign.original.flags import Flags, process, read_flags
from undiffuse.checkpoints.foreign.original.layout import Shapes
from undiffuse.checkpoints.foreign.tensors import opened
from undiffuse.checkpoints.saved_model import SavedModel, foreign_config, provenance, unknown_data
from undiffuse.config.network import UNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.unet_classifier import UNetClassifier
from undiffuse.runtime.uninitialized import outlined

POSITIONS = "out.2.positional_embedding"
"""What tells a classifier, and which head it has."""


def read_classifier(path: Path) -> tuple[SavedModel, UNetClassifier]:
    """The classifier in a file of OpenAI's, and its network with these weights."""
    with opened(path) as tensors:
        if POSITIONS not in tensors.shapes:
            raise UndiffuseError(
                f"{path} holds no classifier of noisy images: of files, those of OpenAI's guided-diffusion are read, "
                f"with a '{POSITIONS}'"
            )
        flags, shapes = read_flags(path), openai.shapes_of(path, tensors)
        options, positions = way_down(shapes, flags)
        channels, classes = shapes.size(openai.MARK, 1), shapes.size("out.2.c_proj.weight")
        with outlined():
            network = UNetClassifier(channels, classes, 2, options, positions)
        expected = network.state_dict()
        table = rules(options, flags.use_new_attention_order)
        values = read(pair(expected, table), expected, tensors, str(path))
    network.load_state_dict(values, assign=True)
    config = foreign_config("openai", path.stem, options, process(flags, learn_variance=False))
    info = unknown_data(path.stem, (channels, flags.image_size, flags.image_size), range(classes))
    return SavedModel(config, info, values, provenance(path, path, layout="OpenAI's guided-diffusion")), network


def way_down(shapes: Shapes, flags: Flags) -> tuple[UNetConfig, int]:
    """The settings of the way down, and the positions that the head attends to."""
    positions = shapes.size(POSITIONS, 1) - 1
    side = math.isqrt(max(positions, 0))
    levels = (flags.image_size // side).bit_length() if side else 0
    if not side or side**2 != positions or side << (levels - 1) != flags.image_size:
        raise UndiffuseError(
            f"{shapes.where} attends to {positions} positions at its end, which images of {flags.image_size} x "
            f"{flags.image_size} pixels do not come down to: see its image_size"
        )
    blocks = {name.split(".")[1] for name in shapes.shapes if re.match(r"input_blocks\.\d+\.0\.", name)}
    count = next(k for k in range(len(blocks) + 1) if str(k + 1) not in blocks)
    length, rest = divmod(count + 1, levels)
    if rest or length < 2:
        raise UndiffuseError(
            f"{shapes.where} has {count} blocks on its way down, which are no {levels} levels of one length"
        )
    firsts = [f"input_blocks.{1 + level * length}" for level in range(levels)]
    residual = f"input_blocks.{length}.0.op.weight" not in shapes.shapes
    return openai.network_of(shapes, flags, firsts, length - 1, residual), positions


def rules(network: UNetConfig, new_order: bool) -> list[NameRule]:
    """The table: the head's, and the U-Net's for the rest."""
    return [
        NameRule("out.qkv", "out.2.qkv_proj", openai.one_wide()),
        NameRule("out.out", "out.2.c_proj", openai.one_wide()),
        NameRule("out", "out.2", leaf="positional_embedding"),
        *openai.rules(network, new_order),
    ]
