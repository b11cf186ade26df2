"""The U-Net of a model that undiffuse trained, for diffusers: this file needs torch and diffusers, and nothing else.

It is the U-Net of Ho et al. 2020 (https://arxiv.org/abs/2006.11239) with the options of ADM (Dhariwal & Nichol 2021)
and what diffusers' own UNet2DModel does not have: patches folded into channels, sizes that are padded, norms of several
numbers of groups, any width at the first level, classes of which one stands for none, and other predictions.

    import diffusers
    pipeline = diffusers.DiffusionPipeline.from_pretrained("FOLDER", trust_remote_code=True)
    pipeline.unet(x, t, class_labels=labels).sample
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn


def group_norm(channels: int, groups: int | None, eps: float) -> nn.GroupNorm:
    """As many groups as asked for, or 32, and below 128 channels as many as leave four channels a group."""
    if groups is None:
        groups = max(1, min(32, channels // 4))
        while channels % groups:
            groups -= 1
    return nn.GroupNorm(groups, channels, eps=eps)


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time, then two linear layers."""

    def __init__(self, width: int, outputs: int, family: str) -> None:
        super().__init__()
        self.width, self.family = width, family
        self.linear1 = nn.Linear(width, outputs)
        self.linear2 = nn.Linear(outputs, outputs)

    def forward(self, time: Tensor) -> Tensor:
        half = self.width // 2
        steps = half - 1 if self.family == "ho" else half
        waves = torch.exp(torch.arange(half, dtype=torch.float32, device=time.device) * (-math.log(10000) / steps))
        angles = time.float()[:, None] * waves
        parts = (angles.sin(), angles.cos()) if self.family == "ho" else (angles.cos(), angles.sin())
        h = torch.cat(parts, dim=1).to(self.linear1.weight.dtype)
        return self.linear2(F.silu(self.linear1(h)))


class ClassTable(nn.Module):
    """A row for each class; the last is that of no class."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(rows, width)

    def forward(self, labels: Tensor) -> Tensor:
        return self.rows(labels)


class SelfAttention(nn.Module):
    """x + out(attention(q, k, v)) over all positions."""

    def __init__(self, channels: int, heads: int, norm: nn.Module) -> None:
        super().__init__()
        self.heads, self.norm = heads, norm
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)


class ResidualBlock(nn.Module):
    """x + conv(dropout(SiLU(norm(conv(SiLU(norm(x))) + linear(embedding)))))."""

    def __init__(self, inputs: int, outputs: int, embedding: int, how: Options, resample: str = "none") -> None:
        super().__init__()
        self.scale_shift = how.scale_shift
        self.norm1 = how.norm(inputs)
        self.resample = {
            "none": nn.Identity(),
            "down": nn.AvgPool2d(2),
            "up": nn.Upsample(scale_factor=2, mode="nearest"),
        }[resample]
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.embed = nn.Linear(embedding, 2 * outputs if how.scale_shift else outputs)
        self.norm2 = how.norm(outputs)
        self.dropout = nn.Dropout(how.dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(self.resample(F.silu(self.norm1(x))))
        e = self.embed(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = e.chunk(2, dim=1)
            h = F.silu(self.norm2(h) * (1 + scale) + shift)
        else:
            h = F.silu(self.norm2(h + e))
        return self.shortcut(self.resample(x)) + self.conv2(self.dropout(h))


class Downsample(nn.Module):
    """Half the resolution by a strided convolution, padded after the end alone or on both sides."""

    def __init__(self, channels: int, padding: str) -> None:
        super().__init__()
        self.around = (0, 1, 0, 1) if padding == "end" else (1, 1, 1, 1)
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.around))


class Upsample(nn.Module):
    """Twice the resolution: every value repeated, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Level(nn.Module):
    """Residual blocks, each with its attention, at one resolution; then the way to the next one."""

    def __init__(self, blocks: list[nn.Module], attentions: list[nn.Module], resample: nn.Module | None) -> None:
        super().__init__()
        self.blocks, self.attentions, self.resample = nn.ModuleList(blocks), nn.ModuleList(attentions), resample


