from __future__ import annotations

import math

import pytest
import torch

from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.diffusion import schedules
from undiffuse.diffusion.schedules import CHAINS, VE, VP, DiscreteSchedule, RectifiedFlow, SubVP, zero_terminal_snr
from undiffuse.errors import UndiffuseError
from undiffuse.factories.schedule import make_schedule


def at(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "index", "alpha_bar"),
    [
        ("linear", 0, 0.9999),
        ("linear", 1, 0.999780092072),
        ("linear", 9, 0.998105204786),
        ("linear", 99, 0.897018145675),
        ("linear", 499, 0.0785872428818),
        ("linear", 999, 4.035829765376e-5),
        ("cosine", 0, 0.999958715775),
        ("cosine", 499, 0.493843590441),
        ("cosine", 999, 2.42876690703e-9),
        ("scaled-linear", 0, 0.99915),
        ("scaled-linear", 499, 0.277669650456),
        ("scaled-linear", 999, 0.00466009851308),
        ("sigmoid", 0, 0.999850794799),
        ("sigmoid", 499, 0.301931056602),
        ("sigmoid", 999, 3.96818e-5),
    ],
)
def test_alpha_bar_of_the_papers(name, index, alpha_bar):
    assert float(CHAINS[name]().alpha_bar[index + 1]) == pytest.approx(alpha_bar, rel=1e-6 if index == 999 else 1e-11)


def test_linear_chain_facts():
    chain = schedules.linear()
    assert float(chain.betas.sum()) == pytest.approx(10.05, rel=1e-12)
    ratio = [float(q.sigma / q.alpha) for q in map(chain, at(1, 2, 10, 100, 500, 1000))]
    facts = [0.0100005000375, 0.014830923709, 0.0435705437052, 0.338828348984, 3.42413661904, 157.40728081]
    assert ratio == pytest.approx(facts, rel=1e-10)
    t = torch.arange(1, 1001, dtype=torch.float64)
    assert int(t[chain(t).snr < 1][0]) == 260


def test_vp_sde_mean_and_std():
    alpha, sigma = VP()(at(0.5, 1.0))
    assert alpha.tolist() == pytest.approx([0.2811828808, 0.0065715865], rel=1e-8)
    assert sigma.tolist() == pytest.approx([0.9596542021, 0.9999784069], rel=1e-9)


def test_sub_vp_is_vp_with_the_variance_for_a_standard_deviation():
    t = at(0.01, 0.3, 0.5, 1.0)
    vp, sub_vp = VP()(t), SubVP()(t)
    assert sub_vp.alpha.tolist() == vp.alpha.tolist()
    assert sub_vp.sigma.tolist() == pytest.approx((vp.sigma**2).tolist(), rel=1e-12)
    assert isinstance(make_schedule(DiffusionConfig(schedule="sub-vp")), SubVP)


def test_quadratic_is_scaled_linear_with_other_ends():
    assert torch.equal(schedules.quadratic(1000, 0.00085, 0.012).alpha_bar, schedules.scaled_linear().alpha_bar)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("T", [2, 4, 10, 19, 20, 100, 999, 4000])
def test_any_length_gives_a_valid_chain_of_about_the_same_ends(name, T):
    chain = CHAINS[name](T)
    assert chain.T == T
    assert bool((chain.betas > 0).all())
    assert bool((chain.betas < 1).all())
    reference = CHAINS[name](1000)
    if T >= 100 and name != "cosine":
        assert float(chain.alpha_bar[-1].log() / reference.alpha_bar[-1].log()) == pytest.approx(1, rel=0.02)


def test_integers_gather_exactly():
    chain = schedules.linear()
    t = torch.arange(0, 1001, dtype=torch.float64)
    assert torch.equal(chain(t).alpha, chain.alpha_bar.sqrt())
    assert torch.equal(chain(t).sigma, (1 - chain.alpha_bar).sqrt())


