"""EDM's preconditioned networks (Karras et al. 2022, https://arxiv.org/abs/2206.00364, table 1 and appendix F).

    model.map_layer{0,1}   model.map_label   model.map_noise   model.enc.RxR_{conv, down, aux_residual, blockI}
    model.dec.RxR_{in0, in1, up, blockI}     model.out_{norm, conv}, or model.dec.RxR_aux_{norm, conv}

that is ``torch.save(net.state_dict(), ...)`` of their ``EDMPrecond`` around a ``DhariwalUNet``, which is ADM, or a
``SongUNet``, which is DDPM++ or NCSN++; R is the resolution.

* A level of the way up begins with its doubling there, and ends with it here.
* Rows of queries, keys and values come head by head, channel by channel, the three of them side by side.
* A class of ADM is a column of a matrix without bias, and no class is none of them, a row of zeros here.
* Resampling is by filters that are in the file, and must be those of the network: the mean of 2 x 2 pixels, or NCSN++'s
  (1, 3, 3, 1) / 8 along either side.
* Of ``SongUNet``'s options, frequencies in the file tell NCSN++; others than its and DDPM++'s own are refused.
* The network was shown x / sqrt(sigma^2 + sigma_data^2) and ln(sigma) / 4, whatever the walk through the noise levels.
  Here it is given Song et al.'s variance-preserving process: with x_t / alpha the noise levels are sigma / alpha, up to
  152, of which EDM's own sampler uses 0.002 to 80.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from undiffuse.checkpoints.foreign.mapping import POINTWISE, Change, NameRule
from undiffuse.checkpoints.foreign.original.layout import Layout, Shapes
from undiffuse.checkpoints.foreign.tensors import Tensors
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import ScoreUNetConfig, UNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.score_unet import DDPM, NCSN

MARK = "map_layer0.weight"
"""The first layer of the embedding, which tells EDM's networks from others."""
INSIDE = "model."
"""What stands before the names of the network within its preconditioning."""
BASELINE = "baseline-"
"""How the names of EDM's models of other preconditionings begin."""
FILTER = ".resample_filter"
PASSED_OVER = "map_augment.weight"
"""What tells the network of augmentations, of which there are none where samples are drawn."""
FREQUENCIES = "map_noise.freqs"
"""What NCSN++ has and DDPM++ has not."""
SCORE = re.compile(r"(enc|dec)\.\d+x\d+_aux|map_noise\.freqs")
"""What both have and ADM has not."""
HEAD_WIDTH = 64
PROCESS = DiffusionConfig(schedule="vp", parameterization="edm", sigma_data=0.5, time_input="log-sigma")

ADM: Final[dict[str, Any]] = {
    "head_width": HEAD_WIDTH,
    "scale_shift": True,
    "resample": "residual",
    "embedding": "adm",
    "norm_eps": 1e-5,
}
"""Settings of the network that no shape tells."""
BLOCK = (
    ("norm1", "norm0"),
    ("conv1", "conv0"),
    ("embed", "affine"),
    ("norm2", "norm1"),
    ("conv2", "conv1"),
    ("shortcut", "skip"),
)
"""Layers of a residual block, ours and theirs."""


def named(names: Sequence[str]) -> dict[str, str]:
    """The network's tensors without what stands before them and without filters, by the file's names."""
    prefix = "" if MARK in names else INSIDE
    aside = (FILTER, PASSED_OVER)
    return {name.removeprefix(prefix): name for name in names if name.startswith(prefix) and not name.endswith(aside)}


def layout(path: Path, stored: Tensors, tensors: Tensors) -> Layout:
    """A file in our terms, by its names and shapes; ``stored`` has the filters, too."""
    if path.name.startswith(BASELINE):
        raise UndiffuseError(
            f"{path} has the name of one of EDM's baselines, whose preconditioning is Song et al.'s or Nichol & "
            "Dhariwal's and not EDM's, and which would draw wrong images; give another name to what is none"
        )
    shapes = Shapes(tensors.shapes, str(path), "each such network of EDM's has")
    network, channels, sides = architecture(shapes)
    check_filters(stored, network.architecture, str(path))
    table = _adm_rules(network, sides) if isinstance(network, UNetConfig) else _score_rules(network, sides)
    classes = shapes.size("map_label.weight", 1) if "map_label.weight" in tensors.shapes else 0
    return Layout(network, PROCESS, (channels, sides[0], sides[0]), table, classes)


