"""The way down of the U-Net with a head: which class is this noisy image of?

(Dhariwal & Nichol 2021, section 4 and appendix H, https://arxiv.org/abs/2105.05233. Their head is a pooling by
attention; here it is the mean over positions, behind a middle that has attention.)
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.config import UNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.attention import SelfAttention
from undiffuse.networks.blocks import Downsample, ResidualBlock
from undiffuse.networks.conditions import CrossAttentions
from undiffuse.networks.embedding import TimeEmbedding
from undiffuse.networks.layers import conv, group_norm, linear
from undiffuse.networks.shapes import pad, space_to_depth
from undiffuse.networks.unet import DownLevel, Middle, check_settings, heads


class UNetClassifier(nn.Module):
    """(x, time) -> logits. The layers have the names and shapes of the U-Net's, down to its middle.

    Args:
        channels: channels of x.
        classes: how many, at least 2.
        dims: spatial dimensions of x: 1, 2 or 3.
        config: the settings of the U-Net.

    Raises:
        UndiffuseError: for settings that describe no network.
    """

    def __init__(self, channels: int, classes: int, dims: int, config: UNetConfig) -> None:
        super().__init__()
        check_settings(channels, channels, dims, config)
        if classes < 2:
            raise UndiffuseError(f"A classifier tells at least 2 classes apart, not {classes}")
        self.patch = config.patch
        self.multiple = config.patch * 2 ** (len(config.multipliers) - 1)
        base = config.base
        block = partial(ResidualBlock, dims, embedding=4 * base, dropout=config.dropout, scale_shift=config.scale_shift)
        residual = config.resample == "residual"

        def attention(width: int, wanted: bool) -> nn.Module:
            return SelfAttention(width, heads(width, config)) if wanted else nn.Identity()

        def halve(width: int) -> nn.Module:
            return block(width, width, resample="down") if residual else Downsample(dims, width)

        self.time = TimeEmbedding(base, 4 * base, config.embedding)
        self.stem = conv(dims, channels * config.patch**dims, base)
        self.down = nn.ModuleList()
        width = base
        for k, out in enumerate(base * multiplier for multiplier in config.multipliers):
            blocks = [block(width if i == 0 else out, out) for i in range(config.blocks)]
            attentions = [attention(out, k in config.attention_levels) for _ in blocks]
            last = k == len(config.multipliers) - 1
            nothing = [CrossAttentions({}) for _ in blocks]
            self.down.append(DownLevel(blocks, attentions, nothing, None if last else halve(out)))
            width = out
        self.middle = Middle(
            block(width, width), attention(width, config.middle_attention), CrossAttentions({}), block(width, width)
        )
        self.norm = group_norm(width)
        self.out = linear(width, classes, zero=True)

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
        y: Tensor = self.out(F.silu(self.norm(h)).flatten(2).mean(2))
        return y
