"""What a network is told: nothing at first, then something; each condition by its name, missing ones as null."""

import pytest
import torch

from undiffuse.config.network import UNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.conditions import Condition, CrossAttention, VectorMap
from undiffuse.networks.unet import UNet

SETTINGS = UNetConfig(base=8, multipliers=(1, 2), blocks=1, attention_levels=(1,))
ALL = (
    Condition("label", "class", 3),
    Condition("pose", "vector", 4),
    Condition("words", "tokens", 5),
    Condition("coarse", "image", 2),
)
N = 6


def given(seed=0):
    dice = torch.Generator().manual_seed(seed)
    return {
        "label": torch.tensor([0, 1, 2, 0, 1, 2]),
        "pose": torch.randn(N, 4, generator=dice),
        "words": torch.randn(N, 7, 5, generator=dice),
        "coarse": torch.randn(N, 2, 10, 10, generator=dice),
    }


def inputs():
    dice = torch.Generator().manual_seed(9)
    return torch.randn(N, 1, 10, 10, generator=dice), torch.rand(N, generator=dice) * 999


def randomised(network):
    """The network with every weight at random, zeros too, so that all of it has an effect."""
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(0.2 * torch.randn(p.shape))
    return network


@pytest.fixture
def network():
    return randomised(UNet(1, 1, 2, SETTINGS, ALL)).eval()


def test_a_new_conditional_network_is_the_unconditional_one():
    """Fine-tuning: the old weights give the old outputs, whatever it is told."""
    plain = randomised(UNet(1, 1, 2, SETTINGS))
    told = UNet(1, 1, 2, SETTINGS, ALL)
    missing, unexpected = told.load_state_dict(plain.state_dict(), strict=False)
    assert missing
    assert not unexpected
    x, time = inputs()
    torch.testing.assert_close(told(x, time, **given()), plain(x, time), rtol=0, atol=0)


def test_without_conditions_there_is_no_parameter_more():
    assert UNet(1, 1, 2, SETTINGS, ()).state_dict().keys() == UNet(1, 1, 2, SETTINGS).state_dict().keys()


@pytest.mark.parametrize("name", [c.name for c in ALL])
def test_each_condition_moves_the_output_of_its_own_samples_alone(network, name):
    x, time = inputs()
    told = given()
    before = network(x, time, **told)
    changed = told | {name: told[name].clone()}
    changed[name][2] = changed[name][0] if name == "label" else -2 * changed[name][2]
    moved = (network(x, time, **changed) - before).abs().flatten(1).amax(1) > 1e-4
    assert moved.tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize("condition", ALL, ids=lambda c: c.name)
def test_what_is_left_out_is_null_and_dropping_makes_it_so(network, condition):
    x, time = inputs()
    told = given()
    rest = {name: value for name, value in told.items() if name != condition.name}
    null = condition.null(N, (10, 10))
    dropped = condition.dropped(told[condition.name], torch.ones(N, dtype=torch.bool))
    left_out = network(x, time, **rest)
    torch.testing.assert_close(network(x, time, **rest, **{condition.name: null}), left_out, rtol=0, atol=0)
    torch.testing.assert_close(network(x, time, **rest, **{condition.name: dropped}), left_out, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(network(x, time, **told), left_out)


def test_some_samples_of_a_batch_may_be_dropped(network):
    x, time = inputs()
    told = given()
    drop = torch.tensor([True, False, False, True, False, False])
    mixed = network(x, time, **{c.name: c.dropped(told[c.name], drop) for c in ALL})
    nothing, everything = network(x, time), network(x, time, **told)
    torch.testing.assert_close(mixed[drop], nothing[drop], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mixed[~drop], everything[~drop], rtol=1e-4, atol=1e-4)


def test_padding_of_token_sequences_changes_nothing():
    layer = randomised(CrossAttention(8, 5))
    x, tokens = torch.randn(2, 8, 3, 3), torch.randn(2, 4, 5)
    padded = torch.cat([tokens, torch.full((2, 3, 5), torch.nan)], dim=1)
    torch.testing.assert_close(layer(x, padded), layer(x, tokens))


def test_the_order_of_tokens_does_not_matter_to_attention_alone():
    layer = randomised(CrossAttention(8, 5))
    x, tokens = torch.randn(2, 8, 3, 3), torch.randn(2, 4, 5)
    torch.testing.assert_close(layer(x, tokens.flip(1)), layer(x, tokens))


def test_null_conditions_have_finite_gradients():
    """NaN stands for what is missing; none of it may reach a weight."""
    network = randomised(UNet(1, 1, 2, SETTINGS, ALL))
    x, time = inputs()
    network(x, time).square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    assert VectorMap(4, 3).missing.shape == (3,)


def test_a_condition_that_it_does_not_know_is_one_sentence(network):
    x, time = inputs()
    with pytest.raises(UndiffuseError, match="perhaps you meant 'label'"):
        network(x, time, lable=torch.zeros(N, dtype=torch.int64))
    with pytest.raises(UndiffuseError, match="unconditional"):
        UNet(1, 1, 2, SETTINGS)(x, time, label=torch.zeros(N, dtype=torch.int64))


def test_a_condition_of_another_shape_is_one_sentence(network):
    x, time = inputs()
    with pytest.raises(UndiffuseError, match=r"should have the shape \(6, 4\)"):
        network(x, time, pose=torch.zeros(N, 3))
