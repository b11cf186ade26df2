"""A U-Net with norms by the root mean square and linear attention: the one of denoising-diffusion-pytorch.

    x -> stem 7x7 -> down[0] -> .. -> down[-1] -> middle -> up[0] -> .. -> up[-1] -> last -> 1x1 -> out
           |           ||                |                    ||                       |
           |           ++==== two skips a level, before and after the attention ====++  |
           +----------------------------------------------------------------------------+

It is here so that models that were trained with that code (P. Wang, https://github.com/lucidrains/denoising-diffusion-pytorch,
since 2.0) can be used and trained on; `unet` is the one to start with. What differs from there:

* Norms divide by the root mean square over channels, position by position (Zhang & Sennrich 2019,
  https://arxiv.org/abs/1910.07467), behind the convolution; the time scales and shifts the first of a block.
* Every level has attention: over all positions on the levels that are asked for, on others linear in their number
  (Shen et al. 2018, https://arxiv.org/abs/1812.01243). Each sees a few learned tokens, too.
* A level changes its width where it changes its resolution, at its end; a stride is a fold of 2 x 2 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.config.network import RMSUNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.blocks import Features
from undiffuse.networks.checks import check_image_network, check_images
from undiffuse.networks.conditions import Condition
from undiffuse.networks.embedding import sinusoids
from undiffuse.networks.layers import conv, linear
from undiffuse.networks.shapes import pad

NAME: Final = "rms-unet"
HEAD_WIDTH, TOKENS, WIDEST = 32, 4, 1 << 14
"""Channels of a head where none are asked for; learned tokens of an attention; the most that all heads have."""

Queries = Float[Tensor, "batch heads queries width"]
Keys = Float[Tensor, "batch heads keys width"]


class RMSNorm(nn.Module):
    """sqrt(channels) x / |x| * weight, with the length |x| over the channels of a position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Features) -> Features:
        scale = self.weight * math.sqrt(len(self.weight))
        return F.normalize(x, dim=1) * scale.reshape(-1, 1, 1)


