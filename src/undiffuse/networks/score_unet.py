"""The U-Nets of score-based generative models: DDPM++ and NCSN++ (Song et al. 2021), as EDM has them.

    x -> stem -> down[0] -> down[1] -> .. -> middle -> .. -> up[-1] -> norm, SiLU, conv -> out
     |             |  |       |  |                             ^
     |             +--|-------+--|------------ skips ----------+
     +-- aux ---------+-- aux ---+             NCSN++ alone

They are here so that EDM's published models can be used and trained on (Song et al. 2021, https://arxiv.org/abs/2011.13456,
appendix H; Karras et al. 2022, https://arxiv.org/abs/2206.00364, appendix F.2); `unet` is the one to start with. What
differs from there:

* Every sum of a branch and its shortcut is divided by sqrt(2), so that variances stay what they are. The shortcut of a
  block that changes the resolution has a 1 x 1 convolution.
* An attention has one head. On the way up only the last block of a level has one.
* Classes are a linear map of sqrt(classes) times one-hot vectors, added to the sinusoids *before* the MLP; no class is
  the vector 0, and leaves the map's bias.

DDPM++ sees Ho's sinusoids and resamples by the mean of 2 x 2 pixels and by repetition. NCSN++ sees sinusoids of random
frequencies, twice as many; it blurs before it halves and after it doubles; and it shows every level a smaller picture:
x itself at first, then what level and picture have become together.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.config.network import ScoreUNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.attention import SelfAttention
from undiffuse.networks.blocks import BlockOptions, Embedding, Features, ResidualBlock
from undiffuse.networks.checks import check_image_network, check_images
from undiffuse.networks.conditions import Condition, complete
from undiffuse.networks.embedding import sinusoids
from undiffuse.networks.layers import conv, group_norm, initialize, linear
from undiffuse.networks.shapes import pad

DDPM: Final = "ddpm++"
NCSN: Final = "ncsn++"
SCALE = math.sqrt(0.5)
FREQUENCIES = 16.0
"""Standard deviation of NCSN++'s frequencies."""


def blur(x: Features) -> Features:
    """Weights 1/4, 1/2, 1/4 along height and width, with zeros beyond the border: two means of 2."""
    return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1, padding=1), 2, stride=1)


class Halve(nn.Module):
    """The mean of 2 x 2 pixels; blurred before, weights (1, 3, 3, 1) / 8 of 4 x 4."""

    def __init__(self, blurred: bool) -> None:
        super().__init__()
        self.blurred = blurred

    def forward(self, x: Features) -> Features:
        return F.avg_pool2d(blur(x) if self.blurred else x, 2)


class Double(nn.Module):
    """Every pixel twice in height and width; blurred behind, its two nearest at weights of (3, 1) / 4."""

    def __init__(self, blurred: bool) -> None:
        super().__init__()
        self.blurred = blurred

    def forward(self, x: Features) -> Features:
        y = F.interpolate(x, scale_factor=2, mode="nearest")
        return blur(y) if self.blurred else y


class Block(ResidualBlock):
    """sqrt(1/2) (x + attention) of y = sqrt(1/2) of a `ResidualBlock`.

    Args:
        attends: whether there is an attention.
        resample: `Halve` or `Double`, of both branches.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        options: BlockOptions,
        attends: bool = False,
        resample: nn.Module | None = None,
    ) -> None:
        super().__init__(2, inputs, outputs, options)
        if resample is not None:
            self.resample = resample
            self.shortcut = conv(2, inputs, outputs, kernel=1)
        self.attention = SelfAttention(outputs) if attends else None

    def forward(self, x: Features, embedding: Embedding) -> Features:
        h = SCALE * super().forward(x, embedding)
        return h if self.attention is None else SCALE * self.attention(h)


class SmallerPicture(nn.Module):
    """A 3 x 3 convolution, then half of its resolution by weights (1, 3, 3, 1) / 8.

    The convolution looks one pixel further than it would by itself, so that the weights need no zeros at the border.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=2)
        initialize(self.conv)

    def forward(self, x: Features) -> Features:
        h = F.avg_pool2d(F.avg_pool2d(self.conv(x), 2, stride=1), 2, stride=1)
        return F.avg_pool2d(h, 2)


class DownLevel(nn.Module):
    """Blocks, then the way to half the resolution, where NCSN++ adds the smaller picture."""

    def __init__(self, blocks: list[Block], resample: Block | None, picture: SmallerPicture | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.resample, self.picture = resample, picture

    def forward(
        self, h: Features, picture: Features, embedding: Embedding, skips: list[Tensor]
    ) -> tuple[Features, Features]:
        """Append every activation to ``skips``; return the last one and the picture of the next level."""
        for block in self.blocks:
            h = block(h, embedding)
            skips.append(h)
        if self.resample is not None:
            h = self.resample(h, embedding)
            if self.picture is not None:
                h = picture = SCALE * (h + self.picture(picture))
            skips.append(h)
        return h, picture


class UpLevel(nn.Module):
    """Blocks that take a skip each, then the way to twice the resolution."""

    def __init__(self, blocks: list[Block], resample: Block | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.resample = resample

    def forward(self, h: Features, embedding: Embedding, skips: list[Tensor]) -> Features:
        for block in self.blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), embedding)
        return h if self.resample is None else self.resample(h, embedding)


