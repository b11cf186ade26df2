"""Options of networks, each architecture's a class of its own, and the number formats that they compute in.

A section ``network`` of settings is one of these classes, told by its ``architecture``. A new network is a subclass of
`NetworkConfig` with the fields that count for it, registered with its class by `undiffuse.factories.network.register`;
files, flags and Python's keywords know its fields from then on. Fields of one name have one meaning in all classes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from typing import ClassVar, Literal

from undiffuse.errors import UndiffuseError

PrecisionName = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class NetworkConfig:
    """Options of a network, and what they tell of it before there is one."""

    SIZES: ClassVar[tuple[str, ...]]
    """The fields that make a network large, first the one to change."""

    @property
    @abstractmethod
    def architecture(self) -> str:
        """The name of the network, one of those under which the class of options is registered."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Channels where the network has the most positions."""

    @property
    @abstractmethod
    def draws_in_training(self) -> bool:
        """True where a training step draws from torch's one random stream, or rewinds it: threads would mix that."""

    @abstractmethod
    def activations(self, spatial: Sequence[int]) -> float:
        """Numbers in the first level for one sample of these sides."""

    @abstractmethod
    def count_weights(self, channels: int, dims: int) -> int:
        """About as many weights as the network has, for data of these channels and dimensions.

        Said at once, however many that is, and of any values: it is asked before the settings are checked.
        """


@dataclass(frozen=True)
class GivenNetworkConfig(NetworkConfig):
    """Options of a network that a program gives as an object: none. Its name is all that files hold of it."""

    SIZES: ClassVar = ("batch",)

    @property
    def width(self) -> int:
        return 1

    @property
    def draws_in_training(self) -> bool:
        return True  # nobody knows

    def activations(self, spatial: Sequence[int]) -> float:
        return float(math.prod(spatial))

    def count_weights(self, channels: int, dims: int) -> int:
        return 0  # what a program has made fits its memory

    @staticmethod
    def named(architecture: str) -> type[GivenNetworkConfig]:
        """The class of the options of the network of this name."""
        field = ("architecture", Literal[architecture], architecture)
        return make_dataclass("GivenNetworkConfig", [field], bases=(GivenNetworkConfig,), frozen=True)


def _residual_weights(base: int, multipliers: Sequence[int], blocks: int, dims: int) -> int:
    """Weights of the convolutions in residual blocks: the sum over the stem and all levels of (2 blocks + 1) 2 k w^2.

    w: channels of a level, k = 3^dims.
    """
    squares = sum((base * multiplier) ** 2 for multiplier in (1, *multipliers))
    found: int = (2 * max(blocks, 0) + 1) * 2 * 3**dims * squares
    return found


