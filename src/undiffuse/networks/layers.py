"""The layers that every network here is built of, in any number of dimensions, initialised as Ho et al. 2020 do.

Notable choices:

* Weights are uniform with variance 2 / (fan-in + fan-out): Ho's ``variance_scaling(1, "fan_avg", "uniform")``, which
  PyTorch calls Xavier. Biases are 0. (PyTorch's own default has the variance 1 / (3 fan-in), and random biases.)
* Last layers of residual branches start at exactly 0 (Ho: a scale of 1e-10), so that a fresh network is the identity
  along its residual path and outputs 0.
* GroupNorm has eps 1e-6, TensorFlow's default, and not PyTorch's 1e-5 (which OpenAI's networks have), unless asked.
* GroupNorm is PyTorch's own, whose kernel takes up to five times as long with channels last on a CPU as with channels
  first. Changing the layout before and after it was slower still; with SiLU in one, see `kernels.group_norm_silu`,
  it need not be.
* 3 x 3 convolutions over pictures go Winograd's way where that is quicker, see `kernels.winograd`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from undiffuse.errors import UndiffuseError
from undiffuse.networks.kernels.winograd import Conv3x3

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d

CONVOLUTIONS: dict[int, type[Convolution]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLINGS: dict[int, type[nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d]] = {
    1: nn.AvgPool1d,
    2: nn.AvgPool2d,
    3: nn.AvgPool3d,
}
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Channels last in memory, by the number of a batch's dimensions, where PyTorch has it."""


def initialise(layer: Convolution | nn.Linear, zero: bool = False) -> None:
    """Draw the layer's ``weight`` as Ho et al. do, or set it to 0, and set its ``bias`` to 0."""
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def conv(dims: int, inputs: int, outputs: int, kernel: int = 3, zero: bool = False) -> Convolution:
    """A convolution over ``dims`` dimensions that keeps the size; ``zero`` starts it at 0."""
    if dims == 2 and kernel == 3:
        layer: Convolution = Conv3x3(inputs, outputs)
    else:
        layer = CONVOLUTIONS[dims](inputs, outputs, kernel, padding=kernel // 2)
    initialise(layer, zero)
    return layer


def linear(inputs: int, outputs: int, zero: bool = False) -> nn.Linear:
    """A linear layer over the last dimension; ``zero`` starts it at 0."""
    layer = nn.Linear(inputs, outputs)
    initialise(layer, zero)
    return layer


def group_count(channels: int) -> int:
    """Groups of a GroupNorm: Ho's 32 from 128 channels on; below, the most that leave four channels or more a group.

    Four is what Ho's 128 channels have; with fewer, how strong a channel is in one image and not in another gets lost.
    """
    groups = max(1, min(32, channels // 4))
    while channels % groups:
        groups -= 1
    return groups


Norm = Callable[[int], nn.Module]
"""A normalisation of that many channels."""


def group_norm(channels: int, groups: int | None = None, eps: float = 1e-6) -> nn.GroupNorm:
    """GroupNorm (Wu & He 2018, https://arxiv.org/abs/1803.08494) over ``(batch, channels, *spatial)``.

    Raises:
        UndiffuseError: if the groups do not divide the channels.
    """
    groups = group_count(channels) if groups is None else groups
    if groups < 1 or channels % groups:
        raise UndiffuseError(f"{channels} channels cannot be shared evenly by {groups} groups; change --norm-groups")
    return nn.GroupNorm(groups, channels, eps=eps)
