"""Every sampler on every schedule and every grid, down to one step: what ends meet by a rounding is met here."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
import torch

from undiffuse.config.sampling import Solver
from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.diffusion.schedules import (
    CHAINS,
    VE,
    VP,
    DiscreteSchedule,
    RectifiedFlow,
    Schedule,
    SubVP,
    zero_terminal_snr,
)
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, start, trajectory
from undiffuse.errors import UndiffuseError
from undiffuse.factories.sampler import make_sampler

SPACINGS = ("leading", "trailing", "linspace", "quadratic", "log-snr", "karras")
CONTINUOUS: dict[str, Schedule] = {"vp": VP(), "sub-vp": SubVP(), "ve": VE(), "flow": RectifiedFlow()}
LENGTHS = (2, 3, 4, 7, 50, 100, 1000, 2000, 4000)
POINTS = torch.tensor([[0.8, -0.2], [-0.5, 0.5], [0.1, -0.9]])


SEVERAL = ("linear-2-zero", "cosine-7", "quadratic-7-zero", "scaled-linear-50", "sigmoid-1000-zero")


@cache
def chains(*lengths: int) -> dict[str, Schedule]:
    plain = {f"{name}-{T}": make(T) for name, make in CHAINS.items() for T in lengths}
    return plain | {f"{name}-zero": zero_terminal_snr(chain) for name, chain in plain.items()}


class Within:
    """A denoiser that no one may ask outside the times that a network has learned."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule, self.ideal = schedule, MixtureDenoiser(schedule, POINTS)

    def __call__(self, x_t: torch.Tensor, t: torch.Tensor, **conditions: torch.Tensor) -> Prediction:
        assert self.schedule.t_min <= float(t.min()) <= float(t.max()) <= self.schedule.t_max
        return self.ideal(x_t, t)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("length", [*LENGTHS, None])
def test_every_grid_falls_within_the_process_and_ends_in_data(length, spacing):
    for schedule, steps in product((chains(length) if length else CONTINUOUS).values(), (1, 2, 3, 7, 50)):
        if isinstance(schedule, DiscreteSchedule) and steps > schedule.T and spacing not in ("log-snr", "karras"):
            continue
        times = make_timesteps(schedule, steps, spacing)
        assert len(times) == steps + 1
        assert float(times[-1]) == 0
        assert bool((times.diff() < 0).all())
        assert schedule.t_min <= float(times[-2]) <= float(times[0]) <= schedule.t_max


def test_even_grids_of_thousands_of_steps_on_a_continuous_process_stay_within_it():
    for schedule in CONTINUOUS.values():
        times = make_timesteps(schedule, 2500, "trailing")
        assert bool((times.diff() < 0).all())
        assert float(times[-2]) >= min(schedule.t_min, schedule.t_max / 2500)


def test_more_steps_than_there_are_times_are_one_sentence():
    with pytest.raises(UndiffuseError, match=r"no 2 different times between 1, .* and 1, .* fewer `steps`"):
        make_timesteps(DiscreteSchedule([1.0, 0.3]), 2, "karras")
    assert make_timesteps(DiscreteSchedule([1.0, 0.0]), 1, "karras").tolist() == [1, 0]


def check_walks(name: str, schedule: Schedule, spacings: tuple[str, ...]) -> None:
    """The data are three points, so that x0 is among them whatever x_t is: there every walk must end."""
    denoiser = Within(schedule)
    for spacing in spacings:
        for steps in (2, 7) if name == "ode" else (1, 2, 3, 7):  # that one is slow on such data
            if isinstance(schedule, DiscreteSchedule) and steps > schedule.T and spacing not in ("log-snr", "karras"):
                continue
            sampler = make_sampler(Solver(sampler=name, steps=steps, tolerance=1e-2))
            noise = Noise(0, range(2))
            times = make_timesteps(schedule, steps, spacing)
            *_, x = trajectory(denoiser, sampler, times, start(denoiser, (2,), noise), noise)
            low, high = POINTS.min() - 1e-4, POINTS.max() + 1e-4
            assert bool(((x >= low) & (x <= high)).all()), (spacing, steps, x)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_walks_from_end_to_end_where_grids_met_their_ends_by_a_rounding(name):
    check_walks(name, CHAINS["scaled-linear"](100), ("karras",))
    check_walks(name, CHAINS["cosine"](7), ("log-snr",))
    check_walks(name, zero_terminal_snr(CHAINS["linear"](2)), ("karras", "trailing"))
    check_walks(name, VE(), ("quadratic",))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [*SEVERAL, *CONTINUOUS])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_walks_every_grid_from_end_to_end(name, schedule):
    check_walks(name, {**chains(2, 7, 50, 1000), **CONTINUOUS}[schedule], SPACINGS)


def test_two_times_one_rounding_apart_are_no_way_for_the_adaptive_solver():
    schedule = CHAINS["scaled-linear"](100)
    x, t = torch.full((1, 2), 0.3), torch.tensor(1 + 1e-14, dtype=torch.float64)
    denoiser = MixtureDenoiser(schedule, POINTS)
    x_0, _ = make_sampler(Solver(sampler="ode", tolerance=0.01)).step(denoiser, x, t, 0 * t, None, Noise(0, range(1)))
    torch.testing.assert_close(x_0, denoiser(x, t).x0, rtol=0, atol=1e-5)


def test_a_tolerance_that_cannot_be_met_and_numbers_that_are_none_are_one_sentence_each(monkeypatch):
    schedule = VP()

    class Broken:
        def __init__(self, value: float) -> None:
            self.schedule, self.value = schedule, value

        def __call__(self, x_t: torch.Tensor, t: torch.Tensor, **conditions: torch.Tensor) -> Prediction:
            return Prediction(torch.full_like(x_t, self.value), torch.full_like(x_t, self.value))

    monkeypatch.setattr("undiffuse.diffusion.dormand_prince.MOST", 20)
    t, sampler = torch.tensor(1.0, dtype=torch.float64), make_sampler(Solver(sampler="ode", tolerance=1e-30))
    with pytest.raises(UndiffuseError, match="below `tolerance=1e-30`: raise it"):
        sampler.step(MixtureDenoiser(schedule, POINTS), torch.ones(1, 2), t, t / 2, None, Noise(0, range(1)))
    with pytest.raises(UndiffuseError, match=r"no longer finite|`tolerance"):
        sampler.step(Broken(float("nan")), torch.ones(1, 2), t, t / 2, None, Noise(0, range(1)))
