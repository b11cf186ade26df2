"""The averages are what their closed form says, and of parameters only."""

import pytest
import torch
from torch import nn

from undiffuse.config.training import EMAConfig
from undiffuse.training.optim.ema import ema_averages, ema_rate, power_averages
from undiffuse.training.optim.power_ema import exponent


class WithTables(nn.Module):
    """A parameter, a floating table and a counter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.register_buffer("table", torch.tensor([0.25, 0.5]))
        self.register_buffer("count", torch.tensor(3))


def test_the_average_of_a_sequence_is_its_weighted_sum():
    network, rate = WithTables(), 0.9
    ema = ema_averages(network, EMAConfig(ema=(rate,), ema_warmup=False))
    values = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
    for step, value in enumerate(values):
        network.weight.data.copy_(value)
        ema.update(step)
    # rate^7 start + (1 - rate) sum_k rate^(6 - k) value_k
    weights = (1 - rate) * rate ** torch.arange(6, -1, -1, dtype=torch.float64)
    expected = rate**7 * torch.tensor([1.0, -2.0], dtype=torch.float64) + weights @ values.double()
    torch.testing.assert_close(ema.state_dict(rate)["weight"].double(), expected, rtol=1e-6, atol=1e-6)


def test_the_warm_up_weighs_step_n_by_nine_over_ten_plus_n():
    assert [ema_rate(0.9999, n, True) for n in (0, 1, 10)] == [1 / 10, 2 / 11, 11 / 20]
    assert ema_rate(0.9, 80, True) == 0.9  # 81 / 90, the last step at which the warm-up is not above the rate
    assert ema_rate(0.9, 10_000, True) == 0.9
    assert ema_rate(0.9, 0, False) == 0.9
    network = WithTables()
    ema = ema_averages(network, EMAConfig(ema=(0.9999,)))
    network.weight.data.fill_(11.0)
    ema.update(0)
    torch.testing.assert_close(ema.state_dict(0.9999)["weight"], torch.tensor([10.0, 9.7]))


def test_several_rates_are_kept_side_by_side():
    network = WithTables()
    ema = ema_averages(network, EMAConfig(ema=(0.5, 0.75), ema_warmup=False))
    network.weight.data.fill_(3.0)
    ema.update(0)
    torch.testing.assert_close(ema.state_dict(0.5)["weight"], torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(ema.state_dict(0.75)["weight"], torch.tensor([1.5, -0.75]))


def test_tables_and_counters_are_copied_never_averaged():
    network = WithTables()
    ema = ema_averages(network, EMAConfig(ema=(0.9,)))
    network.table.copy_(torch.tensor([4.0, 8.0]))
    network.count.fill_(5)
    for step in range(3):
        ema.update(step)
    state = ema.state_dict(0.9)
    assert state["table"].tolist() == [4.0, 8.0]
    assert state["count"].item() == 5
    assert state["count"].dtype == torch.int64
    assert list(state) == list(network.state_dict())
    assert [len(tensors) for tensors in ema.averages.values()] == [1]


def test_the_average_of_a_bfloat16_network_is_float32_and_moves():
    network = WithTables().to(torch.bfloat16)
    ema = ema_averages(network, EMAConfig(ema=(0.9999,), ema_warmup=False))
    network.weight.data.fill_(2.0)
    ema.update(0)
    average = ema.state_dict(0.9999)["weight"]
    assert average.dtype == torch.float32
    torch.testing.assert_close(average, torch.tensor([1.0001, -1.9996]))


@pytest.mark.parametrize("rate", [0.5, 0.75])
def test_a_saved_average_comes_back_and_goes_on_alike(rate):
    network, config = WithTables(), EMAConfig(ema=(0.5, 0.75))
    first, second = ema_averages(network, config), ema_averages(network, config)
    network.weight.data.mul_(3)
    first.update(0)
    second.load_state_dict(rate, {name: tensor.clone() for name, tensor in first.state_dict(rate).items()})
    first.update(1)
    second.update(1)
    assert torch.equal(first.state_dict(rate)["weight"], second.state_dict(rate)["weight"])


def test_updating_leaves_the_network_alone():
    network = WithTables()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    ema_averages(network, EMAConfig()).update(0)
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_power_average_weighs_each_step_by_the_integral_of_its_profile():
    network, std = WithTables(), 0.1
    powers = power_averages(network, EMAConfig(ema_std=(std,)))
    values = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    for step, value in enumerate(values):
        network.weight.data.copy_(value)
        powers.update(step)
    # integral of (gamma + 1) i^gamma / 9^(gamma + 1) from i - 1 to i: the start has no part in it
    cumulated = (torch.arange(10, dtype=torch.float64) / 9) ** (exponent(std) + 1)
    expected = cumulated.diff() @ values.double()
    torch.testing.assert_close(powers.state_dict(std)["weight"].double(), expected, rtol=1e-6, atol=1e-6)
