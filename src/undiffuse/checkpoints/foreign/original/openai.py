"""OpenAI's U-Nets (Nichol & Dhariwal 2021, Dhariwal & Nichol 2021): their settings from shapes, their tensors' names.

    time_embed.{0,2}   label_emb   input_blocks.K.J   middle_block.J   output_blocks.K.J   out.{0,2}

K counts blocks through all levels, from the input and from the middle; J what follows one another in a block: the
residual block, its attention if it has one, and what changes the resolution at a level's end.

* A residual block that halves the resolution looks like any other; one that doubles it comes second or third within its
  block. So the way up tells how long a level is, and `mapping.check` whether the way down agrees.
* What no shape tells (heads, the order within attention, the process, the size of images) is in `flags`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from undiffuse.checkpoints.foreign.mapping import WITHOUT_NULL, Change, NameRule
from undiffuse.checkpoints.foreign.original.flags import Flags, process, read_flags
from undiffuse.checkpoints.foreign.original.layout import Layout, Shapes
from undiffuse.checkpoints.foreign.tensors import Tensors
from undiffuse.config.network import UNetConfig
from undiffuse.errors import UndiffuseError, quoted

MARK = "input_blocks.0.0.weight"
"""The stem, which tells OpenAI's files from others'."""
MARK_UNET = "output_blocks.0.0.in_layers.0.weight"
"""What their classifiers do not have."""

BLOCK = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("embed", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("shortcut", "skip_connection"),
)
"""Layers of a residual block."""


def layout(path: Path, tensors: Tensors) -> Layout:
    """A file in our terms, by its shapes and flags."""
    if MARK_UNET not in tensors.shapes:
        raise UndiffuseError(
            f"{path} is a classifier of OpenAI's and makes no images: it leads a model that does, with "
            f"undiffuse sample RUN --classifier {quoted(path)}"
        )
    flags, shapes = read_flags(path), shapes_of(path, tensors)
    where = shapes.where

    def has(name: str) -> bool:
        return f"{name}.weight" in tensors.shapes

    channels, out = shapes.size(MARK, 1), shapes.size("out.2.weight")
    if channels > 4:
        raise UndiffuseError(
            f"{where} takes {channels} channels: it enlarges images that it is shown, and undiffuse reads OpenAI's "
            "networks for 1 to 4 channels, which make images from noise"
        )
    if out not in (channels, 2 * channels):
        raise UndiffuseError(f"{where} makes {out} channels of {channels}; those and twice those are known")

    count = shapes.count("output_blocks.{}.0.in_layers.0.weight")
    blocks_up = [[f"output_blocks.{k}.{j}" for j in (1, 2)] for k in range(count)]
    residual = any(has(f"{part}.in_layers.0") for parts in blocks_up for part in parts)
    end = "in_layers.0" if residual else "conv"
    ends = [k for k, parts in enumerate(blocks_up) if any(has(f"{part}.{end}") for part in parts)]
    length, levels = (ends[0] + 1 if ends else count), len(ends) + 1
    if length < 2 or count != length * levels or ends != list(range(length - 1, count - 1, length)):
        raise UndiffuseError(f"{where} has levels of different lengths, which no network of OpenAI's has")
    firsts = [f"output_blocks.{level * length}" for level in reversed(range(levels))]
    network = network_of(shapes, flags, firsts, length - 1, residual)
    shape = (channels, flags.image_size, flags.image_size)
    classes = shapes.size("label_emb.weight") if has("label_emb") else 0
    table = rules(network, flags.use_new_attention_order)
    return Layout(network, process(flags, out == 2 * channels), shape, table, classes)


def shapes_of(path: Path, tensors: Tensors) -> Shapes:
    return Shapes(tensors.shapes, str(path), "each of OpenAI's networks of its kind has")


def network_of(shapes: Shapes, flags: Flags, firsts: Sequence[str], blocks: int, residual: bool) -> UNetConfig:
    """The settings of a network whose levels begin with the blocks ``firsts``, the finest first."""
    size = shapes.size
    base, sinusoids = size(MARK), size("time_embed.0.weight", 1)
    return UNetConfig(
        base=base,
        multipliers=shapes.multipliers(base, [size(f"{first}.0.out_layers.0.weight") for first in firsts]),
        blocks=blocks,
        attention_levels=tuple(k for k, first in enumerate(firsts) if f"{first}.1.qkv.weight" in shapes.shapes),
        heads=flags.num_heads or 1,
        head_width=flags.num_head_channels,
        scale_shift=size("middle_block.0.emb_layers.1.weight") == 2 * size("middle_block.0.out_layers.0.weight"),
        resample="residual" if residual else "conv",
        embedding="adm",
        time_width=None if sinusoids == base else sinusoids,
        norm_groups=32,
        norm_eps=1e-5,
        downsample_padding="both",
    )


def rules(network: UNetConfig, new_order: bool) -> list[NameRule]:
    """The table for a network of these settings.

    Args:
        new_order: see `Flags.use_new_attention_order`.
    """
    found = [
        NameRule("time.linear1", "time_embed.0"),
        NameRule("time.linear2", "time_embed.2"),
        NameRule("told.label.rows", "label_emb", WITHOUT_NULL),
        NameRule("stem", "input_blocks.0.0"),
        NameRule("norm", "out.0"),
        NameRule("out", "out.2"),
    ]
    for ours, theirs in _blocks(network):
        found += [NameRule(f"{ours}.{a}", f"{theirs}.{b}") for a, b in BLOCK]
    for ours, theirs, width in _attentions(network):
        order = 1 if new_order else network.heads_of(width)
        found += [
            NameRule(f"{ours}.norm", f"{theirs}.norm"),
            NameRule(f"{ours}.qkv", f"{theirs}.qkv", one_wide(order)),
            NameRule(f"{ours}.out", f"{theirs}.proj_out", one_wide()),
        ]
    if network.resample == "conv":
        found += [NameRule(f"{ours}.conv", f"{theirs}.{name}") for ours, theirs, name in _resamplings(network)]
    return found


def one_wide(groups: int = 1) -> Change:
    """A matrix of ours that is a convolution of width 1 of theirs.

    Args:
        groups: for queries, keys and values that come head by head, how many heads; ours come one after another.
    """

    def turned(rows: Tensor, outer: int, inner: int) -> Tensor:
        return rows.unflatten(0, (outer, inner, -1)).transpose(0, 1).flatten(0, 2) if groups > 1 else rows

    def to_ours(theirs: Tensor) -> Tensor:
        return turned(theirs.flatten(1) if theirs.ndim > 1 else theirs, groups, 3)

    def to_theirs(ours: Tensor) -> Tensor:
        return turned(ours[..., None] if ours.ndim > 1 else ours, 3, groups)

    return Change(lambda theirs: to_ours(theirs[0]), lambda ours: [to_theirs(ours)])


def _blocks(network: UNetConfig) -> Iterator[tuple[str, str]]:
    """Residual blocks, those that change the resolution among them."""
    for ours, theirs, _ in _levels(network):
        yield ours, f"{theirs}.0"
    yield "middle.block1", "middle_block.0"
    yield "middle.block2", "middle_block.2"
    if network.resample == "residual":
        for ours, theirs, _ in _resamplings(network):
            yield ours, theirs


def _attentions(network: UNetConfig) -> Iterator[tuple[str, str, int]]:
    for ours, theirs, level in _levels(network):
        if level in network.attention_levels:
            yield ours.replace("blocks", "attentions"), f"{theirs}.1", network.base * network.multipliers[level]
    yield "middle.attention", "middle_block.1", network.base * network.multipliers[-1]


def _levels(network: UNetConfig) -> Iterator[tuple[str, str, int]]:
    """The blocks of each level, down and up, and the level."""
    levels, blocks = len(network.multipliers), network.blocks
    for level in range(levels):
        for i in range(blocks):
            yield f"down.{level}.blocks.{i}", f"input_blocks.{1 + level * (blocks + 1) + i}", level
    for k in range(levels):
        for i in range(blocks + 1):
            yield f"up.{k}.blocks.{i}", f"output_blocks.{k * (blocks + 1) + i}", levels - 1 - k


def _resamplings(network: UNetConfig) -> Iterator[tuple[str, str, str]]:
    """The modules that change the resolution, with the convolution's name in each where it is one."""
    levels, length = len(network.multipliers), network.blocks + 1
    for k in range(levels - 1):
        yield f"down.{k}.resample", f"input_blocks.{(k + 1) * length}.0", "op"
        place = 2 if levels - 1 - k in network.attention_levels else 1
        yield f"up.{k}.resample", f"output_blocks.{(k + 1) * length - 1}.{place}", "conv"
