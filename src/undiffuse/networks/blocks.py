"""The residual block of the U-Net, and the two ways of changing resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from undiffuse.networks.layers import (
    CONVOLUTIONS,
    POOLINGS,
    Norm,
    NormSiLU,
    ScaleShiftNormSiLU,
    conv,
    group_norm,
    initialize,
    linear,
)

Features = Float[Tensor, "batch _ ..."]  # channels and sizes change from layer to layer
Embedding = Float[Tensor, "batch embedding"]


@dataclass(frozen=True)
class BlockOptions:
    """Options that the residual blocks of a network have in common.

    Args:
        embedding: width of the embedding, which comes with its SiLU already applied.
        dropout: probability of dropping an activation before the last convolution.
        scale_shift: norm(h) (1 + scale) + shift, with (scale, shift) = linear(embedding), in place of a sum.
        recompute: keep only the inputs for the backward pass and compute the block again there.
        norm: makes both norms.
    """

    embedding: int
    dropout: float = 0.0
    scale_shift: bool = False
    recompute: bool = False
    norm: Norm = group_norm


class ResidualBlock(nn.Module):
    """x + conv(dropout(SiLU(norm(conv(SiLU(norm(x))) + linear(embedding))))), the block of Ho et al. 2020.

    ``scale_shift`` and ``resample`` are those of ADM (Dhariwal & Nichol 2021, https://arxiv.org/abs/2105.05233,
    section 3).

    Args:
        dims: spatial dimensions, 1, 2 or 3.
        inputs: channels of x; where they differ from ``outputs`` the shortcut is a 1x1 convolution.
        resample: halve (mean of neighbours) or double (nearest) the resolution of both branches before the first
            convolution.
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        options: BlockOptions,
        resample: Literal["none", "down", "up"] = "none",
    ) -> None:
        super().__init__()
        self.recompute = options.recompute
        self.norm1 = options.norm(inputs, kind=NormSiLU)
        self.resample: nn.Module = {
            "none": nn.Identity(),
            "down": POOLINGS[dims](2),
            "up": nn.Upsample(scale_factor=2, mode="nearest"),
        }[resample]
        self.conv1 = conv(dims, inputs, outputs)
        self.embed = linear(options.embedding, 2 * outputs if options.scale_shift else outputs)
        self.norm2 = options.norm(outputs, kind=ScaleShiftNormSiLU if options.scale_shift else NormSiLU)
        self.dropout = nn.Dropout(options.dropout)
        self.conv2 = conv(dims, outputs, outputs, zero=True)
        self.shortcut = nn.Identity() if inputs == outputs else conv(dims, inputs, outputs, kernel=1)

    def forward(self, x: Features, embedding: Embedding) -> Features:
        if self.recompute and torch.is_grad_enabled():
            h: Tensor = checkpoint(self.compute, x, embedding, use_reentrant=False)
            return h
        return self.compute(x, embedding)

    def compute(self, x: Features, embedding: Embedding) -> Features:
        h = self.conv_resampled(self.norm1(x))
        h = self.conv2(self.dropout(self.norm2(h, self.embed(embedding))))
        y: Tensor = self.shortcut(self.resample(x)) + h
        return y

    def conv_resampled(self, h: Features) -> Features:
        y: Tensor = self.conv1(self.resample(h))
        return y


class Downsample(nn.Module):
    """Half the resolution by a strided convolution, padded after the end alone, or on both sides.

    After the end is what TensorFlow's "SAME" does at stride 2 and even sizes, so Ho's weights (the google/ddpm-* ones)
    need it. OpenAI's networks pad both sides: the same parameters, one pixel apart.

    Takes the embedding, and ignores it, to be interchangeable with a resampling `ResidualBlock`.
    """

    def __init__(self, dims: int, channels: int, padding: Literal["end", "both"] = "end") -> None:
        super().__init__()
        self.around = ((0, 1) if padding == "end" else (1, 1)) * dims
        self.conv = CONVOLUTIONS[dims](channels, channels, 3, stride=2)
        initialize(self.conv)

    def forward(self, x: Features, embedding: Embedding) -> Features:
        h: Tensor = self.conv(F.pad(x, self.around))
        return h


class Upsample(nn.Module):
    """Twice the resolution: every value repeated, then a convolution. Ignores the embedding, as `Downsample` does."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.resample = nn.Upsample(scale_factor=2, mode="nearest")
        self.conv = conv(dims, channels, channels)

    def forward(self, x: Features, embedding: Embedding) -> Features:
        y: Tensor = self.conv(self.resample(x))
        return y