@pytest.mark.parametrize("chain", [schedules.linear(), schedules.cosine(), zero_terminal_snr(schedules.linear())])
def test_fractional_times_are_monotone_and_variance_preserving(chain):
    t = torch.linspace(0, 1000, 7777, dtype=torch.float64)
    alpha, sigma = chain(t)
    assert bool((alpha.diff() < 0).all())
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t), rtol=1e-14, atol=0)
    inner = chain(at(41.25)).log_snr
    torch.testing.assert_close(inner, 0.75 * chain(at(41)).log_snr + 0.25 * chain(at(42)).log_snr)


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.linear(),
        schedules.cosine(),
        zero_terminal_snr(schedules.linear(10)),
        schedules.linear(3),
        VP(),
        VE(),
        RectifiedFlow(),
        SubVP(),
    ],
)
def test_inverse_log_snr_is_the_inverse(schedule):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64) * schedule.t_max
    back = schedule.inverse_log_snr(schedule.log_snr(t))
    torch.testing.assert_close(back, t, rtol=1e-9, atol=1e-7 * schedule.t_max)
    assert float(schedule.inverse_log_snr(at(math.inf))) == 0
    assert float(schedule.inverse_log_snr(at(-1e9))) == pytest.approx(schedule.t_max)


def test_zero_terminal_snr_ends_in_noise_and_keeps_the_start():
    before, after = schedules.linear(), zero_terminal_snr(schedules.linear())
    assert float(after.alpha_bar[-1]) == 0
    assert float(after.alpha_bar[1]) == pytest.approx(float(before.alpha_bar[1]), rel=1e-14)
    root = before.alpha_bar[1:].sqrt()
    shift = (after.alpha_bar[1:].sqrt() - after.alpha_bar[500].sqrt()) / (root - root[499])
    assert float(shift[0]) == pytest.approx(float(shift[-1]), rel=1e-9)  # an affine map of sqrt(alpha-bar)


@pytest.mark.parametrize("schedule", [schedules.linear(7), VP(), VE()])
def test_uniform_draws_reach_both_ends_and_never_data(schedule):
    t = schedule.from_uniform(torch.linspace(0, 1 - 1e-12, 1001, dtype=torch.float64))
    assert float(t.min()) == schedule.t_min > 0
    assert float(t.max()) == pytest.approx(schedule.t_max)
    if isinstance(schedule, DiscreteSchedule):
        assert torch.equal(t.unique(), torch.arange(1, 8, dtype=torch.float64))


@pytest.mark.parametrize(
    "values",
    [[1.0], [0.9, 0.5], [1.0, 0.5, 0.5], [1.0, 0.5, 0.6], [1.0, 0.5, -0.1], [1.0, math.nan], [[1.0, 0.5]], 1.0],
)
def test_alpha_bars_that_are_no_chain_are_refused(values):
    with pytest.raises(UndiffuseError, match="fall strictly from"):
        DiscreteSchedule(torch.tensor(values, dtype=torch.float64))


@pytest.mark.parametrize("betas", [[], [0.0, 0.1], [0.1, 1.1], [math.nan], [-0.1]])
def test_betas_outside_zero_one_are_refused(betas):
    with pytest.raises(UndiffuseError, match=r"numbers in \(0, 1\]"):
        DiscreteSchedule.from_betas(torch.tensor(betas, dtype=torch.float64))


def test_user_betas_make_a_chain():
    chain = DiscreteSchedule.from_betas(at(0.1, 0.2, 0.5))
    assert chain.alpha_bar.tolist() == pytest.approx([1, 0.9, 0.72, 0.36])
    assert chain.betas.tolist() == pytest.approx([0.1, 0.2, 0.5])


def test_configurations_that_make_no_sense_are_refused():
    with pytest.raises(UndiffuseError, match="zero terminal SNR"):
        make_schedule(DiffusionConfig(schedule="vp", zero_terminal_snr=True))
    with pytest.raises(UndiffuseError, match="at least 2 timesteps"):
        make_schedule(DiffusionConfig(timesteps=1))
    with pytest.raises(UndiffuseError, match="beta_min"):
        VP(beta_min=0.0)
    with pytest.raises(UndiffuseError, match="sigma_min"):
        VE(sigma_min=2.0, sigma_max=1.0)


def test_every_named_schedule_is_made():
    for name in [*CHAINS, "vp"]:
        assert make_schedule(DiffusionConfig(schedule=name)).t_max in (1, 1000)  # type: ignore[arg-type]