class Block(nn.Module):
    """shortcut(x) + SiLU(norm(conv(dropout(SiLU(norm(conv(x)) (1 + scale) + shift))))), (scale, shift) of the time."""

    def __init__(self, inputs: int, outputs: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = conv(2, inputs, outputs)
        self.norm1 = RMSNorm(outputs)
        self.embed = linear(embedding, 2 * outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv(2, outputs, outputs)
        self.norm2 = RMSNorm(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else conv(2, inputs, outputs, kernel=1)

    def forward(self, x: Features, embedding: Float[Tensor, "batch embedding"]) -> Features:
        scale, shift = self.embed(embedding)[..., None, None].chunk(2, dim=1)
        h = self.dropout(F.silu(self.norm1(self.conv1(x)) * (1 + scale) + shift))
        y: Tensor = self.shortcut(x) + F.silu(self.norm2(self.conv2(h)))
        return y


def linear_attention(q: Queries, k: Keys, v: Keys) -> Queries:
    """softmax(q) / sqrt(width) (softmax(k)^T v): q's softmax is over the width, k's over the tokens."""
    context = k.softmax(2).transpose(2, 3) @ v
    return (q.softmax(3) / math.sqrt(q.shape[3])) @ context


class MemoryAttention(nn.Module):
    """x + last(out(attend(q, k, v))) with q, k, v = qkv(norm(x)), and learned tokens before k and v.

    Args:
        heads, width: of the attention; together they need not be the channels.
        attend: (q, k, v) -> the tokens of q.
        last: a norm of the result, or nothing.
    """

    def __init__(
        self, channels: int, heads: int, width: int, attend: Callable[[Tensor, Tensor, Tensor], Tensor], last: nn.Module
    ) -> None:
        super().__init__()
        self.heads, self.attend = heads, attend
        self.norm = RMSNorm(channels)
        self.memory = nn.Parameter(torch.randn(2, heads, TOKENS, width))
        self.qkv = nn.Linear(channels, 3 * heads * width, bias=False)
        self.out = linear(heads * width, channels)
        self.last = last

    def forward(self, x: Features) -> Features:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        memory = self.memory[:, None].expand(-1, x.shape[0], -1, -1, -1)
        h = self.attend(q, torch.cat([memory[0], k], dim=2), torch.cat([memory[1], v], dim=2))
        y: Tensor = x + self.last(self.out(h.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape))
        return y


class Level(nn.Module):
    """Two blocks and an attention, and what comes after them."""

    def __init__(self, block1: nn.Module, block2: nn.Module, attention: nn.Module, resample: nn.Module) -> None:
        super().__init__()
        self.block1, self.block2, self.attention, self.resample = block1, block2, attention, resample


class DownLevel(Level):
    """A level that leaves two skips."""

    def forward(self, h: Features, embedding: Tensor, skips: list[Tensor]) -> Features:
        h = self.block1(h, embedding)
        skips.append(h)
        h = self.attention(self.block2(h, embedding))
        skips.append(h)
        y: Tensor = self.resample(h)
        return y


class UpLevel(Level):
    """A level that takes a skip before each block."""

    def forward(self, h: Features, embedding: Tensor, skips: list[Tensor]) -> Features:
        h = self.block1(torch.cat([h, skips.pop()], dim=1), embedding)
        h = self.block2(torch.cat([h, skips.pop()], dim=1), embedding)
        y: Tensor = self.resample(self.attention(h))
        return y


class RMSUNet(nn.Module):
    """A function of (x, time) with outputs of x's size; see the head of this file.

    Args:
        out_channels: channels of the result; twice as many where a variance is learned with the mean.
        dims: 2.
        conditions: none.

    Raises:
        UndiffuseError: for settings that describe no such network, and for inputs of another shape.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        dims: int,
        config: RMSUNetConfig,
        conditions: tuple[Condition, ...] = (),
    ) -> None:
        super().__init__()
        check_settings(dims, config, conditions)
        self.channels = channels
        self.multiple = 2 ** (len(config.multipliers) - 1)
        self.width = base = config.base
        widths = [base, *(base * multiplier for multiplier in config.multipliers)]
        levels = list(enumerate(pairwise(widths)))
        head_width = config.head_width or HEAD_WIDTH

        def block(inputs: int, outputs: int) -> Block:
            return Block(inputs, outputs, 4 * base, config.dropout)

        def attention(width: int, full: bool) -> MemoryAttention:
            if full:
                return MemoryAttention(width, config.heads, head_width, F.scaled_dot_product_attention, nn.Identity())
            return MemoryAttention(width, config.heads, head_width, linear_attention, RMSNorm(width))

        self.time1, self.time2 = linear(base, 4 * base), linear(4 * base, 4 * base)
        self.stem = conv(2, channels, base, kernel=7)
        self.down = nn.ModuleList()
        for k, (near, far) in levels:
            fold = nn.Sequential(nn.PixelUnshuffle(2), conv(2, 4 * near, far, kernel=1))
            leave = conv(2, near, far) if k == len(levels) - 1 else fold
            blocks = block(near, near), block(near, near)
            self.down.append(DownLevel(*blocks, attention(near, k in config.attention_levels), leave))
        far = widths[-1]
        self.middle = nn.ModuleList([block(far, far), attention(far, full=True), block(far, far)])
        self.up = nn.ModuleList()
        for k, (near, far) in reversed(levels):
            double = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), conv(2, far, near))
            rise = conv(2, far, near) if k == 0 else double
            blocks = block(far + near, far), block(far + near, far)
            self.up.append(UpLevel(*blocks, attention(far, k in config.attention_levels), rise))
        self.last = block(2 * base, base)
        self.out = conv(2, base, out_channels, kernel=1)

    def forward(
        self, x: Float[Tensor, "batch channels height width"], time: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """The network's output for ``x`` at ``time``, one number for each member of the batch."""
        check_images(x, time, self.channels)
        waves = sinusoids(time, self.width, "ho").to(self.time1.weight.dtype)
        embedding = F.silu(self.time2(F.gelu(self.time1(waves))))
        padded, crop = pad(x, self.multiple)
        first = h = self.stem(padded)
        skips: list[Tensor] = []
        for level in self.down:
            h = level(h, embedding, skips)
        block1, attention, block2 = self.middle
        h = block2(attention(block1(h, embedding)), embedding)
        for level in self.up:
            h = level(h, embedding, skips)
        h = self.last(torch.cat([h, first], dim=1), embedding)
        y: Tensor = self.out(h)
        return y[crop]

    def shard_units(self) -> list[nn.Module]:
        """The modules that processes who share the weights out borrow one after another."""
        return [module for module in self.modules() if isinstance(module, Block)]


def check_settings(dims: int, config: RMSUNetConfig, conditions: tuple[Condition, ...]) -> None:
    """Raise UndiffuseError for settings that describe no network of this kind."""
    if conditions:
        raise UndiffuseError(f"`architecture={NAME}` cannot be told '{conditions[0].name}': leave out `condition`")
    check_image_network(config, dims)
    heads, width = config.heads, HEAD_WIDTH if config.head_width is None else config.head_width
    if heads < 1 or width < 1 or heads * width > WIDEST:
        raise UndiffuseError(
            f"`heads` times `head_width` must be from 1 to {WIDEST:,}, not {heads!s:.40} x {width!s:.40}"
        )
