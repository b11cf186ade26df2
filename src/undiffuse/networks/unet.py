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

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.config.network import UNetConfig
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.networks.blocks import ResidualBlock
from undiffuse.networks.checks import check_depth, check_dropout, check_levels
from undiffuse.networks.conditions import ClassTable, Condition, VectorMap, complete
from undiffuse.networks.layers import NormSiLU, conv
from undiffuse.networks.shapes import depth_to_space, pad, space_to_depth
from undiffuse.networks.unet_parts import UNetParts

EMBEDDINGS: dict[str, type[ClassTable] | type[VectorMap]] = {"class": ClassTable, "vector": VectorMap}
"""Kinds of condition that join the time's embedding."""


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
        out_channels: channels of the result; twice as many where a variance is learned with the mean.
        dims: spatial dimensions of x: 1, 2 or 3.
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
        self.channels, self.conditions, self.dims, self.config = channels, conditions, dims, config
        self.patch, self.center = config.patch, config.center_input
        self.multiple = config.patch * 2 ** (len(config.multipliers) - 1)  # sizes divisible by this need no padding
        base, folded = config.base, config.patch**dims
        parts = UNetParts(dims, config, conditions)

        self.time = parts.time()
        self.told = nn.ModuleDict(
            {c.name: EMBEDDINGS[c.kind](c.size, parts.embedding) for c in conditions if c.kind in EMBEDDINGS}
        )
        self.stem = conv(dims, channels * folded, base)
        self.image_stems = nn.ModuleDict(
            {c.name: conv(dims, c.size * folded, base, zero=True) for c in conditions if c.kind == "image"}
        )
        self.down = parts.down()
        self.middle = parts.middle() if config.middle else None
        self.up = parts.up()
        self.norm = parts.norm(parts.widths[0], kind=NormSiLU)
        self.out = conv(dims, parts.widths[0], out_channels * folded, zero=True)

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"], time: Float[Tensor, " batch"], **conditions: Tensor
    ) -> Float[Tensor, "batch out_channels *spatial"]:
        """The network's output for ``x`` at ``time``, one number for each member of the batch.

        A condition that is left out is a null one.
        """
        self.check(x, time)
        conditions = complete(self.conditions, conditions, x)
        embedding = self.time(time)
        for name, embed in self.told.items():
            embedding = embedding + embed(conditions[name])
        # Every block would take SiLU(embedding) first: once does for all.
        embedding = F.silu(embedding)
        padded, crop = pad(2 * x - 1 if self.center else x, self.multiple)

        h = self.stem(space_to_depth(padded, self.patch))
        for name, stem in self.image_stems.items():
            h = h + stem(space_to_depth(pad(conditions[name].nan_to_num(0.0), self.multiple)[0], self.patch))
        skips = [h]
        for down in self.down:
            h = down(h, embedding, conditions, skips)
        if self.middle is not None:
            h = self.middle(h, embedding, conditions)
        for up in self.up:
            h = up(h, embedding, conditions, skips)
        h = self.out(self.norm(h))
        return depth_to_space(h, self.patch)[crop]

    def row_work(self, spatial: Sequence[int]) -> float:
        """The work of a thread on one sample of these sizes."""
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
