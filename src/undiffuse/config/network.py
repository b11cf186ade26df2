"""Settings of networks, and the number formats that they compute in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PrecisionName = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class UNetConfig:
    """The U-Net of Ho et al. 2020 (https://arxiv.org/abs/2006.11239, appendix B) with the options of
    ADM (Dhariwal & Nichol 2021, https://arxiv.org/abs/2105.05233)."""

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
    architecture: Literal["unet", "rms-unet", "ddpm++", "ncsn++"] = "unet"
    """'unet', or 'rms-unet' with linear attention and norms by the root mean square, as denoising-diffusion-pytorch
    has it: of the settings above `base`, `multipliers`, `attention_levels` (of full attention), `heads`, `head_width`
    (32 by default) and `dropout`. Or 'ddpm++' or 'ncsn++' of score-based models, as EDM has them: `base`,
    `multipliers`, `blocks`, `attention_levels` and `dropout`."""
