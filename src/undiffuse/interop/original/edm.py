"""EDM's preconditioned ADM networks (Karras et al. 2022, https://arxiv.org/abs/2206.00364, table 1 and appendix F).

    model.map_layer{0,1}   model.map_label   model.enc.RxR_{conv, down, blockI}
    model.dec.RxR_{in0, in1, up, blockI}     model.out_{norm, conv}

that is ``torch.save(net.state_dict(), ...)`` of their ``EDMPrecond`` around a ``DhariwalUNet``; R is the resolution.

* A level of the way up begins with its doubling there, and ends with it here.
* Rows of queries, keys and values come head by head, channel by channel, the three of them side by side.
* A class is a column of a matrix without bias, and no class is none of them, a row of zeros here.
* Every resampling must be by the mean of 2 x 2 pixels, which is what their filters, in the file, are checked for.
* The network was shown x / sqrt(sigma^2 + sigma_data^2) and ln(sigma) / 4, whatever the walk through the noise levels.
  Here it is given Song et al.'s variance-preserving process: with x_t / alpha the noise levels are sigma / alpha, up to
  152, of which EDM's own sampler uses 0.002 to 80.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from undiffuse.config import DiffusionConfig, UNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.interop.mapping import Change, Rule, Shape
from undiffuse.interop.tensors import Tensors
from undiffuse.networks.unet import heads

MARK = "map_layer0.weight"
"""The first layer of the embedding, which tells EDM's networks from others."""
INSIDE = "model."
"""What stands before the names of the network within its preconditioning."""
FILTER = ".resample_filter"
PASSED_OVER = "map_augment.weight"
"""What tells the network of augmentations, of which there are none where samples are drawn."""
OTHER = re.compile(r"(enc|dec)\.\d+x\d+_aux|map_noise\.freqs")
"""What DDPM++ and NCSN++ have and ADM has not."""
HEAD_WIDTH = 64
PROCESS = DiffusionConfig(schedule="vp", parameterization="edm", sigma_data=0.5, time_input="log-sigma")

BLOCK = ("norm0", "conv0", "affine", "norm1", "conv1", "skip")
"""Layers of a residual block, in the order of ours."""
OURS = ("norm1", "conv1", "embed", "norm2", "conv2", "shortcut")


@dataclass(frozen=True)
class Architecture:
    """What names and shapes tell.

    Args:
        network: its settings.
        channels: of images.
        side: height and width of images.
        classes: columns of the matrix of classes; 0 for none.
        sides: of each level, the finest first.
    """

    network: UNetConfig
    channels: int
    side: int
    classes: int
    sides: tuple[int, ...]


def named(names: Sequence[str]) -> dict[str, str]:
    """The network's tensors without what stands before them and without filters, by the file's names."""
    prefix = "" if MARK in names else INSIDE
    aside = (FILTER, PASSED_OVER)
    return {name.removeprefix(prefix): name for name in names if name.startswith(prefix) and not name.endswith(aside)}


def check_filters(tensors: Tensors, where: str) -> None:
    """Refuse any way of resampling but the mean of 2 x 2 pixels.

    Raises:
        UndiffuseError: a filter is another.
    """
    for name, shape in tensors.shapes.items():
        if name.endswith(FILTER) and (shape != (1, 1, 2, 2) or (tensors(name) != 0.25).any()):
            raise UndiffuseError(f"{where} has a '{name}' that is not the mean of 2 x 2 pixels; only that is read")