class RandomWaves(nn.Module):
    """[sin(2 pi f_k t), cos(2 pi f_k t)] with f_k normal, drawn once (Tancik et al. 2020, arXiv:2006.10739)."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(width // 2) * FREQUENCIES)

    def forward(self, time: Float[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        angles = time.float()[:, None] * (2 * math.pi * self.frequencies.float())
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ScoreUNet(nn.Module):
    """A function of (x, time) with outputs of x's size; see the head of this file.

    Args:
        out_channels: channels of the result; twice as many where a variance is learned with the mean.
        dims: 2.
        conditions: a class, or nothing.

    Raises:
        UndiffuseError: for settings that describe no such network, and for inputs of another shape.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        dims: int,
        config: ScoreUNetConfig,
        conditions: tuple[Condition, ...] = (),
    ) -> None:
        super().__init__()
        check_settings(dims, config, conditions)
        ncsn = config.architecture == NCSN
        self.channels, self.conditions = channels, conditions
        self.multiple = 2 ** (len(config.multipliers) - 1)
        self.width = config.base
        widths = [config.base * multiplier for multiplier in config.multipliers]
        last = len(widths) - 1

        options = BlockOptions(4 * config.base, config.dropout)

        def block(inputs: int, outputs: int, attends: bool = False, resample: nn.Module | None = None) -> Block:
            return Block(inputs, outputs, options, attends, resample)

        waves = 2 * config.base if ncsn else config.base
        self.waves = RandomWaves(waves) if ncsn else None
        self.label = linear(conditions[0].size, waves, zero=True) if conditions else None
        self.time1, self.time2 = linear(waves, 4 * config.base), linear(4 * config.base, 4 * config.base)
        self.stem = conv(2, channels, config.base)

        skips, width, picture = [config.base], config.base, channels
        self.down = nn.ModuleList()
        for k, out in enumerate(widths):
            attends = k in config.attention_levels
            blocks = [block(width if i == 0 else out, out, attends) for i in range(config.blocks)]
            halve = block(out, out, resample=Halve(ncsn)) if k < last else None
            smaller = SmallerPicture(picture, out) if ncsn and k < last else None
            self.down.append(DownLevel(blocks, halve, smaller))
            skips += [out] * (config.blocks + (k < last))
            width = picture = out
        self.middle = nn.ModuleDict({"block1": block(width, width, attends=True), "block2": block(width, width)})
        self.up = nn.ModuleList()
        for k, out in reversed(list(enumerate(widths))):
            blocks = []
            for i in range(config.blocks + 1):
                attends = i == config.blocks and k in config.attention_levels
                blocks.append(block(width + skips.pop(), out, attends))
                width = out
            self.up.append(UpLevel(blocks, block(out, out, resample=Double(ncsn)) if k else None))
        self.norm = group_norm(width)
        self.out = conv(2, width, out_channels, zero=True)

    def forward(
        self, x: Float[Tensor, "batch channels height width"], time: Float[Tensor, " batch"], **conditions: Tensor
    ) -> Float[Tensor, "batch out_channels height width"]:
        """The network's output for ``x`` at ``time``, one number for each member of the batch.

        A class that is left out is none.
        """
        check_images(x, time, self.channels)
        embedding = self.embed(time, complete(self.conditions, conditions, x))
        picture, crop = pad(x, self.multiple)
        h = self.stem(picture)
        skips: list[Tensor] = [h]
        for down in self.down:
            h, picture = down(h, picture, embedding, skips)
        h = self.middle["block2"](self.middle["block1"](h, embedding), embedding)
        for up in self.up:
            h = up(h, embedding, skips)
        y: Tensor = self.out(F.silu(self.norm(h)))
        return y[crop]

    def embed(self, time: Float[Tensor, " batch"], told: dict[str, Tensor]) -> Embedding:
        """SiLU(linear(SiLU(linear(sinusoids(time) + label(class)))))."""
        waves = sinusoids(time, self.width, "ho") if self.waves is None else self.waves(time)
        waves = waves.to(self.time1.weight.dtype)
        if self.label is not None:
            classes = self.label.in_features
            (index,) = told.values()  # the null class is the index after the last, which no column equals
            one_hot = index[:, None] == torch.arange(classes, device=waves.device)
            waves = waves + self.label(math.sqrt(classes) * one_hot.to(waves.dtype))
        return F.silu(self.time2(F.silu(self.time1(waves))))

    def shard_units(self) -> list[nn.Module]:
        """The modules that processes who share the weights out borrow one after another."""
        return [module for module in self.modules() if isinstance(module, Block)]


def check_settings(dims: int, config: ScoreUNetConfig, conditions: tuple[Condition, ...]) -> None:
    """Raise UndiffuseError for settings that describe no network of these kinds."""
    if others := [condition.name for condition in conditions if condition.kind != "class"]:
        raise UndiffuseError(
            f"`architecture={config.architecture}` can be told a class and nothing else: leave '{others[0]}' out of "
            "`condition`"
        )
    check_image_network(config, dims, blocks=config.blocks)
