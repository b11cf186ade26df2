"""Distribution matching against Gaussians, where both scores are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from undiffuse.diffusion import MinSNR, Objective, Prediction, V, cosine, gaussian_denoiser
from undiffuse.diffusion.distillation import Between, DistributionMatching
from undiffuse.diffusion.distillation.distribution import CRITIC_TIME, OWN_STEP, STEPS, STREAM
from undiffuse.diffusion.gaussian import expand

COSINE = cosine()
SHAPE = (64,)
MEAN, STD = 0.3, 0.5


class Student:
    """x0 = m + g x, whatever the time: in one step from noise its samples are N(m, g^2)."""

    schedule = COSINE

    def __init__(self, mean: float, std: float) -> None:
        self.mean = torch.tensor(mean, dtype=torch.float64, requires_grad=True)
        self.std = torch.tensor(std, dtype=torch.float64, requires_grad=True)

    def __call__(self, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        x0 = self.mean + self.std * x_t
        q_t = COSINE(t)
        return Prediction(x0, (x_t - expand(q_t.alpha, x_t) * x0) / expand(q_t.sigma, x_t))


class ExactCritic:
    """The best denoiser of what a student draws in one step."""

    schedule = COSINE

    def __init__(self, student: Student) -> None:
        self.student = student

    def __call__(self, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        mean, std = float(self.student.mean.detach()), float(self.student.std.detach())
        return gaussian_denoiser(COSINE, SHAPE, mean, std)(x_t, t)


def matching(
    student: Student, walk: tuple[float, ...] = (1000.0,), steps: tuple[int, ...] = ()
) -> DistributionMatching:
    teacher = gaussian_denoiser(COSINE, SHAPE, MEAN, STD)
    return DistributionMatching(
        Objective(V, MinSNR(5.0)), teacher, ExactCritic(student), walk, steps or (len(walk),), clipped=False
    )


def loss_of(loss: DistributionMatching, student: Student, batch: int, seed: int, t: float | None = None) -> Tensor:
    dice = torch.Generator().manual_seed(seed)
    times = Between().draw(COSINE, batch, dice)
    times = times if t is None else torch.full_like(times, t)
    rows = loss.draw(COSINE, times, 0.0, dice)
    x0, eps = torch.randn(2, batch, *SHAPE, generator=dice, dtype=torch.float64)
    return loss(student, x0, times, eps, rows)


def test_at_the_teachers_distribution_nothing_moves():
    student = Student(MEAN, STD)
    gradients = torch.autograd.grad(loss_of(matching(student), student, 8, 0).sum(), (student.mean, student.std))
    assert max(float(g.abs()) for g in gradients) < 1e-12


@pytest.mark.parametrize("t", [200.0, 500.0, 800.0])
def test_the_slopes_are_those_of_gaussians(t):
    """E (D_f - D_r) = (m - mu) sigma^2 / v for equal spreads; E (D_f - D_r) z = alpha^2 g (g^2 / v_g - s^2 / v_s).

    Each is divided by mean |x - D_r| of its sample, which for 64 values is all but a constant, measured here.
    """
    q_t = COSINE(torch.tensor(t, dtype=torch.float64))
    alpha, sigma = float(q_t.alpha), float(q_t.sigma)

    def spread(std: float) -> float:
        return alpha**2 * std**2 + sigma**2

    def slopes(student: Student) -> tuple[float, float, float]:
        loss = matching(student)
        of_mean, of_std = torch.autograd.grad(loss_of(loss, student, 20_000, 1, t).mean(), (student.mean, student.std))
        dice = torch.Generator().manual_seed(2)
        z, noise = torch.randn(2, 20_000, *SHAPE, generator=dice, dtype=torch.float64)
        x = (student.mean + student.std * z).detach()
        real = loss.teacher(alpha * x + sigma * noise, torch.tensor(t, dtype=torch.float64)).x0
        return float(of_mean), float(of_std), float((1 / (x - real).abs().mean(1)).mean())

    of_mean, _, size = slopes(Student(0.8, STD))
    assert of_mean == pytest.approx((0.8 - MEAN) * sigma**2 / spread(STD) * size, rel=0.02)
    _, of_std, size = slopes(Student(MEAN, 0.9))
    expected = alpha**2 * 0.9 * (0.9**2 / spread(0.9) - STD**2 / spread(STD)) * size
    assert of_std == pytest.approx(expected, rel=0.03)


def test_a_student_ends_as_its_teachers_distribution():
    student = Student(-0.5, 1.0)
    optimizer = torch.optim.Adam((student.mean, student.std), lr=0.02)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 300)
        optimizer.zero_grad()
        loss_of(matching(student), student, 32, step).mean().backward()
        optimizer.step()
    assert float(student.mean.detach()) == pytest.approx(MEAN, abs=0.01)
    assert float(student.std.detach()) == pytest.approx(STD, abs=0.01)


class Trained(Student):
    """A critic that learns: x0 = a x_t + b of the one time at which the test asks."""

    def __init__(self) -> None:
        super().__init__(0.0, 0.1)


def test_the_critic_learns_what_the_student_draws_and_the_student_nothing_of_it():
    student, critic = Student(0.8, 0.4), Trained()
    teacher = gaussian_denoiser(COSINE, SHAPE, MEAN, STD)
    loss = DistributionMatching(Objective(V, MinSNR(5.0)), teacher, critic, (1000.0,), (1,), clipped=False)
    optimizer = torch.optim.Adam((critic.mean, critic.std), lr=0.05)
    for step in range(200):
        dice = torch.Generator().manual_seed(step)
        t = torch.full((32,), 500.0, dtype=torch.float64)
        rows = loss.draw(COSINE, t, 0.0, dice) | {CRITIC_TIME: t}
        eps = torch.randn(32, *SHAPE, generator=dice, dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 200)
        optimizer.zero_grad()
        loss(student, eps, t, eps, rows).mean().backward()
        optimizer.step()
    q_t = COSINE(torch.tensor(500.0, dtype=torch.float64))
    gain = float(q_t.alpha * 0.4**2 / (q_t.alpha**2 * 0.4**2 + q_t.sigma**2))
    assert float(critic.std.detach()) == pytest.approx(gain, rel=0.03)
    assert float(critic.mean.detach()) == pytest.approx(0.8 - gain * float(q_t.alpha) * 0.8, rel=0.03)


def test_every_step_of_the_walk_learns_equally_often_and_all_of_a_batch_the_same():
    loss = matching(Student(0.0, 1.0), (1000.0, 750.0, 500.0, 250.0))
    dice, t = torch.Generator().manual_seed(0), torch.full((4,), 500.0, dtype=torch.float64)
    drawn = [loss.draw(COSINE, t, 0.0, dice) for _ in range(2000)]
    steps = torch.stack([rows[OWN_STEP] for rows in drawn])
    assert bool((steps == steps[:, :1]).all())
    assert torch.bincount(steps[:, 0].long()).tolist() == pytest.approx([500] * 4, abs=70)
    streams = torch.cat([rows[STREAM] for rows in drawn])
    assert len(streams.unique()) == len(streams), "each sample has noise of its own"


def test_every_number_of_steps_is_walked_equally_often_by_its_own_times():
    """Of the walks of 4, 2 and 1 steps, 1000 is in all, 500 in two: each time where a walk's step learns, by shares."""
    loss = matching(Student(0.0, 1.0), (1000.0, 750.0, 500.0, 250.0), (4, 2, 1))
    learned, dice = [], torch.Generator().manual_seed(0)

    class Watching(Student):
        def __call__(self, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
            walked.append(float(t[0]))
            return super().__call__(x_t, t, **conditions)

    for _ in range(1200):
        walked: list[float] = []
        t = torch.full((1,), 500.0, dtype=torch.float64)
        eps = torch.randn(1, *SHAPE, generator=dice, dtype=torch.float64)
        loss(Watching(0.0, 1.0), eps, t, eps, loss.draw(COSINE, t, 0.0, dice))
        learned.append(tuple(walked))
    shares = {walk: learned.count(walk) for walk in set(learned)}
    assert shares == {
        (1000.0,): pytest.approx(1200 * (1 + 1 / 2 + 1 / 4) / 3, abs=60),
        (1000.0, 500.0): pytest.approx(1200 / 6, abs=60),
        (1000.0, 750.0): pytest.approx(1200 / 12, abs=60),
        (1000.0, 750.0, 500.0): pytest.approx(1200 / 12, abs=60),
        (1000.0, 750.0, 500.0, 250.0): pytest.approx(1200 / 12, abs=60),
    }


def test_the_steps_before_are_the_students_own_with_new_noise():
    """The third point of a walk of three: alpha_3 D(alpha_2 D(eps) + sigma_2 z) + sigma_3 z', for D = m + g x."""
    student = Student(0.0, 0.5)
    loss = matching(student, (1000.0, 600.0, 300.0))
    rows = {
        STEPS: torch.full((20_000,), 3.0, dtype=torch.float64),
        OWN_STEP: torch.full((20_000,), 2.0, dtype=torch.float64),
        CRITIC_TIME: torch.full((20_000,), 500.0, dtype=torch.float64),
        STREAM: torch.arange(20_000, dtype=torch.float64),
    }
    seen = []

    class Watching(Student):
        def __call__(self, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
            seen.append((float(t[0]), float(x_t.detach().std())))
            return super().__call__(x_t, t, **conditions)

    eps = torch.randn(20_000, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss(Watching(0.0, 0.5), eps, rows[CRITIC_TIME], eps, rows)
    variance = 1.0
    expected = [(1000.0, 1.0)]
    for t in (600.0, 300.0):
        q_t = COSINE(torch.tensor(t, dtype=torch.float64))
        variance = float(q_t.alpha**2) * 0.25 * variance + float(q_t.sigma**2)
        expected.append((t, variance**0.5))
    assert [t for t, _ in seen] == [t for t, _ in expected]
    assert [std for _, std in seen] == pytest.approx([std for _, std in expected], rel=0.01)
