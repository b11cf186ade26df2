"""The steps of students: what their samples' variance is, what they ask of a denoiser, and what they draw."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import pytest
import torch
from torch import Tensor

from undiffuse.diffusion import schedules
from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.exact_denoisers import BasisNoise, MixtureDenoiser, gaussian_denoiser
from undiffuse.diffusion.gaussian import as_times
from undiffuse.diffusion.samplers import DDIM, STUDENT_SAMPLERS, JumpStep, Renoise
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, Recording, trajectory

COSINE = schedules.cosine()


def time(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def factor(t: float, s: float) -> float:
    """Of a DDIM step on data N(0, 0.25)."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = COSINE(t), COSINE(s)
    return float((alpha_s * alpha_t / 4 + sigma_s * sigma_t) / (alpha_t**2 / 4 + sigma_t**2))


class Consistent:
    """A student of consistency without error: x0 is where the teacher's N steps end, from each of its times."""

    schedule = COSINE

    def __init__(self, steps: int) -> None:
        self.walk = make_timesteps(COSINE, steps).tolist()

    def slope(self, t: float) -> float:
        return prod(factor(*step) for step in pairwise(self.walk[self.walk.index(t) :]))

    def __call__(self, x_t: Tensor, t, **conditions: Tensor) -> Prediction:
        return Prediction(x_t, x_t).with_x0(self.slope(float(t)) * x_t, x_t, COSINE(as_times(t)))


def variance(denoiser, sampler, times: Tensor) -> float:
    """Exact: the start and each draw of noise are rows of their own, and all steps are linear."""
    x = torch.zeros(len(times) + 1, 1, dtype=torch.float64)
    x[0] = 1
    *_, x = trajectory(denoiser, sampler, times, x, BasisNoise())
    return float(x.square().sum())


@pytest.mark.parametrize(
    ("steps", "stds", "limit"),
    [(16, [0.453023929, 0.451017105], 0.450618457), (4, [0.331433346, 0.329981113], 0.329826599)],
)
def test_renoising_at_the_middle_has_the_variance_of_the_equation(steps, stds, limit):
    """var' = A^2 (alpha^2 var + sigma^2), A the student's slope at t = 500; more evaluations repair nothing."""
    student = Consistent(steps)
    for count, std in enumerate(stds):
        times = time(1000, *[500] * count, 0)
        assert variance(student, Renoise(), times) ** 0.5 == pytest.approx(std, abs=6e-10)
    q, slope = COSINE(500), student.slope(500)
    expected = stds[0] ** 2
    for _ in range(60):
        expected = slope**2 * float(q.alpha**2 * expected + q.sigma**2)
    assert expected**0.5 == pytest.approx(limit, abs=6e-10)
    assert variance(student, Renoise(), time(1000, *[500] * 30, 0)) ** 0.5 == pytest.approx(limit, abs=6e-10)


@pytest.mark.parametrize("fresh", [0.0, 0.3, 1.0])
def test_part_of_the_noise_is_new(fresh):
    """x_s = alpha_s x0 + sigma_s (sqrt(1 - g^2) eps + g z), its variance in closed form for data N(0, 0.25)."""
    denoiser, (t, s) = gaussian_denoiser(COSINE), (700.0, 400.0)
    x = torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64)
    (found,) = trajectory(denoiser, Renoise(fresh), time(t, s), x, BasisNoise())
    seen, q_s = denoiser(x[:1], time(t)[0]), COSINE(s)
    kept = float(q_s.alpha * seen.x0 + q_s.sigma * (1 - fresh**2) ** 0.5 * seen.eps)
    assert found[:, 0].tolist() == pytest.approx([kept, float(q_s.sigma) * fresh, 0], rel=1e-12)


def test_without_new_noise_it_is_ddim():
    denoiser = MixtureDenoiser(COSINE, time(-1.0, 1.0)[:, None], 0.1)
    x, times = time(0.1, 0.5, -2.0)[:, None], make_timesteps(COSINE, 7)
    noise = Noise(0, range(3))
    before = noise.generators[0].get_state()
    walks = [list(trajectory(denoiser, who, times, x, noise)) for who in (Renoise(0.0), DDIM())]
    for one, two in zip(*walks, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
    assert torch.equal(noise.generators[0].get_state(), before)


def test_with_new_noise_alone_only_x0_is_remembered():
    """What eps a student sees does not matter."""

    class OtherNoise(Consistent):
        def __call__(self, x_t: Tensor, t, **conditions: Tensor) -> Prediction:
            return Prediction(super().__call__(x_t, t).x0, torch.full_like(x_t, 1e3))

    x, times = time(0.4, -1)[:, None], time(1000, 750, 250, 0)
    one, two = (list(trajectory(who(4), Renoise(), times, x, Noise(3, range(2)))) for who in (Consistent, OtherNoise))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("name", STUDENT_SAMPLERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_step_to_data_is_the_x0_that_was_seen_and_draws_nothing(name, dtype):
    seen = Recording(MixtureDenoiser(COSINE, time(-1.0, 1.0)[:, None], 0.1))
    noise, x = Noise(0, range(2)), torch.tensor([[0.3], [1.2]], dtype=dtype)
    before = noise.generators[0].get_state()
    (found,) = trajectory(seen, STUDENT_SAMPLERS[name].make(), time(500, 0), x, noise)
    assert torch.equal(found, seen.take().x0)
    assert found.dtype == dtype
    assert torch.equal(noise.generators[0].get_state(), before)


@pytest.mark.parametrize("entry", STUDENT_SAMPLERS.values(), ids=lambda entry: entry.name)
def test_evaluations_and_noise_are_as_described(entry):
    counting, noise = Recording(MixtureDenoiser(COSINE, time(-1.0, 1.0)[:, None], 0.1)), Noise(0, range(1))
    before = noise.generators[0].get_state()
    list(trajectory(counting, entry.make(), time(900, 600, 300), torch.full((1, 1), 0.3), noise))
    assert counting.evaluations == 2 * entry.evaluations_per_step
    assert entry.stochastic == (not torch.equal(before, noise.generators[0].get_state()))


def test_a_jump_is_told_where_it_ends_and_goes_there():
    told = []

    class Jumping:
        schedule = COSINE

        def __call__(self, x_t: Tensor, t, **conditions: Tensor) -> Prediction:
            told.append((float(t), float(conditions["until"]), sorted(conditions)))
            return Prediction(0.5 * x_t, 0.25 * x_t)

    times = time(1000, 500, 250, 0)
    walked = list(trajectory(Jumping(), JumpStep(), times, torch.ones(2, 1, dtype=torch.float64), Noise(0, range(2))))
    assert told == [(t, s, ["until"]) for t, s in pairwise(times.tolist())]
    x = 1.0
    for s, found in zip((500, 250, 0), walked, strict=True):
        alpha, sigma = (float(value) for value in COSINE(s))
        x = alpha * 0.5 * x + sigma * 0.25 * x
        assert found[:, 0].tolist() == pytest.approx([x, x], rel=1e-12)


def test_of_a_denoiser_that_does_not_listen_a_jump_is_a_ddim_step():
    denoiser, times = gaussian_denoiser(COSINE), make_timesteps(COSINE, 4)
    x = time(0.4, -1)[:, None]
    walks = [list(trajectory(denoiser, who, times, x, Noise(0, range(2)))) for who in (JumpStep(), DDIM())]
    for one, two in zip(*walks, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
