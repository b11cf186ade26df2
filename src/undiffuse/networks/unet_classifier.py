"""The way down of the U-Net with a head: which class is this noisy image of?

(Dhariwal & Nichol 2021, section 4 and appendix H, https://arxiv.org/abs/2105.05233. Their head is a pooling by
attention, which their published networks need; those that are trained here have the mean over positions, behind a
middle that has attention.)
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.config.network import UNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.layers import conv, linear
from undiffuse.networks.shapes import pad, space_to_depth
from undiffuse.networks.unet import check_settings
from undiffuse.networks.unet_parts import UNetParts


class AttentionPool(nn.Module):
    """Attention of the mean of all positions to itself and all positions (Radford et al. 2021, section 2.4).

    Args:
        outputs: numbers to return.
        heads: must divide the channels.
        positions: number of positions; each has an embedding of its own, and so has the mean, which comes first.
    """

    def __init__(self, channels: int, outputs: int, heads: int, positions: int) -> None:
        super().__init__()
        self.heads = heads
        self.positions = nn.Parameter(torch.randn(channels, positions + 1) / math.sqrt(channels))
        self.qkv = linear(channels, 3 * channels)
        self.out = linear(channels, outputs)

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch outputs"]:
        tokens = x.flatten(2)
        tokens = torch.cat([tokens.mean(2, keepdim=True), tokens], dim=2) + self.positions
        q, k, v = self.qkv(tokens.transpose(1, 2)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q[:, :, :1], k, v)
        y: Tensor = self.out(h.flatten(1))
        return y


class UNetClassifier(nn.Module):
    """(x, time) -> logits. The layers have the names and shapes of the U-Net's, down to its middle.

    Args:
        classes: number of classes, at least 2.
        dims: spatial dimensions of x: 1, 2 or 3.
        positions: at the lowest resolution, for a head that is an `AttentionPool`; without it the head is their mean.

    Raises:
        UndiffuseError: for settings that describe no network.
    """

    def __init__(
        self, channels: int, classes: int, dims: int, config: UNetConfig, positions: int | None = None
    ) -> None:
        super().__init__()
        check_settings(channels, channels, dims, config)
        if classes < 2:
            raise UndiffuseError(f"A classifier tells at least 2 classes apart, not {classes}")
        self.patch = config.patch
        self.multiple = config.patch * 2 ** (len(config.multipliers) - 1)
        # Its way down changes resolution as `resample` says, and recomputes nothing.
        plain = replace(config, checkpoint_blocks=False, residual_down_levels=None, middle_attention_norm=True)
        parts = UNetParts(dims, plain)
        width = parts.widths[-1]
        self.time = parts.time()
        self.stem = conv(dims, channels * config.patch**dims, config.base)
        self.down = parts.down()
        self.middle = parts.middle()
        self.norm = parts.norm(width)
        self.pools = positions is not None
        self.out: nn.Module = linear(width, classes, zero=True)
        if positions is not None:
            self.out = AttentionPool(width, classes, config.heads_of(width), positions)

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"], time: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch classes"]:
        """Unnormalised log p(class | x, time)."""
        embedding = F.silu(self.time(time))
        h = self.stem(space_to_depth(pad(x, self.multiple)[0], self.patch))
        skips: list[Tensor] = []
        for down in self.down:
            h = down(h, embedding, {}, skips)
        h = self.middle(h, embedding, {})
        h = F.silu(self.norm(h))
        y: Tensor = self.out(h if self.pools else h.flatten(2).mean(2))
        return y
