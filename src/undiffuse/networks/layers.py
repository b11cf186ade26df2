"""The layers that every network here is built of, in any number of dimensions, initialised as Ho et al. 2020 do.

Notable choices:

* Weights are uniform with variance 2 / (fan-in + fan-out): Ho's ``variance_scaling(1, "fan_avg", "uniform")``, which
  PyTorch calls Xavier. Biases are 0. (PyTorch's own default has the variance 1 / (3 fan-in), and random biases.)
* Last layers of residual branches start at exactly 0 (Ho: a scale of 1e-10), so that a fresh network is the identity
  along its residual path and outputs 0.
* GroupNorm has eps 1e-6, TensorFlow's default, and not PyTorch's 1e-5 (which OpenAI's networks have), unless asked.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.errors import UndiffuseError

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d

CONVOLUTIONS: dict[int, type[Convolution]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLINGS: dict[int, type[nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d]] = {
    1: nn.AvgPool1d,
    2: nn.AvgPool2d,
    3: nn.AvgPool3d,
}
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Channels last in memory, by the number of a batch's dimensions, where PyTorch has it."""


def initialize(layer: Convolution | nn.Linear, zero: bool = False) -> None:
    """Draw the layer's ``weight`` as Ho et al. do, or set it to 0, and set its ``bias`` to 0."""
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def conv(dims: int, inputs: int, outputs: int, kernel: int = 3, zero: bool = False) -> Convolution:
    """A convolution over ``dims`` dimensions that keeps the size; ``zero`` starts it at 0."""
    layer = CONVOLUTIONS[dims](inputs, outputs, kernel, padding=kernel // 2)
    initialize(layer, zero)
    return layer


def linear(inputs: int, outputs: int, zero: bool = False) -> nn.Linear:
    """A linear layer over the last dimension; ``zero`` starts it at 0."""
    layer = nn.Linear(inputs, outputs)
    initialize(layer, zero)
    return layer


def group_count(channels: int) -> int:
    """Groups of a GroupNorm: Ho's 32 from 128 channels on; below, the most that leave four channels or more a group.

    Four is what Ho's 128 channels have; with fewer, how strong a channel is in one image and not in another gets lost.
    """
    groups = max(1, min(32, channels // 4))
    while channels % groups:
        groups -= 1
    return groups


class NormSiLU(nn.GroupNorm):
    """SiLU(GroupNorm(h + embedding)), the embedding being one number a channel."""

    def forward(
        self, h: Float[Tensor, "batch channels *spatial"], embedding: Float[Tensor, "batch channels"] | None = None
    ) -> Float[Tensor, "batch channels *spatial"]:
        return F.silu(super().forward(h if embedding is None else h + over_positions(embedding, h)))


class ScaleShiftNormSiLU(nn.GroupNorm):
    """SiLU(GroupNorm(h) (1 + scale) + shift) with (scale, shift) = embedding: Dhariwal & Nichol 2021, section 3."""

    def forward(  # type: ignore[override]  # there is no such norm without an embedding
        self, h: Float[Tensor, "batch channels *spatial"], embedding: Float[Tensor, "batch 2*channels"]
    ) -> Float[Tensor, "batch channels *spatial"]:
        scale, shift = over_positions(embedding, h).chunk(2, dim=1)
        return F.silu(super().forward(h) * (1 + scale) + shift)


def over_positions(numbers: Tensor, h: Tensor) -> Tensor:
    """Numbers a channel, (batch, channels), in a shape that meets ``h`` at all of its positions."""
    return numbers.reshape(*numbers.shape, *[1] * (h.dim() - 2))


@runtime_checkable
class Norm(Protocol):
    """Makes the normalisations of a network."""

    def __call__(self, channels: int, *, kind: type[nn.GroupNorm] = ...) -> nn.GroupNorm:
        """A GroupNorm of so many channels, or one of its kinds."""
        ...


def group_norm(
    channels: int, groups: int | None = None, eps: float = 1e-6, *, kind: type[nn.GroupNorm] = nn.GroupNorm
) -> nn.GroupNorm:
    """GroupNorm (Wu & He 2018, https://arxiv.org/abs/1803.08494) over ``(batch, channels, *spatial)``.

    Raises:
        UndiffuseError: if the groups do not divide the channels.
    """
    groups = group_count(channels) if groups is None else groups
    if groups < 1 or channels % groups:
        raise UndiffuseError(f"{channels} channels cannot be shared evenly by {groups} groups; change `norm_groups`")
    return kind(groups, channels, eps=eps)
