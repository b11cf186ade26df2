"""Which layer of a UNet2DModel is which of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence

from undiffuse.checkpoints.foreign.mapping import HALVES_SWAPPED, SAME, WITHOUT_NULL, NameRule, stacked

BLOCKS = (
    ("down.{}.blocks.{}", "down_blocks.{}.resnets.{}"),
    ("up.{}.blocks.{}", "up_blocks.{}.resnets.{}"),
    ("middle.block1", "mid_block.resnets.0"),
    ("middle.block2", "mid_block.resnets.1"),
    ("down.{}.resample", "down_blocks.{}.downsamplers.0"),
    ("up.{}.resample", "up_blocks.{}.upsamplers.0"),
)
IN_BLOCK = (
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("embed", "time_emb_proj"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("shortcut", "conv_shortcut"),
    ("conv", "conv"),  # of a resampling without a residual block
)
ATTENTIONS = (
    ("down.{}.attentions.{}", "down_blocks.{}.attentions.{}"),
    ("up.{}.attentions.{}", "up_blocks.{}.attentions.{}"),
    ("middle.attention", "mid_block.attentions.0"),
)
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Layers of attention in files from before diffusers 0.15."""


def rules(swapped: bool, null_class: bool) -> Sequence[NameRule]:
    """The table.

    Args:
        swapped: whether sines and cosines come in the other order than in ours.
        null_class: whether the last row of their table of classes stands for no class.
    """
    return [
        NameRule("time.linear1", "time_embedding.linear_1", HALVES_SWAPPED if swapped else SAME),
        NameRule("time.linear2", "time_embedding.linear_2"),
        NameRule("told.label.rows", "class_embedding", SAME if null_class else WITHOUT_NULL),
        NameRule("stem", "conv_in"),
        NameRule("norm", "conv_norm_out"),
        NameRule("out", "conv_out"),
        *(NameRule(f"{ours}.{a}", f"{theirs}.{b}") for ours, theirs in BLOCKS for a, b in IN_BLOCK),
        *(rule for ours, theirs in ATTENTIONS for rule in _attention(ours, theirs)),
    ]


def _attention(ours: str, theirs: str) -> list[NameRule]:
    return [
        NameRule(f"{ours}.norm", f"{theirs}.group_norm"),
        NameRule(f"{ours}.qkv", (f"{theirs}.to_q", f"{theirs}.to_k", f"{theirs}.to_v"), stacked(3)),
        NameRule(f"{ours}.out", f"{theirs}.to_out.0"),
    ]


_OLD = re.compile(rf"(\.attentions\.\d+)\.({'|'.join(OLD_ATTENTION)})\.(\w+)")


def modern(name: str) -> str:
    """The name that a tensor of an old file has today."""
    found = _OLD.search(name)
    return name if found is None else _OLD.sub(rf"\1.{OLD_ATTENTION[found[2]]}.\3", name)
