from __future__ import annotations

import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.schedules import VE, VP, RectifiedFlow
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.errors import UndiffuseError

CHAIN = schedules.linear()


def indices(steps, spacing):
    times = make_timesteps(CHAIN, steps, spacing)
    assert float(times[-1]) == 0
    return [int(t) - 1 for t in times[:-1]]


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("leading", [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]),
        ("linspace", [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]),
        ("trailing", [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]),
        ("quadratic", [800, 632, 483, 355, 246, 158, 88, 39, 9, 0]),
    ],
)
def test_ten_steps_of_a_thousand(spacing, expected):
    assert indices(10, spacing) == expected


def test_linspace_is_openais_sections():
    assert indices(25, "linspace")[::-1][:5] == [0, 42, 83, 125, 166]
    assert indices(25, "linspace")[:2] == [999, 957]
    assert indices(250, "linspace")[::-1][:3] == [0, 4, 8]
    assert indices(250, "linspace")[:3] == [999, 995, 991]


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace", "quadratic"])
def test_any_number_of_steps_up_to_the_chain_is_a_decreasing_grid_of_integers(spacing):
    for chain in (CHAIN, schedules.linear(7)):
        for steps in range(1, chain.T + 1):
            times = make_timesteps(chain, steps, spacing)
            assert len(times) == steps + 1
            assert float(times.diff().max()) <= -1
            assert torch.equal(times, times.round())
            assert chain.T >= float(times[0]) >= 1
        assert torch.equal(make_timesteps(chain, chain.T, spacing), torch.arange(chain.T, -1, -1, dtype=torch.float64))


@pytest.mark.parametrize(
    "schedule", [CHAIN, schedules.zero_terminal_snr(CHAIN), schedules.linear(7), VP(), VE(), RectifiedFlow()]
)
@pytest.mark.parametrize("spacing", ["log-snr", "karras"])
@pytest.mark.parametrize("steps", [2, 3, 20, 500])
def test_grids_even_in_noise_span_the_process(schedule, spacing, steps):
    times = make_timesteps(schedule, steps, spacing)
    assert len(times) == steps + 1
    assert bool((times.diff() < 0).all())
    assert float(times[0]) == pytest.approx(schedule.t_max)
    assert float(times[-2]) == pytest.approx(schedule.t_min)


def test_log_snr_grid_is_even_in_log_snr():
    gaps = CHAIN.log_snr(make_timesteps(CHAIN, 20, "log-snr")[:-1]).diff()
    torch.testing.assert_close(gaps, gaps.mean().expand(19))


def test_karras_grid_is_karras():
    """Their eq. 5 on their own process: rho 7, 0.002 .. 80, N = 18."""
    sigma = make_timesteps(VE(), 18, "karras")[:-1]
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    torch.testing.assert_close(sigma, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", [VP(), VE()])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace", "quadratic"])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_continuous_processes_have_grids_too(schedule, spacing, steps):
    times = make_timesteps(schedule, steps, spacing)
    assert len(times) == steps + 1
    assert bool((times.diff() < 0).all())
    assert float(times[0]) == pytest.approx(schedule.t_max)


def test_impossible_requests_are_one_sentence():
    with pytest.raises(UndiffuseError, match="use at most 1000"):
        make_timesteps(CHAIN, 1001, "trailing")
    with pytest.raises(UndiffuseError, match="at least 1 step"):
        make_timesteps(CHAIN, 0, "trailing")
    with pytest.raises(UndiffuseError, match="perhaps you meant 'trailing'"):
        make_timesteps(CHAIN, 10, "trialing")
