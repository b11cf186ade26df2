"""Doubling the resolution and convolving, in one step of fewer multiplications on a CPU.

Nearest-neighbour doubling writes every value twice along an axis, and the convolution after it multiplies both copies.
Of a kernel of three taps (l, c, r) two always meet copies of one value, so their sum may meet the value itself:

    y[2 i]     = l x[i - 1] + (c + r) x[i]
    y[2 i + 1] = (l + c) x[i] + r x[i + 1]

That is 4 multiplications for two outputs in place of 6, 16 for four in place of 36 in 2-D, 64 for eight in place of 216
in 3-D; and the doubled activation is neither written nor kept for the backward pass. As a whole it is the transposed
convolution of stride 2 whose kernel is (r, c + r, l + c, l) along every axis, which PyTorch has, gradients included.
(The same identity, from the other side: Shi et al. 2016, https://arxiv.org/abs/1609.07009.)

Notable choices:

* It is used on CPUs alone, where it was measured: half of the time from 64 channels on. What a GPU's transposed
  convolutions are like is another question, and a compiler is left to see what is written.
* Folding the kernel costs what some hundreds of pixels cost, so few go the plain way, by a fixed rule of shapes.
  The number of samples is no part of it: a sample comes out with the same bits in a batch of any size.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from undiffuse.networks.blocks import Embedding, Features, ResidualBlock, Upsample
from undiffuse.networks.layers import LAYOUTS, Convolution

TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
PIXELS = 0.5
"""It pays from so many pixels before the doubling a channel, with batches of eight and more."""


def applies(x: Tensor, layer: Convolution) -> bool:
    """True where this way is taken: on a CPU, run eagerly, and not for few pixels."""
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and math.prod(x.shape[2:]) >= PIXELS * layer.out_channels
    )


def fold(weight: Float[Tensor, "outputs inputs *kernel"]) -> Float[Tensor, "inputs outputs *folded"]:
    """The kernel of the transposed convolution: (l, c, r) to (r, c + r, l + c, l) along every axis."""
    for axis in range(2, weight.dim()):
        left, center, right = weight.unbind(axis)
        weight = torch.stack((right, center + right, left + center, left), axis)
    folded = weight.transpose(0, 1)
    return folded.contiguous(memory_format=LAYOUTS[folded.dim()]) if folded.dim() in LAYOUTS else folded


def double(
    x: Float[Tensor, "batch inputs *spatial"], layer: Convolution
) -> Float[Tensor, "batch outputs *doubled_spatial"]:
    """``layer(interpolate(x, scale_factor=2, mode="nearest"))`` for a layer of kernel 3 that keeps the size."""
    if applies(x, layer):
        y: Tensor = TRANSPOSED[x.dim() - 2](x, fold(layer.weight), layer.bias, stride=2, padding=1)
        return y
    plain: Tensor = layer(F.interpolate(x, scale_factor=2, mode="nearest"))
    return plain


class TransposedUpsample(Upsample):
    """An `Upsample` that doubles and convolves in one."""

    def forward(self, x: Features, embedding: Embedding) -> Features:
        return double(x, self.conv)


class TransposedUpBlock(ResidualBlock):
    """A `ResidualBlock` of ``resample="up"`` that doubles and convolves in one."""

    def conv_resampled(self, h: Features) -> Features:
        return double(h, self.conv1)