@dataclass(frozen=True)
class UNetConfig(NetworkConfig):
    """The U-Net of Ho et al. 2020 (https://arxiv.org/abs/2006.11239, appendix B) with the options of
    ADM (Dhariwal & Nichol 2021, https://arxiv.org/abs/2105.05233)."""

    SIZES: ClassVar = ("base", "multipliers", "blocks", "patch", "time_width")

    base: int = 128
    """Channels at full resolution."""
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    """Channels of each level, in units of `base`; every level after the first halves the resolution."""
    blocks: int = 2
    """Residual blocks per level on the way down (one more on the way up)."""
    attention_levels: tuple[int, ...] = (1,)
    """Levels with self-attention; level k has 1/2^k of the resolution (Ho's '16 x 16' is level 1 of 32 x 32)."""
    middle_attention: bool = True
    """Self-attention between the two middle blocks."""
    heads: int = 1
    """Attention heads; ignored where `head_width` is given."""
    head_width: int | None = None
    """Channels per attention head (ADM uses 64)."""
    dropout: float = 0.0
    """Probability of dropping an activation inside a residual block while training."""
    scale_shift: bool = False
    """Let the time embedding scale and shift the normalised activation (ADM) instead of being added to it."""
    resample: Literal["conv", "residual"] = "conv"
    """Down- and up-sampling by a strided convolution (Ho) or inside residual blocks (ADM)."""
    embedding: Literal["ho", "adm"] = "ho"
    """Sinusoids as [sin, cos] over d/2 - 1 (Ho, diffusers' google/ddpm-*) or [cos, sin] over d/2 (OpenAI)."""
    time_width: int | None = None
    """Number of those sinusoids, the embedding being four times as wide; without it `base`."""
    patch: int = 1
    """Fold patches of this side into channels before the first convolution, and unfold them at the end."""
    checkpoint_blocks: bool = False
    """Recompute residual blocks in the backward pass: less memory, about a third more time."""
    norm_groups: int | None = None
    """Groups of every GroupNorm; without it 32, and below 128 channels as many as leave four channels a group."""
    norm_eps: float = 1e-6
    """Added to the variance in every GroupNorm: 1e-6 (Ho) or 1e-5 (PyTorch's own, OpenAI, diffusers)."""
    downsample_padding: Literal["end", "both"] = "end"
    """Where the strided convolution of `resample=conv` pads: after the end alone (Ho), or on both sides (OpenAI)."""
    up_attention_levels: tuple[int, ...] | None = None
    """Levels with self-attention on the way up; without it `attention_levels`."""
    residual_down_levels: tuple[int, ...] | None = None
    """Levels that the way down leaves by a residual block; without it all or none, as `resample` says."""
    residual_up_levels: tuple[int, ...] | None = None
    """Levels that the way up leaves by a residual block; without it all or none, as `resample` says."""
    middle: bool = True
    """Two residual blocks at the lowest resolution, between the ways down and up."""
    middle_attention_norm: bool = True
    """Normalise before the attention in the middle; diffusers' networks with `scale_shift` may not."""
    center_input: bool = False
    """Show the network 2 x - 1 in place of x (diffusers' center_input_sample)."""
    architecture: Literal["unet"] = "unet"
    """'unet' of Ho et al. 2020, with the options of ADM."""

    @property
    def width(self) -> int:
        return self.base

    @property
    def draws_in_training(self) -> bool:
        return self.checkpoint_blocks or self.dropout > 0

    @property
    def sinusoids(self) -> int:
        """Waves of the time embedding."""
        return self.base if self.time_width is None else self.time_width

    def heads_of(self, width: int) -> int:
        """Attention heads over so many channels: as many as asked for, or of the width asked for."""
        if self.head_width is None:
            return self.heads
        if self.head_width < 1 or width % self.head_width:
            raise UndiffuseError(
                f"{width} channels are no multiple of the head width {self.head_width}; change `head_width` or `base`."
            )
        return width // self.head_width

    @property
    def attention_up(self) -> tuple[int, ...]:
        """Levels with self-attention on the way up."""
        return self.attention_levels if self.up_attention_levels is None else self.up_attention_levels

    @property
    def residual_down(self) -> tuple[int, ...]:
        """Levels that the way down leaves by a residual block."""
        return self._all_or_none if self.residual_down_levels is None else self.residual_down_levels

    @property
    def residual_up(self) -> tuple[int, ...]:
        """Levels that the way up leaves by a residual block."""
        return self._all_or_none if self.residual_up_levels is None else self.residual_up_levels

    @property
    def _all_or_none(self) -> tuple[int, ...]:
        return tuple(range(len(self.multipliers))) if self.resample == "residual" else ()

    def activations(self, spatial: Sequence[int]) -> float:
        return math.prod(spatial) / float(self.patch ** len(spatial)) * self.base

    def count_weights(self, channels: int, dims: int) -> int:
        ends = 2 * 3**dims * self.base * channels * max(self.patch, 1) ** dims
        inside = _residual_weights(self.base, self.multipliers, self.blocks, dims)
        return inside + int(ends) + 20 * self.sinusoids**2


class _PlainUNetConfig(NetworkConfig):
    """The answers of U-Nets without patches."""

    base: int
    dropout: float

    @property
    def width(self) -> int:
        return self.base

    @property
    def draws_in_training(self) -> bool:
        return self.dropout > 0

    def activations(self, spatial: Sequence[int]) -> float:
        return math.prod(spatial) * float(self.base)


@dataclass(frozen=True)
class RMSUNetConfig(_PlainUNetConfig):
    """The U-Net of denoising-diffusion-pytorch (P. Wang, https://github.com/lucidrains/denoising-diffusion-pytorch)."""

    SIZES: ClassVar = ("base", "multipliers")

    base: int = 128
    """Channels at full resolution."""
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    """Channels of each level, in units of `base`; every level after the first halves the resolution."""
    attention_levels: tuple[int, ...] = (1,)
    """Levels whose attention is over all positions; that of others is linear in their number."""
    heads: int = 1
    """Attention heads."""
    head_width: int | None = None
    """Channels per attention head; without it 32."""
    dropout: float = 0.0
    """Probability of dropping an activation inside a residual block while training."""
    architecture: Literal["rms-unet"] = "rms-unet"
    """'rms-unet' with linear attention, heads of 32 channels and norms by the root mean square, as
    denoising-diffusion-pytorch has it."""

    def count_weights(self, channels: int, dims: int) -> int:
        return _residual_weights(self.base, self.multipliers, 2, dims)


@dataclass(frozen=True)
class ScoreUNetConfig(_PlainUNetConfig):
    """The U-Nets of score-based models (Song et al. 2021, https://arxiv.org/abs/2011.13456, appendix H), as EDM has
    them."""

    SIZES: ClassVar = ("base", "multipliers", "blocks")

    base: int = 128
    """Channels at full resolution."""
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    """Channels of each level, in units of `base`; every level after the first halves the resolution."""
    blocks: int = 2
    """Residual blocks per level on the way down (one more on the way up)."""
    attention_levels: tuple[int, ...] = (1,)
    """Levels with self-attention."""
    dropout: float = 0.0
    """Probability of dropping an activation inside a residual block while training."""
    architecture: Literal["ddpm++", "ncsn++"] = "ddpm++"
    """'ddpm++' or 'ncsn++' of score-based models, as EDM has them."""

    def count_weights(self, channels: int, dims: int) -> int:
        return _residual_weights(self.base, self.multipliers, self.blocks, dims)
