from __future__ import annotations

import pytest
import torch

from undiffuse.config.training import ObjectiveConfig
from undiffuse.diffusion import schedules
from undiffuse.diffusion.losses import LossSecondMoment
from undiffuse.diffusion.schedules import VP
from undiffuse.errors import UndiffuseError
from undiffuse.factories.loss import make_time_law

T = 8
CHAIN = schedules.linear(T)
SIZE = torch.tensor([64.0, 1.0, 2.0, 4.0, 1.0, 1.0, 1.0, 6.0], dtype=torch.float64)


def taught(history=3) -> LossSecondMoment:
    law = LossSecondMoment(T, history, uniform=0.0)
    for _ in range(history):
        law.observe(torch.arange(1, T + 1, dtype=torch.float64), SIZE)
    return law


def test_times_are_uniform_until_every_one_is_known():
    law = LossSecondMoment(T, history=3)
    assert torch.equal(law.probability(), torch.full((T,), 1 / T, dtype=torch.float64))
    for _ in range(3):
        law.observe(torch.arange(1, T, dtype=torch.float64), SIZE[:-1])
    assert torch.equal(law.weight(torch.tensor([1.0, 8.0])), torch.ones(2, dtype=torch.float64))


def test_times_are_drawn_in_proportion_to_the_size_of_their_loss():
    t = taught().draw(CHAIN, 80_000, torch.Generator().manual_seed(0))
    shares = torch.bincount(t.long(), minlength=T + 1)[1:] / 80_000
    torch.testing.assert_close(shares.double(), SIZE / SIZE.sum(), atol=0.01, rtol=0)


def test_the_weighted_mean_is_the_uniform_one_with_less_variance():
    law, generator = taught(), torch.Generator().manual_seed(0)
    t = law.draw(CHAIN, 1000, generator)
    weighted = law.weight(t) * SIZE[t.long() - 1]
    # Losses in exact proportion to their probability: every single draw is the mean.
    torch.testing.assert_close(weighted, SIZE.mean().expand(1000))


def test_only_the_last_losses_count():
    law = taught()
    for _ in range(3):
        law.observe(torch.arange(1, T + 1, dtype=torch.float64), torch.ones(T))
    torch.testing.assert_close(law.probability(), torch.full((T,), 1 / T, dtype=torch.float64))


def test_no_time_is_forgotten():
    law = LossSecondMoment(T, 1, uniform=0.01)
    law.observe(torch.arange(1, T + 1, dtype=torch.float64), torch.tensor([1.0] + [0.0] * (T - 1)))
    assert float(law.probability().min()) == pytest.approx(0.01 / T)
    assert float(law.probability().sum()) == pytest.approx(1)


def test_it_is_the_law_of_a_discrete_chain():
    law = make_time_law(ObjectiveConfig(time_law="loss-second-moment"), CHAIN)
    assert isinstance(law, LossSecondMoment)
    with pytest.raises(UndiffuseError, match="discrete chain"):
        make_time_law(ObjectiveConfig(time_law="loss-second-moment"), VP())