def architecture(shapes: Mapping[str, Shape], where: str) -> Architecture:
    """The network of these names and shapes.

    Raises:
        UndiffuseError: they are those of no such network.
    """

    def size(name: str, axis: int = 0) -> int:
        if len(shapes.get(name, ())) <= axis:
            raise UndiffuseError(f"{where} lacks '{name}', which each ADM network of EDM's has")
        return shapes[name][axis]

    if any(OTHER.match(name) for name in shapes):
        raise UndiffuseError(
            f"{where} is a DDPM++ or NCSN++ network of EDM's, whose filters, scaled skips and embedding ours has not; "
            "its ADM networks are read"
        )
    found = {int(match[1]) for name in shapes if (match := re.match(r"enc\.(\d{1,5})x\1_block0\.", name))}
    sides = tuple(sorted(found, reverse=True))
    if not sides or any(small * 2 != large for large, small in pairwise(sides)):
        raise UndiffuseError(f"{where} has levels at {sides} pixels, where each is half of the one before")
    stem = f"enc.{sides[0]}x{sides[0]}_conv.weight"
    base, channels = size(stem), size(stem, 1)
    if channels > 4 or size("out_conv.weight") != channels:
        raise UndiffuseError(
            f"{where} makes {size('out_conv.weight')} channels of {channels}; 1 to 4 of as many are read"
        )
    widths = [size(f"enc.{side}x{side}_block0.conv1.weight") for side in sides]
    if not base or any(width % base for width in widths):
        raise UndiffuseError(f"{where} has levels of {widths} channels, which are no multiples of its stem's {base}")
    blocks = next(k for k in range(len(shapes)) if f"enc.{sides[0]}x{sides[0]}_block{k}.conv1.weight" not in shapes)
    waves = size(MARK, 1)
    network = UNetConfig(
        base=base,
        multipliers=tuple(width // base for width in widths),
        blocks=blocks,
        attention_levels=tuple(k for k, s in enumerate(sides) if f"enc.{s}x{s}_block0.qkv.weight" in shapes),
        head_width=HEAD_WIDTH,
        scale_shift=True,
        resample="residual",
        embedding="adm",
        time_width=None if waves == base else waves,
        norm_eps=1e-5,
    )
    classes = size("map_label.weight", 1) if "map_label.weight" in shapes else 0
    return Architecture(network, channels, sides[0], classes, sides)


COLUMNS = Change(
    lambda theirs: torch.cat([theirs[0].T, torch.zeros_like(theirs[0].T[:1])]),
    lambda ours: [ours[:-1].T],
)
"""A matrix of which each column is a class."""


def side_by_side(count: int) -> Change:
    """Queries, keys and values of ``count`` heads as (head, channel, which) of a kernel of 1 x 1 there."""

    def to_ours(theirs: Sequence[Tensor]) -> Tensor:
        rows = theirs[0].flatten(1) if theirs[0].ndim > 1 else theirs[0]
        turned: Tensor = rows.unflatten(0, (count, -1, 3)).movedim(2, 0)
        return turned.flatten(0, 2)

    def to_theirs(ours: Tensor) -> Sequence[Tensor]:
        rows = ours.unflatten(0, (3, count, -1)).movedim(0, 2).flatten(0, 2)
        return [rows[:, :, None, None] if rows.ndim > 1 else rows]

    return Change(to_ours, to_theirs)


POINTWISE = Change(
    lambda theirs: theirs[0].flatten(1) if theirs[0].ndim > 1 else theirs[0],
    lambda ours: [ours[:, :, None, None] if ours.ndim > 1 else ours],
)
"""A kernel of 1 x 1 there, a matrix here."""


def rules(found: Architecture) -> list[Rule]:
    """The table for a network of these settings."""
    table = [
        Rule("time.linear1", "map_layer0"),
        Rule("time.linear2", "map_layer1"),
        Rule("told.label.rows", "map_label", COLUMNS),
        Rule("stem", f"enc.{found.side}x{found.side}_conv"),
        Rule("norm", "out_norm"),
        Rule("out", "out_conv"),
    ]
    for block, attention, theirs, width in _blocks(found):
        table += [Rule(f"{block}.{ours}", f"{theirs}.{name}") for ours, name in zip(OURS, BLOCK, strict=True)]
        if attention:
            count = heads(width, found.network)
            table += [
                Rule(f"{attention}.norm", f"{theirs}.norm2"),
                Rule(f"{attention}.qkv", f"{theirs}.qkv", side_by_side(count)),
                Rule(f"{attention}.out", f"{theirs}.proj", POINTWISE),
            ]
    return table


def _blocks(found: Architecture) -> Iterator[tuple[str, str, str, int]]:
    """Our block, our attention behind it ('' for none), their block with both, and its channels."""
    network, sides = found.network, found.sides
    last = len(sides) - 1
    for level, side in enumerate(sides):
        width, attends = network.base * network.multipliers[level], level in network.attention_levels
        places = [("down", level, "enc", i) for i in range(network.blocks)]
        places += [("up", last - level, "dec", i) for i in range(network.blocks + 1)]
        for way, k, theirs, i in places:
            attention = f"{way}.{k}.attentions.{i}" if attends else ""
            yield f"{way}.{k}.blocks.{i}", attention, f"{theirs}.{side}x{side}_block{i}", width
        if level:
            yield f"down.{level - 1}.resample", "", f"enc.{side}x{side}_down", width
        if level < last:
            yield f"up.{last - level - 1}.resample", "", f"dec.{side}x{side}_up", width
    lowest = f"dec.{sides[-1]}x{sides[-1]}"
    yield "middle.block1", "middle.attention", f"{lowest}_in0", width
    yield "middle.block2", "", f"{lowest}_in1", width
