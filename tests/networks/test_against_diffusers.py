"""The U-Net against an independent one: diffusers' UNet2DModel, configured as google/ddpm-cifar10-32."""

import re

import pytest
import torch

from undiffuse.config.network import UNetConfig
from undiffuse.networks.unet import UNet

diffusers = pytest.importorskip("diffusers", reason="compares with diffusers, which is not installed")

NAMES = (
    (r"^time_embedding\.linear_", "time.linear"),
    (r"^conv_in\.", "stem."),
    (r"^conv_norm_out\.", "norm."),
    (r"^conv_out\.", "out."),
    (r"^mid_block\.resnets\.0\.", "middle.block1."),
    (r"^mid_block\.resnets\.1\.", "middle.block2."),
    (r"^mid_block\.attentions\.0\.", "middle.attention."),
    (r"^(down|up)_blocks\.", r"\1."),
    (r"\.resnets\.", ".blocks."),
    (r"\.(down|up)samplers\.0\.", ".resample."),
    (r"\.time_emb_proj\.", ".embed."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_out\.0\.", ".out."),
)
"""diffusers' names of parameters, and ours."""


def ours(theirs):
    """A state dict of diffusers under our names, queries, keys and values stacked."""
    state = {}
    for name, value in theirs.items():
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        part = re.search(r"\.to_([qkv])\.", name)
        if part:  # they come in the order q, k, v
            name = name.replace(part[0], ".qkv.")
            value = torch.cat([state[name], value]) if name in state else value
        state[name] = value
    return state


def test_google_ddpm_cifar10_gives_the_same_outputs_from_the_same_weights():
    reference = diffusers.UNet2DModel(
        sample_size=32,
        block_out_channels=(128, 256, 256, 256),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        norm_eps=1e-6,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        attention_head_dim=None,
    ).eval()
    network = UNet(3, 3, 2, UNetConfig(base=128, multipliers=(1, 2, 2, 2), blocks=2, attention_levels=(1,)))
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)  # so that no bias is 0 and no scale 1
    network.load_state_dict(ours(reference.state_dict()))

    x, time = torch.randn(2, 3, 16, 16), torch.tensor([0.0, 999.0])
    with torch.no_grad():
        expected = reference(x, time).sample
        actual = network(x, time)
    assert expected.std() > 0.1
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
