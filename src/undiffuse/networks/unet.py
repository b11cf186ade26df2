"""The U-Net of Ho et al. 2020 with the options of ADM, for 1-D, 2-D and 3-D data.

    x -> stem -> down[0] -> down[1] -> .. -> middle -> .. -> up[-2] -> up[-1] -> norm, SiLU, conv -> out
                    |          |                               ^          ^
                    |          +------------ skips ------------+          |
                    +-----------------------------------------------------+

Notable choices:

* To the parameter: 35,746,307 with Ho's settings for CIFAR-10, 113,673,219 with those for 256 x 256 pixels, 52,546,438
  with those of Improved DDPM (Nichol & Dhariwal 2021) for CIFAR-10; the tests build all three.
* Every activation that the way down produces, the stem's and the resampled ones included, is a skip; every block of the
  way up takes one. Hence one block more per level on the way up.
* ``down[0]`` is the finest level, ``up[0]`` the coarsest: both lists are in the order of computation.
* Time reaches the blocks as one vector, ``embedding`` in `UNet.forward`, and classes and vectors with it.
* Sizes that the levels do not divide are padded with zeros and cropped back, see `pad`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.config.network import UNetConfig
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.networks.attention import SelfAttention
from undiffuse.networks.blocks import Downsample, Embedding, Features, ResidualBlock, Upsample
from undiffuse.networks.checks import check_depth, check_dropout, check_levels
from undiffuse.networks.conditions import ClassTable, Condition, CrossAttention, CrossAttentions, VectorMap, complete
from undiffuse.networks.embedding import TimeEmbedding
from undiffuse.networks.layers import Norm, NormSiLU, conv, group_norm
from undiffuse.networks.shapes import depth_to_space, pad, space_to_depth

Told = Mapping[str, Tensor]
"""The conditions of a batch by name, none missing."""


class DownLevel(nn.Module):
    """Residual blocks, each with its attention, at one resolution; then the way to half of it."""

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

    def forward(self, h: Features, embedding: Embedding, told: Told, skips: list[Tensor]) -> Features:
        """Append every activation to ``skips`` and return the last."""
        for block, attention, cross in zip(self.blocks, self.attentions, self.crosses, strict=True):
            h = cross(attention(block(h, embedding)), told)
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

    def forward(self, h: Features, embedding: Embedding, told: Told) -> Features:
        h = self.cross(self.attention(self.block1(h, embedding)), told)
        y: Tensor = self.block2(h, embedding)
        return y


class UpLevel(nn.Module):
    """Residual blocks over (activation, skip), each with its attention; then the way to twice the resolution."""

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

    def forward(self, h: Features, embedding: Embedding, told: Told, skips: list[Tensor]) -> Features:
        """Take one of ``skips``, the last first, for every block."""
        for block, attention, cross in zip(self.blocks, self.attentions, self.crosses, strict=True):
            h = cross(attention(block(torch.cat([h, skips.pop()], dim=1), embedding)), told)
        return h if self.resample is None else self.resample(h, embedding)


EMBEDDINGS: dict[str, type[ClassTable] | type[VectorMap]] = {"class": ClassTable, "vector": VectorMap}
"""Kinds of condition that join the time's embedding."""


def _no_norm(width: int) -> nn.Module:
    return nn.Identity()


def check_settings(channels: int, out_channels: int, dims: int, config: UNetConfig) -> None:
    """Raise UndiffuseError for settings that describe no network."""
    if dims not in (1, 2, 3):
        raise UndiffuseError(f"A U-Net works on 1, 2 or 3 spatial dimensions, not on {dims}.")
    check_depth(config.multipliers)
    levels = len(config.multipliers)
    counts = {
        "channels": channels,
        "out_channels": out_channels,
        "`base`": config.base,
        "`blocks`": config.blocks,
        "`heads`": config.heads,
        "`patch`": config.patch,
    }
    for name, count in counts.items():
        if count < 1:
            raise UndiffuseError(f"{name} must be at least 1, not {count}.")
    if not levels or min(config.multipliers) < 1:
        raise UndiffuseError(
            f"`multipliers` must be positive whole numbers, one a level, such as 1 2 2 2, not {config.multipliers}."
        )
    for name in ("attention_levels", "up_attention_levels", "residual_down_levels", "residual_up_levels"):
        check_levels(name, getattr(config, name) or (), levels)
    check_dropout(config.dropout)
    for name, value, choices in (
        ("`resample`", config.resample, ("conv", "residual")),
        ("`embedding`", config.embedding, ("ho", "adm")),
        ("`downsample_padding`", config.downsample_padding, ("end", "both")),
    ):
        if value not in choices:
            raise UndiffuseError(f"{name} cannot be '{value}'{perhaps(value, choices)}.")


