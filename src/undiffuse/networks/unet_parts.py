"""The levels of a U-Net, and what builds them of its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from undiffuse.config.network import UNetConfig
from undiffuse.networks.attention import SelfAttention
from undiffuse.networks.blocks import BlockOptions, Downsample, Embedding, Features, ResidualBlock, Upsample
from undiffuse.networks.conditions import Condition, CrossAttention, CrossAttentions
from undiffuse.networks.embedding import TimeEmbedding
from undiffuse.networks.layers import Norm, group_norm

Conditions = Mapping[str, Tensor]
"""The conditions of a batch by name, none missing."""


class Level(nn.Module):
    """Residual blocks at one resolution, each with its attention; then a change of resolution, or none."""

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        attentions: Sequence[nn.Module],
        crosses: Sequence[nn.Module],
        resample: nn.Module | None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.attentions = nn.ModuleList(attentions)
        self.crosses = nn.ModuleList(crosses)
        self.resample = resample


class DownLevel(Level):
    """A level that keeps what it computes, and halves the resolution."""

    def forward(self, h: Features, embedding: Embedding, conditions: Conditions, skips: list[Tensor]) -> Features:
        """Append every activation to ``skips`` and return the last."""
        for block, attention, cross in zip(self.blocks, self.attentions, self.crosses, strict=True):
            h = cross(attention(block(h, embedding)), conditions)
            skips.append(h)
        if self.resample is not None:
            h = self.resample(h, embedding)
            skips.append(h)
        return h


class Middle(nn.Module):
    """Two residual blocks around an attention, at the lowest resolution."""

    def __init__(self, block1: nn.Module, attention: nn.Module, cross: nn.Module, block2: nn.Module) -> None:
        super().__init__()
        self.block1 = block1
        self.attention = attention
        self.cross = cross
        self.block2 = block2

    def forward(self, h: Features, embedding: Embedding, conditions: Conditions) -> Features:
        h = self.cross(self.attention(self.block1(h, embedding)), conditions)
        y: Tensor = self.block2(h, embedding)
        return y


class UpLevel(Level):
    """A level whose blocks see (activation, skip), and that doubles the resolution."""

    def forward(self, h: Features, embedding: Embedding, conditions: Conditions, skips: list[Tensor]) -> Features:
        """Take one of ``skips``, the last first, for every block."""
        for block, attention, cross in zip(self.blocks, self.attentions, self.crosses, strict=True):
            h = cross(attention(block(torch.cat([h, skips.pop()], dim=1), embedding)), conditions)
        return h if self.resample is None else self.resample(h, embedding)


@dataclass(frozen=True)
class UNetParts:
    """Makes the parts of a U-Net, to be asked for in the order of computation: each draws its weights when it is made.

    Args:
        conditions: what the network is told; tokens are attended to.
    """

    dims: int
    config: UNetConfig
    conditions: tuple[Condition, ...] = ()

    @property
    def widths(self) -> list[int]:
        """Channels of each level."""
        return [self.config.base * multiplier for multiplier in self.config.multipliers]

    @property
    def embedding(self) -> int:
        """Width of the embedding."""
        return 4 * self.config.sinusoids

    @property
    def norm(self) -> Norm:
        return partial(group_norm, groups=self.config.norm_groups, eps=self.config.norm_eps)

    def time(self) -> TimeEmbedding:
        return TimeEmbedding(self.config.sinusoids, self.embedding, self.config.embedding)

    def down(self) -> nn.ModuleList:
        """The levels from the finest to the coarsest."""
        inputs = [self.config.base, *self.widths]
        return nn.ModuleList([self._down_level(level, inputs[level]) for level in range(len(self.widths))])

    def middle(self) -> Middle:
        width, config = self.widths[-1], self.config
        norm = self.norm if config.middle_attention_norm else lambda width: nn.Identity()
        return Middle(
            self._block(width, width),
            self._attention(width, config.middle_attention, norm),
            self._cross_attention(width, True),
            self._block(width, width),
        )

    def up(self) -> nn.ModuleList:
        """The levels from the coarsest to the finest."""
        skips = [self.config.base]
        for level, width in enumerate(self.widths):
            skips += [width] * (self.config.blocks + (level < len(self.widths) - 1))
        inputs = [*self.widths[1:], self.widths[-1]]
        levels = reversed(range(len(self.widths)))
        return nn.ModuleList([self._up_level(level, inputs[level], skips) for level in levels])

    def _down_level(self, level: int, inputs: int) -> DownLevel:
        width, attends = self.widths[level], level in self.config.attention_levels
        blocks = [self._block(inputs if k == 0 else width, width) for k in range(self.config.blocks)]
        attentions = [self._attention(width, attends) for _ in blocks]
        crosses = [self._cross_attention(width, attends) for _ in blocks]
        return DownLevel(blocks, attentions, crosses, None if level == len(self.widths) - 1 else self._halve(level))

    def _up_level(self, level: int, inputs: int, skips: list[int]) -> UpLevel:
        width, attends = self.widths[level], level in self.config.attention_up
        before = [inputs] + [width] * self.config.blocks
        blocks = [self._block(one + skips.pop(), width) for one in before]
        attentions = [self._attention(width, attends) for _ in blocks]
        crosses = [self._cross_attention(width, attends) for _ in blocks]
        return UpLevel(blocks, attentions, crosses, None if level == 0 else self._double(level))

    def _block(self, inputs: int, outputs: int, resample: Literal["none", "down", "up"] = "none") -> ResidualBlock:
        config = self.config
        options = BlockOptions(self.embedding, config.dropout, config.scale_shift, config.checkpoint_blocks, self.norm)
        return ResidualBlock(self.dims, inputs, outputs, options, resample)

    def _attention(self, width: int, wanted: bool, norm: Callable[[int], nn.Module] | None = None) -> nn.Module:
        return SelfAttention(width, self.config.heads_of(width), norm or self.norm) if wanted else nn.Identity()

    def _cross_attention(self, width: int, wanted: bool) -> CrossAttentions:
        tokens = [condition for condition in self.conditions if condition.kind == "tokens"] if wanted else []
        return CrossAttentions({c.name: CrossAttention(width, c.size, self.config.heads_of(width)) for c in tokens})

    def _halve(self, level: int) -> nn.Module:
        width = self.widths[level]
        if level in self.config.residual_down:
            return self._block(width, width, "down")
        return Downsample(self.dims, width, self.config.downsample_padding)

    def _double(self, level: int) -> nn.Module:
        width = self.widths[level]
        return self._block(width, width, "up") if level in self.config.residual_up else Upsample(self.dims, width)
