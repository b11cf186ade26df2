"""A move implies one pair of data and noise, whoever made it, on every schedule and in every row."""

from __future__ import annotations

from itertools import pairwise
from math import cos, pi, sin

import pytest
import torch
from oracles import (
    ALL_ROWS,
    COSINE,
    SCHEDULES,
    Answers,
    Gaussian,
    Mixture,
    can,
    ddim,
    numbers,
    time,
    walk_of,
)
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.distillation import Progressive, implied, move
from undiffuse.diffusion.distillation.progressive import follow
from undiffuse.diffusion.distillation.times import at, position
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser
from undiffuse.diffusion.guidance import Autoguided, Clip, Guidance
from undiffuse.diffusion.losses import Objective, UniformWeight
from undiffuse.diffusion.parameterization import FLOW, V
from undiffuse.diffusion.schedules import RectifiedFlow, Schedule

X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_implied_pair_makes_the_move_and_is_in_its_start(name):
    schedule = SCHEDULES[name]
    x_s = X.flip(0)
    for t, s in ((1.0, 0.4), (1.0, 0.0), (0.6, 0.5), (0.3, 0.0)):
        q_t, q_s = (schedule(schedule.t_max * u) for u in (t, s))
        x0, eps = implied(X, x_s, q_t, q_s)
        torch.testing.assert_close(move(Prediction(x0, eps), q_s), x_s, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(q_t.alpha * x0 + q_t.sigma * eps, X, rtol=1e-12, atol=1e-12)
        if s == 0:
            assert torch.equal(x0, x_s)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_move_of_one_pair_implies_that_pair(name):
    schedule, eps = SCHEDULES[name], X.flip(0)
    t, s = schedule.t_max * time(1.0, 0.9, 0.5, 0.2, 0.7), schedule.t_max * time(0.1, 0.0, 0.4, 0.1, 0.0)
    q_t, q_s = schedule(t), schedule(s)
    x_t = move(Prediction(X, eps), q_t)  # each sample at a time of its own
    for found, meant in zip(implied(x_t, move(Prediction(X, eps), q_s), q_t, q_s), (X, eps), strict=True):
        torch.testing.assert_close(found, meant, rtol=1e-10, atol=1e-11)


def test_on_a_circle_the_implied_velocity_is_that_of_the_rotation():
    """v~ = (cos(d) x_t - x_s) / sin(d), d = theta_t - theta_s, theta = atan2(sigma, alpha)."""
    t, s = time(1000, 900, 500, 200, 700), time(100, 0, 400, 100, 0)
    q_t, q_s = COSINE(t), COSINE(s)
    d = (torch.atan2(q_t.sigma, q_t.alpha) - torch.atan2(q_s.sigma, q_s.alpha)).reshape(-1, 1, 1)
    x_s = X.flip(0)
    v = V.mix(*implied(X, x_s, q_t, q_s), q_t)
    torch.testing.assert_close(v, (d.cos() * X - x_s) / d.sin(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((1000, 500, 0), (0.198520663, 0.198520663, 0.999990218, -0.198471381)),
        ((500, 250, 0), (0.440796770, 0.440796770, 0.970184344, 0.368183995)),
        ((1000, 750, 500), (0.751896040, 0.057562330, 0.999997164, -0.057513048)),
        ((750, 625, 500), (0.826420836, 0.139632548, 1.023682378, 0.259659121)),
    ],
)
def test_two_steps_on_a_gaussian(times, expected):
    """x_s, x~, e~ and v~ of DDIM's t -> m -> s from x = 1."""
    t, m, s = (float(value) for value in times)
    x = numbers(1)
    x_s = follow(Gaussian().denoiser(), x, [time(t), time(m), time(s)], None)
    x0, eps = implied(x, x_s, COSINE(time(t)), COSINE(time(s)))
    found = [float(value) for value in (x_s, x0, eps, V.mix(x0, eps, COSINE(time(t))))]
    assert found == pytest.approx(expected, abs=6e-10)
    assert float(x_s) == pytest.approx(Gaussian().factor(t, m) * Gaussian().factor(m, s), rel=1e-12)


@pytest.mark.parametrize(
    ("t", "s", "expected"), [(1, 0, 0.5), (1, 0.5, 0.881966011), (0.5, 0, 0.211145618), (0.75, 0.25, 0.814502043)]
)
def test_on_a_straight_line_the_implied_flow_is_the_mean_velocity(t, s, expected):
    """u(x; t, s) = (x_t - x_s) / (t - s), of data N(0, 0.25) by the flow's exact map from x = 1."""
    process = RectifiedFlow()
    x_s = Gaussian(process).flow(numbers(1), t, s)
    q_t, q_s = process(time(t)), process(time(s))
    assert float(FLOW.mix(*implied(numbers(1), x_s, q_t, q_s), q_t)) == pytest.approx(expected, abs=6e-10)


@pytest.mark.parametrize(
    ("t", "s", "expected"),
    [(1000, 0, 0.318319873), (1000, 500, 0.265038184), (500, 0, 0.467267496), (750, 250, 0.462549523)],
)
def test_the_mean_of_v_over_the_angle_is_of_the_implied_v(t, s, expected):
    """(x_t - x_s) / d, where x_s = cos(d) x_t - sin(d) v~."""
    q_t, q_s = COSINE(time(t)), COSINE(time(s))
    d = float(torch.atan2(q_t.sigma, q_t.alpha) - torch.atan2(q_s.sigma, q_s.alpha))
    v = float(V.mix(*implied(numbers(1), Gaussian().flow(numbers(1), t, s), q_t, q_s), q_t))
    assert (1 - cos(d) + sin(d) * v) / d == pytest.approx(expected, abs=6e-10)
    assert 0 < d < pi / 2


def test_an_exact_jump_composes():
    """G(G(x, t, m), m, s) = G(x, t, s) for a student that answers with the pair that the flow's map implies."""
    data = Gaussian(mean=0.3)

    def jump(x: Tensor, t: float, s: float) -> Tensor:
        pair = implied(x, data.flow(x, t, s), COSINE(time(t)), COSINE(time(s)))
        return move(Prediction(*pair), COSINE(time(s)))

    for t, m, s in ((1000.0, 500.0, 0.0), (750.0, 500.0, 250.0), (500.0, 125.0, 1.0)):
        torch.testing.assert_close(jump(jump(X[0], t, m), m, s), jump(X[0], t, s), rtol=1e-12, atol=1e-12)


# --- the student that takes two steps in one --------------------------------------------------------------------------


def points(schedule: Schedule, *values: float) -> Denoiser:
    return MixtureDenoiser(schedule, numbers(*values), 0.1)


def guided(schedule: Schedule) -> Denoiser:
    return Autoguided(points(schedule, -0.7, 0.9), points(schedule, -0.5, 0.2, 1.1), Guidance(2.0))


TEACHERS = {
    "exact": lambda schedule: points(schedule, -0.7, 0.9),
    "clipped": lambda schedule: Clip(points(schedule, -1.2, 1.3)),
    "guided and clipped": lambda schedule: Clip(guided(schedule)),
}


def student_of(teacher: Denoiser, walk: tuple[float, ...], row, stride: int = 2) -> Answers:
    """It answers with the pair that the teacher's steps imply."""

    def way(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        first = position(walk, t.expand(len(x_t)))
        times = [at(walk, first + k) for k in range(stride + 1)]
        q_t, q_s = (teacher.schedule(times[k]) for k in (0, stride))
        return implied(x_t, follow(teacher, x_t, times, None), q_t, q_s)

    return Answers(teacher.schedule, way, row)


WHOLE = [(name, row) for name in SCHEDULES for row in ALL_ROWS if can(ALL_ROWS[row], SCHEDULES[name])]


def test_rows_that_mean_nothing_at_pure_noise_are_left_out():
    assert len(WHOLE) == len(SCHEDULES) * len(ALL_ROWS) - 4  # epsilon and score, where alpha ends at 0


@pytest.mark.parametrize("of", TEACHERS)
@pytest.mark.parametrize(("name", "row"), WHOLE)
def test_n_steps_of_the_student_are_2n_of_the_teacher(name, row, of):
    schedule = SCHEDULES[name]
    teacher, walk = TEACHERS[of](schedule), walk_of(schedule, 4)
    student = student_of(teacher, walk, ALL_ROWS[row])
    x = schedule.prior_std * numbers(-1.7, -0.3, 0.1, 0.8, 2.2)
    # An output in float64 is right to 1e-16; the rows that divide by alpha make that 1e-16 / alpha_T of x0.
    near = 1e-12 / min(1.0, float(schedule(walk[0]).alpha) if row in ("epsilon", "score") else 1.0)
    torch.testing.assert_close(ddim(student, walk[::2], x), ddim(teacher, walk, x), rtol=near, atol=near)


@pytest.mark.parametrize("of", TEACHERS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_student_that_reproduces_the_teacher_has_no_loss_and_no_other_has(name, of):
    schedule = SCHEDULES[name]
    teacher, walk = TEACHERS[of](schedule), walk_of(schedule, 8)
    x0, eps = X[:, :1, 0], X[:, 1:, 0]
    for stride in (2, 4, 8):
        loss = Progressive(Objective(V, UniformWeight()), teacher, walk, stride)
        t = time(*(walk[::stride] * 5)[:5])
        assert float(loss(student_of(teacher, walk, V, stride), x0, t, eps).max()) < 1e-24
        assert float(loss(student_of(teacher, walk, V, 1), x0, t, eps).max()) > 1e-6


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_implied_x0_is_a_mean_of_the_teachers(name):
    """x~ = sum_k w_k x0_k, w_k the rise of alpha / sigma in step k: it stays in the range that the teacher's keep."""
    schedule = SCHEDULES[name]
    teacher = Clip(MixtureDenoiser(schedule, numbers(-1.2, 1.3), 0.1))
    times = [schedule.t_max * time(u) for u in (0.6, 0.1, 0.02, 0.005)]
    x, seen = schedule.prior_std * numbers(2), []
    start = x
    for t, s in pairwise(times):
        prediction = teacher(x, t)
        seen.append(float(prediction.x0))
        x = move(prediction, schedule(s))
    ratio = torch.cat([schedule(t).alpha / schedule(t).sigma for t in times])
    mean = float((ratio.diff() * time(*seen)).sum() / (ratio[-1] - ratio[0]))
    found = float(implied(start, x, schedule(times[0]), schedule(times[-1]))[0])
    assert found == pytest.approx(mean, abs=1e-11)
    assert max(seen) == 1
    assert abs(found) <= 1 + 1e-12


def test_half_precision_of_the_state_costs_no_more_than_its_rounding():
    """In float32 a step of 1 / 64 of the way keeps four digits of v~, which divides by the length of the step."""
    teacher, walk = Mixture().denoiser(), walk_of(COSINE, 64)
    pairs = []
    for x in (numbers(0.3, -1.1), numbers(0.3, -1.1).float()):
        t = time(walk[30], walk[30])
        x_s = follow(teacher, x, [t, time(walk[31], walk[31]), time(walk[32], walk[32])], None)
        pairs.append(V.mix(*implied(x, x_s, COSINE(t), COSINE(time(walk[32], walk[32]))), COSINE(t)))
    assert pairs[1].dtype == torch.float32
    torch.testing.assert_close(pairs[1].double(), pairs[0], rtol=0, atol=2e-5)