class UNet(nn.Module):
    """A function of (x, time) with outputs of x's size; see the head of this file.

    Ho et al. 2020, https://arxiv.org/abs/2006.11239, appendix B; Dhariwal & Nichol 2021,
    https://arxiv.org/abs/2105.05233, section 3 and appendix B.

    Args:
        channels: channels of x.
        out_channels: channels of the result; twice as many where a variance is learned with the mean.
        dims: spatial dimensions of x: 1, 2 or 3.
        config: the settings.
        conditions: what else it is told, see `conditions`.

    Raises:
        UndiffuseError: for settings that describe no network, and for inputs of another shape.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        dims: int,
        config: UNetConfig,
        conditions: tuple[Condition, ...] = (),
    ) -> None:
        super().__init__()
        check_settings(channels, out_channels, dims, config)
        self.channels = channels
        self.conditions = conditions
        self.dims = dims
        self.patch = config.patch
        self.config = config
        self.multiple = config.patch * 2 ** (len(config.multipliers) - 1)  # sizes divisible by this need no padding
        self.center = config.center_input

        base = config.base
        sinusoids = config.sinusoids
        norm: Norm = partial(group_norm, groups=config.norm_groups, eps=config.norm_eps)
        block = partial(
            ResidualBlock,
            dims,
            embedding=4 * sinusoids,
            dropout=config.dropout,
            scale_shift=config.scale_shift,
            recompute=config.checkpoint_blocks,
            norm=norm,
        )

        def attention(width: int, wanted: bool, norm: Callable[[int], nn.Module] = norm) -> nn.Module:
            return SelfAttention(width, config.heads_of(width), norm) if wanted else nn.Identity()

        tokens = [condition for condition in conditions if condition.kind == "tokens"]

        def cross(width: int, wanted: bool) -> nn.Module:
            if not wanted:
                return CrossAttentions({})
            return CrossAttentions({c.name: CrossAttention(width, c.size, config.heads_of(width)) for c in tokens})

        widths = [base * multiplier for multiplier in config.multipliers]
        last = len(widths) - 1

        def halve(level: int) -> nn.Module:
            width = widths[level]
            if level in config.residual_down:
                return block(width, width, resample="down")
            return Downsample(dims, width, config.downsample_padding)

        def double(level: int) -> nn.Module:
            width = widths[level]
            return block(width, width, resample="up") if level in config.residual_up else Upsample(dims, width)

        self.time = TimeEmbedding(sinusoids, 4 * sinusoids, config.embedding)
        self.told = nn.ModuleDict(
            {c.name: EMBEDDINGS[c.kind](c.size, 4 * sinusoids) for c in conditions if c.kind in EMBEDDINGS}
        )
        self.stem = conv(dims, channels * config.patch**dims, base)
        self.image_stems = nn.ModuleDict(
            {c.name: conv(dims, c.size * config.patch**dims, base, zero=True) for c in conditions if c.kind == "image"}
        )

        skips = [base]
        width = base
        self.down = nn.ModuleList()
        for k, out in enumerate(widths):
            blocks = [block(width if i == 0 else out, out) for i in range(config.blocks)]
            attentions = [attention(out, k in config.attention_levels) for _ in blocks]
            crosses = [cross(out, k in config.attention_levels) for _ in blocks]
            self.down.append(DownLevel(blocks, attentions, crosses, None if k == last else halve(k)))
            skips += [out] * (config.blocks if k == last else config.blocks + 1)
            width = out

        self.middle: Middle | None = None
        if config.middle:
            before: Callable[[int], nn.Module] = norm if config.middle_attention_norm else _no_norm
            self.middle = Middle(
                block(width, width),
                attention(width, config.middle_attention, before),
                cross(width, True),
                block(width, width),
            )

        self.up = nn.ModuleList()
        for k, out in reversed(list(enumerate(widths))):
            blocks = []
            for _ in range(config.blocks + 1):
                blocks.append(block(width + skips.pop(), out))
                width = out
            attentions = [attention(out, k in config.attention_up) for _ in blocks]
            crosses = [cross(out, k in config.attention_up) for _ in blocks]
            self.up.append(UpLevel(blocks, attentions, crosses, None if k == 0 else double(k)))

        self.norm = norm(width, kind=NormSiLU)
        self.out = conv(dims, width, out_channels * config.patch**dims, zero=True)

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"], time: Float[Tensor, " batch"], **conditions: Tensor
    ) -> Float[Tensor, "batch out_channels *spatial"]:
        """The network's output for ``x`` at ``time``, one number for each member of the batch.

        A condition that is left out is a null one.
        """
        self.check(x, time)
        told = complete(self.conditions, conditions, x)
        embedding = self.time(time)
        for name, embed in self.told.items():
            embedding = embedding + embed(told[name])
        # Every block would take SiLU(embedding) first: once does for all.
        embedding = F.silu(embedding)
        padded, crop = pad(2 * x - 1 if self.center else x, self.multiple)

        h = self.stem(space_to_depth(padded, self.patch))
        for name, stem in self.image_stems.items():
            h = h + stem(space_to_depth(pad(told[name].nan_to_num(0.0), self.multiple)[0], self.patch))
        skips = [h]
        for down in self.down:
            h = down(h, embedding, told, skips)
        if self.middle is not None:
            h = self.middle(h, embedding, told)
        for up in self.up:
            h = up(h, embedding, told, skips)
        h = self.out(self.norm(h))
        return depth_to_space(h, self.patch)[crop]

    def row_work(self, spatial: Sequence[int]) -> float:
        """What a thread has to do for one sample of these sizes."""
        return self.config.activations(spatial)

    def shard_units(self) -> list[nn.Module]:
        """The modules that processes who share the weights out borrow one after another."""
        return [module for module in self.modules() if isinstance(module, ResidualBlock)]

    def check(self, x: Tensor, time: Tensor) -> None:
        """Raise UndiffuseError unless x and time have the shapes that the network was built for."""
        if x.dim() != self.dims + 2:
            raise UndiffuseError(
                f"This network takes batch, channels and {self.dims} spatial dimensions, not shape {tuple(x.shape)}."
            )
        if x.shape[1] != self.channels:
            raise UndiffuseError(f"This network takes {self.channels} channels, not {x.shape[1]}.")
        if time.shape != x.shape[:1]:
            raise UndiffuseError(
                f"time must hold one number for each of the batch's {len(x)} samples, not shape {tuple(time.shape)}."
            )
