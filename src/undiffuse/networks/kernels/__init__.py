"""The same layers with less work on a CPU; no network needs them to be understood.

3 x 3 convolution                      a quarter of the multiplications             `winograd`
GroupNorm, then SiLU                   one pass over the memory, half of it kept    `group_norm_silu`
twice the resolution, convolution      4/9 of the multiplications                   `upsample_conv`
"""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from undiffuse.networks.blocks import ResidualBlock, Upsample
from undiffuse.networks.kernels.group_norm_silu import NormSiLUByChannel
from undiffuse.networks.kernels.upsample_conv import TransposedUpBlock, TransposedUpsample
from undiffuse.networks.kernels.winograd import WinogradConv2d
from undiffuse.networks.layers import NormSiLU

Network = TypeVar("Network", bound=nn.Module)


def accelerate_cpu(network: Network) -> Network:
    """The network itself, whose layers go the quick ways from now on, wherever the rules of their files allow.

    A layer changes its class and nothing else: parameters, their names, and whoever holds the layer stay as they are.
    Numbers change by rounding.
    """
    for module in network.modules():
        kind = quick_class(module)
        if kind is not None:
            module.__class__ = kind
    return network


def quick_class(module: nn.Module) -> type[nn.Module] | None:
    """The quick class of a layer; None where there is none."""
    if type(module) is NormSiLU:
        return NormSiLUByChannel
    if type(module) is Upsample:
        return TransposedUpsample
    if type(module) is ResidualBlock and isinstance(module.resample, nn.Upsample):
        return TransposedUpBlock
    if type(module) is nn.Conv2d and _keeps_size_by_3x3(module):
        return WinogradConv2d
    return None


def _keeps_size_by_3x3(layer: nn.Conv2d) -> bool:
    plain = layer.groups == 1 and layer.padding_mode == "zeros" and layer.stride == layer.dilation == (1, 1)
    return plain and layer.kernel_size == (3, 3) and layer.padding == (1, 1)
