"""U-Nets of diffusers with random weights, saved as diffusers saves them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

diffusers = pytest.importorskip("diffusers", reason="compares with diffusers, which is not installed")

SMALL = {
    "sample_size": 16,
    "block_out_channels": (16, 32),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
GOOGLE = {
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
"""What the google/ddpm-* repositories have otherwise than a UNet2DModel by default."""
THREE = {
    "block_out_channels": (16, 16, 32),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}
CASES = {
    "default": {},
    "google": GOOGLE,
    "google-three-levels": {**GOOGLE, **THREE},
    "google-two-blocks": {**GOOGLE, "layers_per_block": 2},
    "training-script": {
        "layers_per_block": 2,
        "block_out_channels": (16, 16, 32, 32),
        "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    },
    "one-level": {
        "block_out_channels": (16,),
        "down_block_types": ("AttnDownBlock2D",),
        "up_block_types": ("AttnUpBlock2D",),
    },
    "no-attention": {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2},
    "attention-everywhere": {"down_block_types": ("AttnDownBlock2D",) * 2, "up_block_types": ("AttnUpBlock2D",) * 2},
    "attention-down-only": {"up_block_types": ("UpBlock2D",) * 2},
    "attention-up-elsewhere": {"up_block_types": ("UpBlock2D", "AttnUpBlock2D")},
    "one-head": {"attention_head_dim": None},
    "many-heads": {"attention_head_dim": 4},
    "cosines-first-ho": {"flip_sin_to_cos": True, "freq_shift": 1},
    "sines-first-adm": {"flip_sin_to_cos": False, "freq_shift": 0},
    "eps": {"norm_eps": 1e-3},
    "groups": {"norm_num_groups": 2},
    "padding-end": {"downsample_padding": 0},
    "scale-shift": {"resnet_time_scale_shift": "scale_shift"},
    "scale-shift-with-norm": {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 8},
    "residual": {
        "down_block_types": ("AttnDownBlock2D",) * 2,
        "up_block_types": ("AttnUpBlock2D",) * 2,
        "downsample_type": "resnet",
        "upsample_type": "resnet",
    },
    "residual-down-only": {**THREE, "downsample_type": "resnet"},
    "residual-up-only": {**THREE, "upsample_type": "resnet"},
    "residual-blocks": {
        "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "upsample_type": "resnet",
    },
    "centered": {"center_input_sample": True},
    "middle-without-attention": {"add_attention": False},
    "no-middle": {"mid_block_type": None},
    "grey": {"in_channels": 1, "out_channels": 1},
    "oblong": {"sample_size": (8, 16)},
    "learned-variance": {"out_channels": 6},
    "classes": {"num_class_embeds": 5},
    "dropout": {"dropout": 0.5},
    "old-names": {"down_block_types": ("UNetResDownBlock2D", "UNetResAttnDownBlock2D")},
}


def random_unet(**settings):
    """A U-Net in which no bias is 0 and no scale is 1."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(**{**SMALL, **settings}).eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return unet


def scheduler_for(unet, **settings):
    """A DDPMScheduler that fits the U-Net."""
    if unet.config.out_channels == 2 * unet.config.in_channels:
        settings["variance_type"] = "learned_range"
    return diffusers.DDPMScheduler(**settings)


def saved(folder: Path, unet, scheduler=None) -> Path:
    """The pipeline, saved by diffusers."""
    diffusers.DDPMPipeline(unet, scheduler or scheduler_for(unet)).save_pretrained(folder)
    return folder
