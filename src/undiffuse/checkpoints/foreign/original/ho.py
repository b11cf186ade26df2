"""The U-Net of Ho et al. 2020, as the variables of their TensorFlow code (https://github.com/hojonathanho/diffusion).

    model/down_1/block_0/conv1/W    model/mid/attn_1/q/b    model/norm_out/gamma    ...

exported to an .npz with ``{name: reader.get_tensor(name)}`` of a checkpoint. ``model/`` may be there or not.

* Matrices are (inputs, outputs) and kernels (height, width, inputs, outputs) there: the reverse of PyTorch's.
* A name followed by ``/ExponentialMovingAverage`` is the average; where there are any, all of the network's have one
  and they are what is read. What Adam and the step counter leave in a checkpoint is passed over.
* ``up_0`` is the finest level there, and the last to be computed; here ``up[0]`` is the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from undiffuse.checkpoints.foreign.mapping import Change, NameRule, of_weights
from undiffuse.checkpoints.foreign.original.flags import read_side
from undiffuse.checkpoints.foreign.original.layout import Layout, Shapes
from undiffuse.checkpoints.foreign.tensors import Tensors
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.errors import UndiffuseError

MARK = "conv_in.weight"
"""The stem, as `named` calls it, which tells Ho's files from others'."""
AVERAGE = "/ExponentialMovingAverage"
LEAVES = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}
PASSED_OVER = ("global_step", "beta1_power", "beta2_power")
SIDE_OF_ATTENTION = 16
"""All of the paper's networks attend at 16 x 16."""
PROCESS = DiffusionConfig(schedule="linear", timesteps=1000)
"""That of all its networks."""


def named(names: Sequence[str]) -> dict[str, str]:
    """The network's variables: dotted names with PyTorch's words for weight and bias, and the file's own."""
    averaged = any(name.removesuffix(":0").endswith(AVERAGE) for name in names)
    found = {}
    for name in names:
        plain = name.removesuffix(":0")
        if averaged and not plain.endswith(AVERAGE):
            continue
        *layer, leaf = plain.removesuffix(AVERAGE).removeprefix("model/").split("/")
        if leaf not in PASSED_OVER and not leaf.startswith("Adam"):
            found[".".join([*layer, LEAVES.get(leaf, leaf)])] = name
    return found


def layout(path: Path, tensors: Tensors) -> Layout:
    """A file in our terms, by its shapes; the size of images is in a .json, or that whose attention is at 16 x 16."""
    shapes = Shapes(tensors.shapes, str(path), "each of Ho's networks has")

    def outputs(layer: str) -> int:
        if not (shape := tensors.shapes.get(f"{layer}.weight", ())):
            raise shapes.lacks(f"{layer.replace('.', '/')}/W")
        return shape[-1]

    base, channels = outputs("conv_in"), shapes.size(MARK, -2)
    if outputs("conv_out") != channels or channels > 4:
        raise UndiffuseError(
            f"{path} makes {outputs('conv_out')} channels of {channels}: undiffuse reads Ho's networks of 1 to 4 "
            "channels in and out, trained with a block_size of 1"
        )
    levels = range(shapes.count("down_{}.block_0.conv1.weight"))
    network = UNetConfig(
        base=base,
        multipliers=shapes.multipliers(base, [outputs(f"down_{k}.block_0.conv1") for k in levels]),
        blocks=shapes.count("down_0.block_{}.conv1.weight"),
        attention_levels=tuple(k for k in levels if f"down_{k}.attn_0.q.weight" in tensors.shapes),
        norm_groups=32,
    )
    of_attention = [SIDE_OF_ATTENTION * 2**level for level in network.attention_levels]
    side = read_side(path, of_attention[0] if len(of_attention) == 1 else None)
    return Layout(network, PROCESS, (channels, side, side), rules(network))


TRANSPOSED = of_weights(lambda w: w.T, lambda w: w.T)
"""(inputs, outputs) there."""
THREE = Change(
    lambda theirs: torch.cat([part.T if part.ndim > 1 else part for part in theirs]),
    lambda ours: [part.T if part.ndim > 1 else part for part in ours.chunk(3)],
)
"""Three matrices there, one here."""
KERNEL = of_weights(lambda w: w.permute(3, 2, 0, 1), lambda w: w.permute(2, 3, 1, 0))
"""(height, width, inputs, outputs) there."""
POINTWISE = of_weights(lambda w: w.T[:, :, None, None], lambda w: w[:, :, 0, 0].T)
"""A matrix there, a kernel of 1 x 1 here."""


def rules(network: UNetConfig) -> list[NameRule]:
    """The table for a network of these settings."""
    found = [
        NameRule("time.linear1", "temb.dense0", TRANSPOSED),
        NameRule("time.linear2", "temb.dense1", TRANSPOSED),
        NameRule("stem", "conv_in", KERNEL),
        NameRule("norm", "norm_out"),
        NameRule("out", "conv_out", KERNEL),
        *_block("middle.block1", "mid.block_1"),
        *_attention("middle.attention", "mid.attn_1"),
        *_block("middle.block2", "mid.block_2"),
    ]
    for ours, theirs, resample in _levels(len(network.multipliers)):
        found += _block(f"{ours}.blocks.{{}}", f"{theirs}.block_{{}}")
        found += _attention(f"{ours}.attentions.{{}}", f"{theirs}.attn_{{}}")
        found.append(NameRule(f"{ours}.resample.conv", f"{theirs}.{resample}.conv", KERNEL))
    return found


def _levels(count: int) -> Iterator[tuple[str, str, str]]:
    for k in range(count):
        yield f"down.{k}", f"down_{k}", "downsample"
        yield f"up.{k}", f"up_{count - 1 - k}", "upsample"


def _block(ours: str, theirs: str) -> list[NameRule]:
    return [
        NameRule(f"{ours}.norm1", f"{theirs}.norm1"),
        NameRule(f"{ours}.conv1", f"{theirs}.conv1", KERNEL),
        NameRule(f"{ours}.embed", f"{theirs}.temb_proj", TRANSPOSED),
        NameRule(f"{ours}.norm2", f"{theirs}.norm2"),
        NameRule(f"{ours}.conv2", f"{theirs}.conv2", KERNEL),
        NameRule(f"{ours}.shortcut", f"{theirs}.nin_shortcut", POINTWISE),
    ]


def _attention(ours: str, theirs: str) -> list[NameRule]:
    return [
        NameRule(f"{ours}.norm", f"{theirs}.norm"),
        NameRule(f"{ours}.qkv", (f"{theirs}.q", f"{theirs}.k", f"{theirs}.v"), THREE),
        NameRule(f"{ours}.out", f"{theirs}.proj_out", TRANSPOSED),
    ]
