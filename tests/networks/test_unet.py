"""The U-Net: the published networks' sizes, shapes and gradients over a grid of settings, and what is refused."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from undiffuse.config.network import UNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.unet import UNet

SMALL = UNetConfig(base=8, multipliers=(1, 2), blocks=1, attention_levels=(1,))


def small(channels=2, out_channels=2, dims=2, **changes):
    """A small network with random numbers in whatever starts at zero; the same for the same settings."""
    torch.manual_seed(0)
    network = UNet(channels, out_channels, dims, replace(SMALL, **changes))
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return network


def parameters(channels, out_channels, config):
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(channels, out_channels, 2, config).parameters())


def test_ho_cifar10_has_35746307_parameters():
    config = UNetConfig(base=128, multipliers=(1, 2, 2, 2), blocks=2, attention_levels=(1,), dropout=0.1)
    assert parameters(3, 3, config) == 35_746_307


def test_ho_256_has_113673219_parameters():
    config = UNetConfig(base=128, multipliers=(1, 1, 2, 2, 4, 4), blocks=2, attention_levels=(4,))
    assert parameters(3, 3, config) == 113_673_219


def test_improved_ddpm_cifar10_has_52546438_parameters():
    config = UNetConfig(
        base=128,
        multipliers=(1, 2, 2, 2),
        blocks=3,
        attention_levels=(1, 2),
        heads=4,
        scale_shift=True,
        embedding="adm",
        dropout=0.3,
    )
    assert parameters(3, 6, config) == 52_546_438


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    dims=st.integers(1, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    levels=st.integers(1, 3),
    patch=st.integers(1, 2),
    resample=st.sampled_from(["conv", "residual"]),
    scale_shift=st.booleans(),
    middle_attention=st.booleans(),
)
def test_any_size_keeps_its_shape_and_gradients_reach_every_parameter(
    dims, size, levels, patch, resample, scale_shift, middle_attention
):
    network = small(
        channels=3,
        dims=dims,
        base=4,
        multipliers=(1, 2, 1)[:levels],
        attention_levels=(levels - 1,),
        patch=patch,
        resample=resample,
        scale_shift=scale_shift,
        middle_attention=middle_attention,
    )
    x = torch.randn(2, 3, *size[:dims])
    out = network(x, torch.tensor([1.0, 700.0]))
    assert out.shape == (2, 2, *size[:dims])
    out.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("patch", [1, 2])
def test_a_fresh_network_outputs_exactly_zero(dims, patch):
    network = UNet(2, 3, dims, replace(SMALL, patch=patch))
    out = network(torch.randn(2, 2, *[4] * dims), torch.rand(2))
    assert out.shape == (2, 3, *[4] * dims)
    assert not out.any()


def test_padding_inside_is_padding_outside():
    network = small(multipliers=(1, 2, 2))
    x = torch.randn(1, 2, 8, 8)
    x[:, :, :1], x[:, :, 7:], x[:, :, :, :1], x[:, :, :, 6:] = 0, 0, 0, 0
    inner = x[:, :, 1:7, 1:6]
    time = torch.tensor([3.0])
    assert torch.equal(network(inner, time), network(x, time)[:, :, 1:7, 1:6])


def test_time_and_every_channel_matter():
    network = small(scale_shift=False).eval()
    x, time = torch.randn(1, 2, 8, 8), torch.tensor([5.0])
    out = network(x, time)
    assert not torch.allclose(out, network(x, time + 1))
    for channel in range(2):
        changed = x.clone()
        changed[:, channel] += 1
        assert not torch.allclose(out, network(changed, time))


def test_samples_of_a_batch_do_not_see_each_other():
    network = small().double()
    x, time = torch.randn(3, 2, 8, 8, dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0])
    together = network(x, time)
    alone = torch.cat([network(x[i : i + 1], time[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)


def test_one_and_three_dimensions_agree_with_two_where_they_must():
    # A two-dimensional network whose kernels act along the last dimension alone, on a picture of equal rows, is the
    # one-dimensional network; likewise three from two. Kernels are 0 above and below, so borders do not matter.
    for dims in (1, 2):
        low, high = small(dims=dims, attention_levels=()).double(), small(dims=dims + 1, attention_levels=()).double()
        weights = high.state_dict()
        for name, value in low.state_dict().items():
            target = weights[name]
            if target.shape == value.shape:
                target.copy_(value)
            else:
                # The tap that reads the pixel itself: the first of a strided convolution, else the middle one.
                tap = 0 if "resample" in name and "down" in name else target.shape[2] // 2
                target.zero_()
                target[:, :, tap] = value
        x = torch.randn(2, 2, *[8] * dims, dtype=torch.float64)
        time = torch.tensor([10.0, 20.0])
        rows = x[:, :, None].expand(-1, -1, 4, *[-1] * dims)
        expected = low(x, time)[:, :, None].expand_as(rows)
        torch.testing.assert_close(high(rows, time), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("resample", ["conv", "residual"])
def test_memory_format_changes_nothing_but_the_layout(resample):
    network = small(resample=resample).double()
    x, time = torch.randn(2, 2, 8, 8, dtype=torch.float64), torch.rand(2)
    expected = network(x, time)
    last = network.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), time)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputing_blocks_gives_the_same_gradients(dropout):
    x, time = torch.randn(2, 2, 8, 8), torch.rand(2)
    gradients = []
    for recompute in (False, True):
        network = small(dropout=dropout, checkpoint_blocks=recompute)
        torch.manual_seed(1)
        network(x, time).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_recomputing_blocks_keeps_less_for_the_backward_pass():
    def kept(recompute):
        network = small(checkpoint_blocks=recompute)
        own = {p.data_ptr() for p in network.parameters()}
        sizes = {}

        def note(tensor):
            if tensor.data_ptr() not in own:
                sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            network(torch.randn(2, 2, 16, 16), torch.rand(2))
        return sum(sizes.values())

    assert kept(True) < 0.6 * kept(False)


def test_bfloat16_autocast_stays_close_to_float32():
    network = small()
    x, time = torch.randn(2, 2, 8, 8), torch.tensor([3.0, 900.0])
    expected = network(x, time)
    with torch.autocast("cpu", torch.bfloat16):
        low = network(x, time).float()
    assert (low - expected).norm() < 0.05 * expected.norm()


def test_the_whole_network_traces_without_a_break():
    network = small(patch=2, resample="residual", scale_shift=True)
    x, time = torch.randn(2, 2, 7, 8), torch.rand(2)
    exported = torch.export.export(network, (x, time))
    torch.testing.assert_close(exported.module()(x, time), network(x, time))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"multipliers": ()}, "`multipliers`"),
        ({"multipliers": (1, 0)}, "`multipliers`"),
        ({"attention_levels": (2,)}, "`attention_levels` must be among 0 .. 1"),
        ({"heads": 3}, "3 attention heads"),
        ({"head_width": 5}, "head width 5"),
        ({"heads": 0}, "`heads`"),
        ({"base": 9}, "`base`"),
        ({"blocks": 0}, "`blocks`"),
        ({"patch": 0}, "`patch`"),
        ({"dropout": 1.0}, "`dropout`"),
        ({"resample": "residuals"}, "perhaps you meant 'residual'"),
        ({"embedding": "hoo"}, "perhaps you meant 'ho'"),
    ],
)
def test_settings_that_describe_no_network_are_refused_in_a_sentence(changes, match):
    with pytest.raises(UndiffuseError, match=match):
        UNet(2, 2, 2, replace(SMALL, **changes))


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((2, 3, 8, 8), "takes 2 channels, not 3"),
        ((2, 2, 8), "2 spatial dimensions"),
        ((2, 2, 8, 8, 8), "2 spatial dimensions"),
    ],
)
def test_inputs_of_another_shape_are_refused_in_a_sentence(shape, match):
    with pytest.raises(UndiffuseError, match=match):
        small()(torch.randn(*shape), torch.rand(2))


def test_time_must_be_one_number_a_sample():
    for times in (torch.rand(1), torch.rand(2, 1), torch.tensor(0.5)):
        with pytest.raises(UndiffuseError, match="each of the batch's 2 samples"):
            small().check(torch.randn(2, 2, 8, 8), times)


def test_four_dimensions_are_refused():
    with pytest.raises(UndiffuseError, match="1, 2 or 3"):
        UNet(2, 2, 4, SMALL)


def test_heads_by_width_share_each_level_s_channels():
    network = small(base=8, multipliers=(1, 2), attention_levels=(0, 1), head_width=4)
    assert [level.attentions[0].heads for level in network.down] == [2, 4]
