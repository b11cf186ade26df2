"""Distribution matching against Gaussians, where both scores are known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from undiffuse.diffusion import DDIM, Denoiser, MinSNR, Noise, Objective, Prediction, V, cosine, gaussian_denoiser
from undiffuse.diffusion.distillation import Between, DistributionMatching
from undiffuse.diffusion.distillation.distribution import CHASES, CRITIC_TIME, OWN_STEP, STEPS, STREAM
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.losses import UniformWeight

COSINE = cosine()
SHAPE = (256,)
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
    student: Student,
    walk: tuple[float, ...] = (1000.0,),
    steps: tuple[int, ...] = (),
    teacher: Denoiser | None = None,
    critic: Denoiser | None = None,
) -> DistributionMatching:
    return DistributionMatching(
        Objective(V, MinSNR(5.0)),
        teacher or gaussian_denoiser(COSINE, SHAPE, MEAN, STD),
        critic or ExactCritic(student),
        walk,
        steps or (len(walk),),
        teacher_walk=(1000.0, 875.0, 750.0, 625.0, 500.0, 375.0, 250.0, 125.0),
        sampler=DDIM(),
        matched=0.75,
        clipped=False,
    )


def loss_of(loss: DistributionMatching, student: Student, batch: int, seed: int, t: float | None = None) -> Tensor:
    dice = torch.Generator().manual_seed(seed)
    times = Between().draw(COSINE, batch, dice)
    times = times if t is None else torch.full_like(times, t)
    rows = loss.draw(COSINE, times, 0.0, dice) | {CHASES: torch.ones(batch, dtype=torch.float64)}
    x0, eps = torch.randn(2, batch, *SHAPE, generator=dice, dtype=torch.float64)
    return loss(student, x0, times, eps, rows)


def test_at_the_teachers_distribution_nothing_moves():
    student = Student(MEAN, STD)
    gradients = torch.autograd.grad(loss_of(matching(student), student, 8, 0).sum(), (student.mean, student.std))
    assert max(float(g.abs()) for g in gradients) < 1e-12


@pytest.mark.parametrize("t", [200.0, 500.0, 800.0])
def test_the_slopes_are_those_of_gaussians(t):
    """E (D_f - D_r) = (m - mu) sigma^2 / v for equal spreads; E (D_f - D_r) z = alpha^2 g (g^2 / v_g - s^2 / v_s).

    Each is divided by mean |x - D_r| of its sample, which for 256 values is all but a constant, measured here.
    """
    q_t = COSINE(torch.tensor(t, dtype=torch.float64))
    alpha, sigma = float(q_t.alpha), float(q_t.sigma)

    def spread(std: float) -> float:
        return alpha**2 * std**2 + sigma**2

    def slopes(student: Student) -> tuple[float, float, float]:
        loss = matching(student)
        of_mean, of_std = torch.autograd.grad(loss_of(loss, student, 2_500, 1, t).mean(), (student.mean, student.std))
        dice = torch.Generator().manual_seed(2)
        z, noise = torch.randn(2, 2_500, *SHAPE, generator=dice, dtype=torch.float64)
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
    optimizer = torch.optim.Adam((student.mean, student.std), lr=0.05)
    for step in range(100):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 100)
        optimizer.zero_grad()
        loss_of(matching(student), student, 4, step).mean().backward()
        optimizer.step()
    assert float(student.mean.detach()) == pytest.approx(MEAN, abs=0.01)
    assert float(student.std.detach()) == pytest.approx(STD, abs=0.01)


class Trained(Student):
    """A critic that learns: x0 = a x_t + b of the one time at which the test asks."""

    def __init__(self) -> None:
        super().__init__(0.0, 0.1)


def test_the_critic_learns_what_the_student_draws_and_the_student_nothing_of_it():
    student, critic = Student(0.8, 0.4), Trained()
    loss = matching(student, critic=critic)
    optimizer = torch.optim.Adam((critic.mean, critic.std), lr=0.05)
    for step in range(200):
        dice = torch.Generator().manual_seed(step)
        t = torch.full((4,), 500.0, dtype=torch.float64)
        rows = loss.draw(COSINE, t, 0.0, dice) | {CRITIC_TIME: t, CHASES: torch.ones_like(t)}
        eps = torch.randn(4, *SHAPE, generator=dice, dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 200)
        optimizer.zero_grad()
        loss(student, eps, t, eps, rows).mean().backward()
        optimizer.step()
    q_t = COSINE(torch.tensor(500.0, dtype=torch.float64))
    gain = float(q_t.alpha * 0.4**2 / (q_t.alpha**2 * 0.4**2 + q_t.sigma**2))
    assert float(critic.std.detach()) == pytest.approx(gain, rel=0.03)
    assert float(critic.mean.detach()) == pytest.approx(0.8 - gain * float(q_t.alpha) * 0.8, rel=0.03)


@pytest.mark.parametrize("matched", [0.5, 0.75])
def test_each_step_is_learned_as_often_as_the_others_and_in_part_by_the_teachers_walk(matched):
    loss = replace(matching(Student(0.0, 1.0), (1000.0, 750.0, 500.0, 250.0), (4, 2, 1)), matched=matched)
    dice, t = torch.Generator().manual_seed(0), torch.full((4,), 500.0, dtype=torch.float64)
    drawn = [loss.draw(COSINE, t, 0.0, dice) for _ in range(3000)]
    found = torch.stack([torch.stack([rows[CHASES], rows[STEPS], rows[OWN_STEP]]) for rows in drawn])
    assert bool((found == found[..., :1]).all()), "all of a batch learn the same"
    counts = Counter(tuple(int(value) for value in one) for one in found[..., 0].tolist())
    shares = {
        (chases, steps, step): 3000 / 7 * (matched if chases else 1 - matched)
        for chases in (0, 1)
        for steps in (4, 2, 1)
        for step in range(steps)
    }
    assert counts.keys() == shares.keys()
    assert all(counts[key] == pytest.approx(share, abs=4.5 * share**0.5) for key, share in shares.items())
    streams = torch.cat([rows[STREAM] for rows in drawn])
    assert len(streams.unique()) == len(streams), "each sample has noise of its own"


def rows_of(batch: int, steps: int, step: int, chases: bool = True) -> dict[str, Tensor]:
    told = {CHASES: float(chases), STEPS: float(steps), OWN_STEP: float(step), CRITIC_TIME: 500.0}
    rows = {name: torch.full((batch,), value, dtype=torch.float64) for name, value in told.items()}
    return rows | {STREAM: torch.arange(batch, dtype=torch.float64)}


def test_otherwise_a_step_goes_where_the_teacher_goes_from_the_students_own_point():
    """A student that answers each x_t with the end of the teacher's four steps of DDIM from there has learned all.

    For a Gaussian that end is m + k (x - alpha_t m); k is measured here by the same steps.
    """
    teacher, walk = gaussian_denoiser(COSINE, SHAPE, MEAN, STD), (1000.0, 500.0)
    times = torch.tensor([500.0, 375.0, 250.0, 125.0, 0.0], dtype=torch.float64)

    def end(x: Tensor) -> Tensor:
        for t, s in pairwise(times):
            x, _ = DDIM().step(teacher, x, t, s, None, Noise(0, ()))
        return x

    class Learned(Student):
        def __call__(self, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
            given = super().__call__(x_t, t)
            if float(t[0]) == 1000:
                return given
            x0, q_t = end(x_t) + self.mean - 0.3, COSINE(t)
            return Prediction(x0, (x_t - expand(q_t.alpha, x_t) * x0) / expand(q_t.sigma, x_t))

    eps = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    told, t = rows_of(8, 2, 1, chases=False), torch.full((8,), 500.0, dtype=torch.float64)
    right, wrong = Learned(0.3, 0.5), Learned(0.4, 0.5)
    for student, slope in ((right, 0.0), (wrong, None)):
        loss = matching(student, walk, teacher=teacher, critic=Student(0.0, 0.1))(student, eps, t, eps, told).sum()
        (found,) = torch.autograd.grad(loss, student.mean)
        assert abs(float(found)) < 1e-10 if slope == 0 else float(found) > 0.1


def test_from_pure_noise_the_teachers_walk_does_not_count():
    """By min-SNR weights, the SNR there: with a weight of 1 a step from pure noise would forget what scores bring."""
    eps = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slopes = []
    for weighting in (MinSNR(5.0), UniformWeight()):
        student = Student(MEAN + 0.1, STD)
        loss = replace(matching(student, critic=Student(0.0, 0.1)), objective=Objective(V, weighting))
        losses = loss(student, eps, torch.full((8,), 500.0, dtype=torch.float64), eps, rows_of(8, 1, 0, chases=False))
        slopes.append(float(torch.autograd.grad(losses.mean(), student.mean)[0]))
    assert slopes[1] > 0.1
    assert slopes[0] / slopes[1] == pytest.approx(float(COSINE(1000.0).snr), rel=1e-6)


def test_the_steps_before_are_the_students_own_with_new_noise():
    """The third point of a walk of three: alpha_3 D(alpha_2 D(eps) + sigma_2 z) + sigma_3 z', for D = m + g x."""
    student = Student(0.0, 0.5)
    loss = matching(student, (1000.0, 600.0, 300.0))
    rows = rows_of(2_500, 3, 2)
    seen = []

    class Watching(Student):
        def __call__(self, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
            seen.append((float(t[0]), float(x_t.detach().std())))
            return super().__call__(x_t, t, **conditions)

    eps = torch.randn(2_500, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss(Watching(0.0, 0.5), eps, rows[CRITIC_TIME], eps, rows)
    variance = 1.0
    expected = [(1000.0, 1.0)]
    for t in (600.0, 300.0):
        q_t = COSINE(torch.tensor(t, dtype=torch.float64))
        variance = float(q_t.alpha**2) * 0.25 * variance + float(q_t.sigma**2)
        expected.append((t, variance**0.5))
    assert [t for t, _ in seen] == [t for t, _ in expected]
    assert [std for _, std in seen] == pytest.approx([std for _, std in expected], rel=0.01)


def test_the_critic_alone_is_told_between_which_times_the_step_lies():
    seen: dict[str, list[dict[str, Tensor]]] = {"student": [], "critic": [], "teacher": []}

    class Listening(Student):
        def __init__(self, name: str) -> None:
            super().__init__(0.0, 0.5)
            self.name = name

        def __call__(self, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
            seen[self.name].append(conditions)
            return super().__call__(x_t, t, **conditions)

    eps, t = torch.randn(2, *SHAPE, dtype=torch.float64), torch.full((2,), 500.0, dtype=torch.float64)
    walk = (1000.0, 750.0, 500.0, 250.0)
    for steps, step, since, until in ((4, 1, 750, 500), (4, 3, 250, 0), (2, 1, 500, 0), (1, 0, 1000, 0)):
        for conditions in seen.values():
            conditions.clear()
        loss = matching(Student(0.0, 0.5), walk, (4, 2, 1), Listening("teacher"), Listening("critic"))
        loss(Listening("student"), eps, t, eps, rows_of(2, steps, step))
        assert len(seen["critic"]) == 2
        for told in seen["critic"]:
            assert (told["since"].tolist(), told["until"].tolist()) == ([since] * 2, [until] * 2)
        assert seen["teacher"]
        assert not any(seen["teacher"] + seen["student"])


def test_a_critic_of_one_step_is_told_nothing_more():
    heard = []

    class Listening(Student):
        def __call__(self, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
            heard.append(conditions)
            return super().__call__(x_t, t, **conditions)

    eps, t = torch.randn(2, *SHAPE, dtype=torch.float64), torch.full((2,), 500.0, dtype=torch.float64)
    matching(Student(0.0, 0.5), critic=Listening(0.0, 0.5))(Student(0.0, 0.5), eps, t, eps, rows_of(2, 1, 0))
    assert heard == [{}, {}]