def check_filters(tensors: Tensors, kind: str, where: str) -> None:
    """Check that a file resamples in no other way than its architecture does here."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0] if kind == NCSN else [1.0, 1.0])
    expected = torch.outer(taps, taps)[None, None] / taps.sum() ** 2
    what = "(1, 3, 3, 1) / 8 along both sides" if kind == NCSN else "the mean of 2 x 2 pixels"
    for name, shape in tensors.shapes.items():
        if name.endswith(FILTER) and (shape != expected.shape or (tensors(name) != expected).any()):
            raise UndiffuseError(
                f"{where} has a '{name}' that is not {what}, which is all that is read of such a network"
            )


def architecture(shapes: Shapes) -> tuple[UNetConfig | ScoreUNetConfig, int, list[int]]:
    """The network, the channels of images, and the sides of each level's activations, the finest first."""
    size, names, where = shapes.size, shapes.shapes.keys(), shapes.where
    found = {int(match[1]) for name in names if (match := re.match(r"enc\.(\d{1,5})x\1_block0\.", name))}
    sides = sorted(found, reverse=True)
    if not sides or any(small * 2 != large for large, small in pairwise(sides)):
        raise UndiffuseError(f"{where} has levels at {tuple(sides)} pixels, where each is half of the one before")
    stem = f"enc.{sides[0]}x{sides[0]}_conv.weight"
    base, channels = size(stem), size(stem, 1)
    score = any(SCORE.match(name) for name in names)
    made = size(f"dec.{sides[0]}x{sides[0]}_aux_conv.weight" if score else "out_conv.weight")
    if channels > 4 or made != channels:
        raise UndiffuseError(f"{where} makes {made} channels of {channels}; 1 to 4 of as many are read")
    multipliers = shapes.multipliers(base, [size(f"enc.{side}x{side}_block0.conv1.weight") for side in sides])
    blocks = shapes.count(f"enc.{sides[0]}x{sides[0]}_block{{}}.conv1.weight")
    attends = tuple(k for k, s in enumerate(sides) if f"enc.{s}x{s}_block0.qkv.weight" in names)
    if score:
        score_unet = ScoreUNetConfig(
            base, multipliers, blocks, attends, architecture=NCSN if FREQUENCIES in names else DDPM
        )
        return score_unet, channels, sides
    waves = size(MARK, 1)
    time_width = None if waves == base else waves
    return UNetConfig(base, multipliers, blocks, attends, time_width=time_width, **ADM), channels, sides


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


def _adm_rules(network: UNetConfig, sides: Sequence[int]) -> list[NameRule]:
    table = [
        NameRule("time.linear1", "map_layer0"),
        NameRule("time.linear2", "map_layer1"),
        NameRule("told.label.rows", "map_label", COLUMNS),
        NameRule("stem", f"enc.{sides[0]}x{sides[0]}_conv"),
        NameRule("norm", "out_norm"),
        NameRule("out", "out_conv"),
    ]
    for block, attention, theirs, width in _blocks(network, sides):
        table += [NameRule(f"{block}.{ours}", f"{theirs}.{name}") for ours, name in BLOCK]
        if attention:
            table += _attention_rules(attention, theirs, network.heads_of(width))
    return table


def _score_rules(network: ScoreUNetConfig, sides: Sequence[int]) -> list[NameRule]:
    finest = f"{sides[0]}x{sides[0]}"
    table = [
        NameRule("waves", "map_noise", leaf="freqs"),
        NameRule("label", "map_label"),
        NameRule("time1", "map_layer0"),
        NameRule("time2", "map_layer1"),
        NameRule("stem", f"enc.{finest}_conv"),
        NameRule("norm", f"dec.{finest}_aux_norm"),
        NameRule("out", f"dec.{finest}_aux_conv"),
    ]
    for level, side in enumerate(sides[1:]):
        table.append(NameRule(f"down.{level}.picture.conv", f"enc.{side}x{side}_aux_residual"))
    for block, _, theirs, _ in _blocks(network, sides):
        table += [NameRule(f"{block}.{ours}", f"{theirs}.{name}") for ours, name in BLOCK]
        table += _attention_rules(f"{block}.attention", theirs, 1)
    return table


def _attention_rules(ours: str, theirs: str, count: int) -> list[NameRule]:
    return [
        NameRule(f"{ours}.norm", f"{theirs}.norm2"),
        NameRule(f"{ours}.qkv", f"{theirs}.qkv", side_by_side(count)),
        NameRule(f"{ours}.out", f"{theirs}.proj", POINTWISE),
    ]


def _blocks(network: UNetConfig | ScoreUNetConfig, sides: Sequence[int]) -> Iterator[tuple[str, str, str, int]]:
    """Our block, our attention behind it ('' for none), their block with both, and its channels."""
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