class Middle(nn.Module):
    """Two residual blocks around an attention, at the lowest resolution."""

    def __init__(self, block1: nn.Module, attention: nn.Module, block2: nn.Module) -> None:
        super().__init__()
        self.block1, self.attention, self.block2 = block1, attention, block2


class Options:
    """What all blocks of a network have in common."""

    def __init__(self, groups: int | None, eps: float, dropout: float, scale_shift: bool) -> None:
        self.groups, self.eps, self.dropout, self.scale_shift = groups, eps, dropout, scale_shift

    def norm(self, channels: int) -> nn.GroupNorm:
        return group_norm(channels, self.groups, self.eps)


class UndiffuseUNet2DModel(ModelMixin, ConfigMixin):
    """A function of (x, timestep, class_labels) with outputs of x's size.

    Args:
        sample_size: (height, width) of the images that it learned.
        in_channels, out_channels: of an image; twice as many out where a variance was learned.
        base, multipliers: channels of a level are a multiple of ``base``.
        blocks: residual blocks a level on the way down; one more on the way up.
        attention_levels, up_attention_levels: levels with self-attention, 0 being the finest.
        residual_down_levels, residual_up_levels: levels that are left by a residual block, not by a convolution alone.
        heads, head_width: of an attention: so many, or as many as have this width.
        patch: side of the patches that are folded into channels.
        num_class_embeds: rows of the table of classes, the last being that of no class; None for no table.
        times: what the time embedding sees at each timestep, where it is not the timestep itself.
        input_scale, x0_of_input, x0_of_output: at each timestep the network sees input_scale x and gives F, and the
            prediction is x0_of_input x + x0_of_output F, an image; None where F itself is what the scheduler expects.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: Sequence[int],
        in_channels: int,
        out_channels: int,
        base: int,
        multipliers: Sequence[int],
        blocks: int,
        attention_levels: Sequence[int] = (),
        up_attention_levels: Sequence[int] = (),
        residual_down_levels: Sequence[int] = (),
        residual_up_levels: Sequence[int] = (),
        has_middle: bool = True,
        middle_attention: bool = True,
        middle_attention_norm: bool = True,
        heads: int = 1,
        head_width: int | None = None,
        dropout: float = 0.0,
        scale_shift: bool = False,
        embedding: str = "ho",
        time_width: int | None = None,
        patch: int = 1,
        norm_groups: int | None = None,
        norm_eps: float = 1e-6,
        downsample_padding: str = "end",
        center_input: bool = False,
        num_class_embeds: int | None = None,
        times: Sequence[float] | None = None,
        input_scale: Sequence[float] | None = None,
        x0_of_input: Sequence[float] | None = None,
        x0_of_output: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.patch, self.center = patch, center_input
        self.multiple = patch * 2 ** (len(multipliers) - 1)
        self.null_class = None if num_class_embeds is None else num_class_embeds - 1
        waves = base if time_width is None else time_width
        how = Options(norm_groups, norm_eps, dropout, scale_shift)

        def block(inputs: int, outputs: int, resample: str = "none") -> ResidualBlock:
            return ResidualBlock(inputs, outputs, 4 * waves, how, resample)

        def attention(width: int, wanted: bool, normed: bool = True) -> nn.Module:
            if not wanted:
                return nn.Identity()
            count = heads if head_width is None else width // head_width
            return SelfAttention(width, count, how.norm(width) if normed else nn.Identity())

        self.time = TimeEmbedding(waves, 4 * waves, embedding)
        self.told = nn.ModuleDict()
        if num_class_embeds is not None:
            self.told["label"] = ClassTable(num_class_embeds, 4 * waves)
        self.stem = nn.Conv2d(in_channels * patch**2, base, 3, padding=1)
        widths = [base * multiplier for multiplier in multipliers]
        last = len(widths) - 1

        skips, width = [base], base
        self.down = nn.ModuleList()
        for k, out in enumerate(widths):
            inner = [block(width if i == 0 else out, out) for i in range(blocks)]
            halve = block(out, out, "down") if k in residual_down_levels else Downsample(out, downsample_padding)
            attentions = [attention(out, k in attention_levels) for _ in inner]
            self.down.append(Level(inner, attentions, None if k == last else halve))
            skips += [out] * (blocks if k == last else blocks + 1)
            width = out

        self.middle = None
        if has_middle:
            between = attention(width, middle_attention, middle_attention_norm)
            self.middle = Middle(block(width, width), between, block(width, width))

        self.up = nn.ModuleList()
        for k, out in reversed(list(enumerate(widths))):
            inner = []
            for _ in range(blocks + 1):
                inner.append(block(width + skips.pop(), out))
                width = out
            double = block(out, out, "up") if k in residual_up_levels else Upsample(out)
            attentions = [attention(out, k in up_attention_levels) for _ in inner]
            self.up.append(Level(inner, attentions, None if k == 0 else double))

        self.norm = how.norm(width)
        self.out = nn.Conv2d(width, out_channels * patch**2, 3, padding=1)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """The prediction for noisy images at one timestep, or at one for each; no class where none is told."""
        t = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(len(sample))
        scaled = sample
        if self.config.input_scale is not None:
            scaled = sample * self._at(self.config.input_scale, t, sample)
        time = t.float() if self.config.times is None else self._at(self.config.times, t, sample).flatten()
        output = self._network(scaled.to(self.dtype), time, class_labels).to(sample.dtype)
        if self.config.x0_of_input is not None:
            mean, *variance = output.split(sample.shape[1], dim=1)
            x0 = self._at(self.config.x0_of_input, t, sample) * sample
            output = torch.cat([x0 + self._at(self.config.x0_of_output, t, sample) * mean, *variance], dim=1)
        return UNet2DOutput(sample=output) if return_dict else (output,)

    @staticmethod
    def _at(table: Sequence[float], t: Tensor, x: Tensor) -> Tensor:
        """A table's numbers at whole timesteps, one for each image."""
        numbers = torch.tensor(table, dtype=torch.float64)[t.long().cpu()]
        return numbers.float().to(x.device)[:, None, None, None]

    def _network(self, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        embedding = self.time(time)
        if self.null_class is not None:
            nothing = torch.full((len(x),), self.null_class, dtype=torch.int64, device=x.device)
            embedding = embedding + self.told["label"](nothing if labels is None else labels)
        embedding = F.silu(embedding)
        height, width = x.shape[-2:]
        # Zeros around sizes that the levels do not divide, evenly on both sides.
        (top, bottom), (left, right) = (
            ((-n % self.multiple) // 2, (-n % self.multiple + 1) // 2) for n in (height, width)
        )
        x = F.pad(2 * x - 1 if self.center else x, (left, right, top, bottom))
        h = self.stem(F.pixel_unshuffle(x, self.patch))
        skips = [h]
        for level in self.down:
            for block, attention in zip(level.blocks, level.attentions, strict=True):
                h = attention(block(h, embedding))
                skips.append(h)
            if level.resample is not None:
                h = level.resample(h, embedding)
                skips.append(h)
        if self.middle is not None:
            h = self.middle.block2(self.middle.attention(self.middle.block1(h, embedding)), embedding)
        for level in self.up:
            for block, attention in zip(level.blocks, level.attentions, strict=True):
                h = attention(block(torch.cat([h, skips.pop()], dim=1), embedding))
            if level.resample is not None:
                h = level.resample(h, embedding)
        h = F.pixel_shuffle(self.out(F.silu(self.norm(h))), self.patch)
        return h[:, :, top : top + height, left : left + width]
