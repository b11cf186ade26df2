"""Learning rates have their closed forms, and the optimiser is the textbook's."""

import math

import pytest
import torch
from torch import nn

from undiffuse.config.training import OptimizerConfig
from undiffuse.training.optim.optimizer import (
    clip_gradient,
    expected_optimizer_tensors,
    learning_rate,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_learning_rate,
)


@pytest.mark.parametrize("decay", ["constant", "cosine", "linear", "wsd", "inverse-sqrt"])
def test_the_warm_up_is_a_straight_line_to_the_peak(decay):
    config = OptimizerConfig(lr=1.0, warmup=4, decay=decay)
    assert [learning_rate(config, step, 100) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("constant", [2.0] * 9),
        ("linear", [2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [2.0, 1 + math.cos(math.pi / 8), 1 + math.sqrt(0.5), 1 + math.sin(math.pi / 8), 1.0]),
        ("wsd", [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0]),
        ("inverse-sqrt", [2 * math.sqrt(2 / 3), math.sqrt(2), 2 * math.sqrt(2 / 5)]),
    ],
)
def test_the_decays_after_two_steps_of_warm_up_in_ten(decay, expected):
    config = OptimizerConfig(lr=2.0, warmup=2, decay=decay)
    found = [learning_rate(config, step, 10) for step in range(2, 2 + len(expected))]
    assert found == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("decay", ["linear", "cosine", "wsd"])
def test_the_decay_reaches_zero_after_the_last_step_and_not_before(decay):
    config = OptimizerConfig(lr=1.0, warmup=3, decay=decay)
    assert learning_rate(config, 999, 1000) > 0
    assert learning_rate(config, 1000, 1000) == 0


def test_without_warm_up_the_first_step_has_the_peak_rate():
    for decay in ("constant", "linear", "cosine", "wsd", "inverse-sqrt"):
        assert learning_rate(OptimizerConfig(lr=0.3, decay=decay), 0, 10) == 0.3


def test_a_warm_up_longer_than_the_training_is_a_line_all_along():
    config = OptimizerConfig(lr=1.0, warmup=10, decay="cosine")
    assert [learning_rate(config, step, 5) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def linear() -> nn.Linear:
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -1.0]]))
        layer.bias.fill_(0.25)
    return layer


def step_with_gradient(layer, optimizer, gradient):
    for parameter in layer.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step()


def test_the_first_step_of_adam_is_the_rate_times_the_sign():
    layer = linear()
    step_with_gradient(layer, make_optimizer(OptimizerConfig(lr=0.1), layer), -7.0)
    torch.testing.assert_close(layer.weight.data, torch.tensor([[0.6, -0.9]]))


def test_adamw_decays_the_weights_beside_the_step():
    layer = linear()
    config = OptimizerConfig(optimizer="adamw", lr=0.1, weight_decay=0.5)
    step_with_gradient(layer, make_optimizer(config, layer), 3.0)
    torch.testing.assert_close(layer.weight.data, torch.tensor([[0.5 * 0.95 - 0.1, -0.95 - 0.1]]))


def test_the_betas_are_those_of_the_settings():
    layer = linear()
    optimizer = make_optimizer(OptimizerConfig(beta1=0.5, beta2=0.75), layer)
    step_with_gradient(layer, optimizer, 2.0)
    state = optimizer.state[layer.bias]
    torch.testing.assert_close((state["exp_avg"], state["exp_avg_sq"]), (torch.tensor([1.0]), torch.tensor([1.0])))


def test_a_rate_that_is_set_is_the_rate_of_the_step():
    layer = linear()
    optimizer = make_optimizer(OptimizerConfig(lr=0.1), layer)
    set_learning_rate(optimizer, 0.0)
    step_with_gradient(layer, optimizer, 1.0)
    assert layer.bias.item() == 0.25


class Told(nn.Module):
    """A matrix inside a network, and a table of classes beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2, bias=False)
        self.told = nn.ModuleDict({"class": nn.Embedding(3, 2)})
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_what_embeds_conditions_is_moved_by_a_rate_in_units_of_the_others(name):
    """The first step of Adam is the rate times the sign of the gradient, of any size."""
    network, plain = Told(), Told()
    optimizer = make_optimizer(OptimizerConfig(optimizer=name, lr=0.5, condition_lr=5.0), network)
    for one, made in ((network, optimizer), (plain, make_optimizer(OptimizerConfig(optimizer=name, lr=0.1), plain))):
        set_learning_rate(made, 0.1)
        step_with_gradient(one, made, -3.0)
    torch.testing.assert_close(network.told["class"].weight.data, torch.full((3, 2), 0.5))
    torch.testing.assert_close(plain.told["class"].weight.data, torch.full((3, 2), 0.1))
    assert torch.equal(network.inner.weight, plain.inner.weight)
    assert len(optimizer.param_groups) == 1 + len(make_optimizer(OptimizerConfig(optimizer=name), plain).param_groups)


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_a_saved_optimiser_with_a_rate_for_conditions_goes_on_as_if_nothing_had_happened(name):
    config = OptimizerConfig(optimizer=name, lr=0.1, condition_lr=4.0)
    first, second = Told(), Told()
    one, two = make_optimizer(config, first), make_optimizer(config, second)
    for gradient in (1.0, -3.0):
        step_with_gradient(first, one, gradient)
    saved = {key: tensor.clone() for key, tensor in optimizer_tensors(one, first).items()}
    second.load_state_dict(first.state_dict())
    load_optimizer_tensors(two, second, saved)
    step_with_gradient(first, one, 2.0)
    step_with_gradient(second, two, 2.0)
    assert torch.equal(first.told["class"].weight, second.told["class"].weight)


def test_clipping_returns_the_norm_before_and_leaves_at_most_the_limit():
    layer = linear()
    layer.weight.grad = torch.tensor([[3.0, 0.0]])
    layer.bias.grad = torch.tensor([4.0])
    assert clip_gradient(layer.parameters(), None).item() == 5.0
    assert layer.bias.grad.item() == 4.0
    assert clip_gradient(layer.parameters(), 1.0).item() == 5.0
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.6, 0.0]]))
    assert clip_gradient(layer.parameters(), 1.0).item() == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_norm_of_a_gradient_that_is_not_finite_is_not_finite(bad):
    layer = linear()
    layer.weight.grad = torch.tensor([[1.0, bad]])
    layer.bias.grad = torch.tensor([4.0])
    assert not torch.isfinite(clip_gradient(layer.parameters(), 1.0))


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_a_saved_optimiser_goes_on_as_if_nothing_had_happened(name):
    config = OptimizerConfig(optimizer=name, lr=0.1)
    first, second = linear(), linear()
    one, two = make_optimizer(config, first), make_optimizer(config, second)
    assert optimizer_tensors(one, first) == {}
    for gradient in (1.0, -3.0):
        step_with_gradient(first, one, gradient)
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(one, first).items()}
    expected = expected_optimizer_tensors(one, first)
    assert {name: (t.shape, t.dtype) for name, t in saved.items()} == {
        n: (t.shape, t.dtype) for n, t in expected.items()
    }
    second.load_state_dict(first.state_dict())
    load_optimizer_tensors(two, second, saved)
    step_with_gradient(first, one, 2.0)
    step_with_gradient(second, two, 2.0)
    assert torch.equal(first.weight, second.weight)
    assert saved["step/bias"].item() == 2  # the file's tensors are not the optimiser's
