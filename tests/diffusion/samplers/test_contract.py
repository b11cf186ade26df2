"""What every sampler of the registry owes: finite results, an exact last step, an explicit state, an honest price."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

from undiffuse.config.sampling import Solver
from undiffuse.diffusion import schedules
from undiffuse.diffusion.denoiser import NetworkDenoiser
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.parameterization import ROWS, Parameterization, edm
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.diffusion.schedules import VE, VP, RectifiedFlow, Schedule, SubVP, zero_terminal_snr
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, Recording, Sampler, start, trajectory
from undiffuse.errors import UndiffuseError
from undiffuse.factories.sampler import make_sampler

POINTS = torch.tensor([[0.8, -0.2], [-0.5, 0.5], [0.1, -0.9]], dtype=torch.float64)
SCHEDULES = {
    "linear": schedules.linear(),
    "cosine": schedules.cosine(),
    "zero-snr": zero_terminal_snr(schedules.linear()),
    "vp": VP(),
    "sub-vp": SubVP(),
    "ve": VE(),
    "flow": RectifiedFlow(),
}
PARAMETERIZATIONS = {**ROWS, "edm": edm()}
ODD_SPACING = {"ve": "karras", "vp": "log-snr"}  # the others walk "trailing"


class PerfectNetwork(torch.nn.Module):
    """A network that has learned the ideal prediction for POINTS (its time input is the log-SNR, to find t again)."""

    def __init__(self, schedule: Schedule, row: Parameterization) -> None:
        super().__init__()
        self.ideal, self.row = MixtureDenoiser(schedule, POINTS), row

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        angle = time.double() * (torch.pi / 2000)
        t = self.ideal.schedule.inverse_log_snr(-2 * angle.tan().log())
        q_t = self.ideal.schedule(t)
        prediction = self.ideal(x / expand(self.row.input_scale(q_t), x), t)
        return self.row.mix(prediction.x0, prediction.eps, q_t)


def sampler_for(name: str, steps: int = 5) -> Sampler:
    return make_sampler(Solver(sampler=name, steps=steps, tolerance=1e-3))


def walk(name: str, schedule: str, parameterization: str, steps: int) -> torch.Tensor | None:
    """Samples of a perfect network, or None where the parameterization refuses the schedule."""
    process, row = SCHEDULES[schedule], PARAMETERIZATIONS[parameterization]
    try:
        denoiser = NetworkDenoiser(PerfectNetwork(process, row), process, row, "log-snr")
    except UndiffuseError:
        return None
    noise = Noise(0, range(4))
    times = make_timesteps(process, steps, ODD_SPACING.get(schedule, "trailing"))
    x = start(denoiser, (2,), noise)
    return list(trajectory(denoiser, sampler_for(name, steps), times, x, noise))[-1]


def check(x: torch.Tensor | None) -> None:
    if x is not None:
        assert x.dtype == torch.float32
        assert bool(x.isfinite().all())
        assert float(x.abs().max()) < 1.5


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_few_steps_are_finite_and_end_in_range(name, schedule):
    for steps in (1, 2, 5):
        check(walk(name, schedule, "v", steps))


@pytest.mark.slow
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_parameterization_on_every_schedule_is_finite_and_ends_in_range(name, parameterization):
    for schedule in SCHEDULES:
        for steps in (1, 2, 3, 5):
            check(walk(name, schedule, parameterization, steps))


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("schedule", ["linear", "zero-snr"])
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "ode"])  # that one goes on to t_min before
def test_the_step_to_data_is_the_x0_prediction(name, schedule, steps):
    data = MixtureDenoiser(SCHEDULES[schedule], POINTS, 0.1)
    times = make_timesteps(data.schedule, steps, "trailing")
    x = torch.full((1, 2), 0.3, dtype=torch.float64)
    sampler = make_sampler(Solver(sampler=name, churn=0.0))
    before, last = [x, *trajectory(data, sampler, times, x, Noise(0, range(1)))][-2:]
    torch.testing.assert_close(last, data(before, times[-2]).x0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_sampler_serves_two_trajectories_at_once(name):
    data, sampler = MixtureDenoiser(SCHEDULES["linear"], POINTS.float()), sampler_for(name)

    def begin(seed: int) -> Iterator[torch.Tensor]:
        noise = Noise(seed, range(2))
        return trajectory(data, sampler, make_timesteps(data.schedule, 4), start(data, (2,), noise), noise)

    alone = [torch.stack(list(begin(seed))) for seed in (1, 2)]
    together = zip(*zip(begin(1), begin(2), strict=True), strict=True)  # a step of the one, a step of the other
    assert all(torch.equal(torch.stack(steps), path) for steps, path in zip(together, alone, strict=True))


@pytest.mark.parametrize("info", SAMPLERS.values(), ids=lambda info: info.name)
def test_evaluations_and_noise_are_as_described(info):
    counting = Recording(MixtureDenoiser(SCHEDULES["linear"], POINTS.float()))
    sampler, state = sampler_for(info.name), None
    times = torch.tensor([900.0, 700.0, 500.0, 300.0, 100.0], dtype=torch.float64)
    x, noise = torch.full((1, 2), 0.3), Noise(0, range(1))
    before = noise.generators[0].get_state()
    state, counts = sampler.init(), []
    for t, s in pairwise(times):
        counting.evaluations = 0
        x, state = sampler.step(counting, x, t, s, state, noise)
        counts.append(counting.evaluations)
    if info.evaluations_per_step is not None:
        assert counts[1:] == [info.evaluations_per_step] * 3
    assert info.stochastic == (not torch.equal(before, noise.generators[0].get_state()))
    assert info.order == sampler.order


def test_adaptive_steps_of_a_sample_are_its_own():
    """Its bits are the same beside others that need more steps, as long as the batch has one size."""
    data, t = MixtureDenoiser(VP(), POINTS.float()), torch.tensor(1.0, dtype=torch.float64)
    sampler = make_sampler(Solver(sampler="ode", tolerance=1e-4))
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    ends = [sampler.step(data, torch.stack([x[0], other]), t, 0 * t, None, Noise(0, range(2)))[0] for other in x[1:]]
    assert torch.equal(ends[0][0], ends[1][0])
    assert not torch.equal(ends[0][1], ends[1][1])


def test_misspelt_sampler_gets_a_suggestion():
    with pytest.raises(UndiffuseError, match="dpm\\+\\+2m"):
        make_sampler(Solver(sampler="dpm+2m"))
