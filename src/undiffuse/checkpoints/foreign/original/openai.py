"""OpenAI's U-Nets (Nichol & Dhariwal 2021, Dhariwal & Nichol 2021): their settings from shapes, their tensors' names.

    time_embed.{0,2}   label_emb   input_blocks.K.J   middle_block.J   output_blocks.K.J   out.{0,2}

K counts blocks through all levels, from the input and from the middle; J what follows one another in a block: the
residual block, its attention if it has one, and what changes the resolution at a level's end.

* A residual block that halves the resolution looks like any other; one that doubles it comes second or third within its
  block. So the way up tells how long a level is, and `mapping.check` whether the way down agrees.
* What no shape tells (heads, the order within attention, the process, the size of images) is in `flags`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from undiffuse.checkpoints.foreign.mapping import WITHOUT_NULL, Change, NameRule, Shape
from undiffuse.checkpoints.foreign.original.flags import Flags
from undiffuse.config.network import UNetConfig
from undiffuse.errors import UndiffuseError

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


@dataclass(frozen=True)
class Architecture:
    """What shapes and flags tell.

    Args:
        network: its settings.
        channels: of images.
        learn_variance: whether the output has a second half.
        classes: rows of the table; 0 for none.
    """

    network: UNetConfig
    channels: int
    learn_variance: bool
    classes: int


def architecture(shapes: Mapping[str, Shape], flags: Flags, where: str) -> Architecture:
    """The network of these shapes.

    Raises:
        UndiffuseError: they are those of no such network.
    """

    size = partial(side_of, shapes, where)

    def has(name: str) -> bool:
        return f"{name}.weight" in shapes

    channels, out = size(MARK, 1), size("out.2.weight")
    if channels > 4:
        raise UndiffuseError(
            f"{where} takes {channels} channels: it enlarges images that it is shown, and undiffuse reads OpenAI's "
            "networks for 1 to 4 channels, which make images from noise"
        )
    if out not in (channels, 2 * channels):
        raise UndiffuseError(f"{where} makes {out} channels of {channels}; those and twice those are known")

    count = next(k for k in range(len(shapes) + 1) if not has(f"output_blocks.{k}.0.in_layers.0"))
    blocks_up = [[f"output_blocks.{k}.{j}" for j in (1, 2)] for k in range(count)]
    residual = any(has(f"{part}.in_layers.0") for parts in blocks_up for part in parts)
    end = "in_layers.0" if residual else "conv"
    ends = [k for k, parts in enumerate(blocks_up) if any(has(f"{part}.{end}") for part in parts)]
    length, levels = (ends[0] + 1 if ends else count), len(ends) + 1
    if length < 2 or count != length * levels or ends != list(range(length - 1, count - 1, length)):
        raise UndiffuseError(f"{where} has levels of different lengths, which no network of OpenAI's has")
    firsts = [f"output_blocks.{level * length}" for level in reversed(range(levels))]
    network = network_of(shapes, flags, firsts, length - 1, residual, where)
    return Architecture(network, channels, out == 2 * channels, size("label_emb.weight") if has("label_emb") else 0)


def network_of(
    shapes: Mapping[str, Shape], flags: Flags, firsts: Sequence[str], blocks: int, residual: bool, where: str
) -> UNetConfig:
    """The settings of a network whose levels begin with the blocks ``firsts``, the finest first.

    Raises:
        UndiffuseError: its levels are of widths that ours cannot have.
    """
    size = partial(side_of, shapes, where)
    base, sinusoids = size(MARK), size("time_embed.0.weight", 1)
    widths = [size(f"{first}.0.out_layers.0.weight") for first in firsts]
    if not base or any(width % base for width in widths):
        raise UndiffuseError(f"{where} has levels of {widths} channels, which are no multiples of its stem's {base}")
    return UNetConfig(
        base=base,
        multipliers=tuple(width // base for width in widths),
        blocks=blocks,
        attention_levels=tuple(level for level, first in enumerate(firsts) if f"{first}.1.qkv.weight" in shapes),
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


def side_of(shapes: Mapping[str, Shape], where: str, name: str, axis: int = 0) -> int:
    """Length of a tensor along an axis.

    Raises:
        UndiffuseError: there is no such tensor, or it has less axes.
    """
    if len(shapes.get(name, ())) <= axis:
        raise UndiffuseError(f"{where} lacks '{name}', which each of OpenAI's networks of its kind has")
    return shapes[name][axis]


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
    """Attentions, and their channels."""
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
    """What changes the resolution, and the convolution's name in it where it is one."""
    levels, length = len(network.multipliers), network.blocks + 1
    for k in range(levels - 1):
        yield f"down.{k}.resample", f"input_blocks.{(k + 1) * length}.0", "op"
        place = 2 if levels - 1 - k in network.attention_levels else 1
        yield f"up.{k}.resample", f"output_blocks.{(k + 1) * length - 1}.{place}", "conv"
