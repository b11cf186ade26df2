"""The residual block and the resampling layers."""

import pytest
import torch
import torch.nn.functional as F

from undiffuse.networks.blocks import BlockOptions, Downsample, ResidualBlock, Upsample


def randomise(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    return module


@pytest.mark.parametrize("resample", ["none", "down", "up"])
def test_a_fresh_block_is_its_shortcut(resample):
    x = torch.randn(2, 8, 4, 4)
    block = ResidualBlock(2, 8, 8, BlockOptions(6), resample)
    expected = {
        "none": x,
        "down": x.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2)),
        "up": x.repeat_interleave(2, 2).repeat_interleave(2, 3),
    }[resample]
    torch.testing.assert_close(block(x, torch.randn(2, 6)), expected)


def test_scale_shift_of_zero_leaves_the_normalised_activation():
    block = randomise(ResidualBlock(2, 8, 8, BlockOptions(6, scale_shift=True)))
    plain = ResidualBlock(2, 8, 8, BlockOptions(6))
    plain.load_state_dict({k: v for k, v in block.state_dict().items() if not k.startswith("embed")}, strict=False)
    x, nothing = torch.randn(2, 8, 4, 4), torch.zeros(2, 6)
    with torch.no_grad():
        for module in (block, plain):
            module.embed.bias.zero_()
    torch.testing.assert_close(block(x, nothing), plain(x, nothing))


def test_scale_comes_first_and_shift_second():
    block = randomise(ResidualBlock(1, 4, 4, BlockOptions(2, scale_shift=True)))
    with torch.no_grad():
        block.embed.weight.zero_()
        block.embed.bias[:4], block.embed.bias[4:] = -1, 0  # 1 + scale = 0, shift = 0: SiLU(0) = 0 reaches conv2
    x = torch.randn(3, 4, 5)
    torch.testing.assert_close(block(x, torch.randn(3, 2)), x + block.conv2.bias[:, None])


def test_dropout_acts_in_training_alone():
    block = randomise(ResidualBlock(1, 4, 4, BlockOptions(2, dropout=0.5)))
    x, embedding = torch.randn(1, 4, 50), torch.randn(1, 2)
    assert not torch.equal(block(x, embedding), block(x, embedding))
    block.eval()
    assert torch.equal(block(x, embedding), block(x, embedding))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_downsampling_windows_start_at_the_first_pixel(dims):
    # A kernel that copies its first tap picks pixels 0, 2, 4; one that copies its last picks 2, 4 and the padding.
    down = Downsample(dims, 1)
    x = torch.randn(1, 1, *[6] * dims)
    for tap in (0, 2):
        with torch.no_grad():
            down.conv.weight.zero_()
            down.conv.weight[(0, 0, *[tap] * dims)] = 1
        picked = F.pad(x, (0, 2) * dims)[(..., *[slice(tap, tap + 6, 2)] * dims)]
        assert torch.equal(down(x, torch.empty(1, 0)), picked)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_upsampling_repeats_every_value(dims):
    up = Upsample(dims, 1)
    with torch.no_grad():
        up.conv.weight.zero_()
        up.conv.weight[(0, 0, *[1] * dims)] = 1
    x = torch.randn(1, 1, *[3] * dims)
    expected = x
    for d in range(dims):
        expected = expected.repeat_interleave(2, 2 + d)
    assert torch.equal(up(x, torch.empty(1, 0)), expected)
