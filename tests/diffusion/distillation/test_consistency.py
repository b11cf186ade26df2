"""Consistency: its fixed points, from a teacher and from data, its distance, its weight and its boundary."""

from __future__ import annotations

from math import atan, prod

import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from oracles import (
    ALL_ROWS,
    COSINE,
    DDIM_STD,
    SCHEDULES,
    Answers,
    By,
    Gaussian,
    LinearStudent,
    Mixture,
    can,
    chain,
    numbers,
    time,
    walk_of,
)
from torch import Tensor, nn

from undiffuse.diffusion.denoiser import NetworkDenoiser, Prediction
from undiffuse.diffusion.distillation import Consistency, Neighbors
from undiffuse.diffusion.distillation.teacher import EARLIER
from undiffuse.diffusion.gaussian import q_sample
from undiffuse.diffusion.guidance import Clip
from undiffuse.diffusion.parameterization import V
from undiffuse.errors import UndiffuseError

PLAIN = 1e6
"""A c so large that pseudo-Huber is the square of the error, up to a factor."""


def fixed_point(loss: Consistency, data: Mixture, x: float, t: float, s: float) -> float:
    """The student's x0 at x_t = x of the least expected loss, if at s it is right: E[x0 | x_s], for 0 follows s."""
    x0, eps, share = data.posterior(x, t)
    slopes = []
    for guess in (0.0, 1.0):
        value = torch.full_like(x0, guess).requires_grad_()

        def answer(x_t: Tensor, time: Tensor, value: Tensor = value, **conditions: Tensor) -> Prediction:
            if bool((time == t).all()):
                return Prediction(x_t, x_t).with_x0(value, x_t, COSINE(time))
            return data.denoiser()(x_t, time)

        times = torch.full((len(x0),), t, dtype=torch.float64)
        losses = loss(By(COSINE, answer), x0, times, eps, {EARLIER: torch.full_like(times, s)})
        (slope,) = torch.autograd.grad(losses.sum(), value)
        slopes.append(float(share @ slope[:, 0]))
    return slopes[0] / (slopes[0] - slopes[1])


@pytest.mark.parametrize(
    ("t", "s", "distilled", "trained", "exact"),
    [
        (1000, 500, 0.454037141, 0.229945254, 0.970219218),
        (750, 500, 0.574579337, 0.474395569, 0.969624818),
        (500, 250, 0.979224237, 0.622918318, 0.959329976),
    ],
)
def test_training_is_distillation_on_a_gaussian_and_not_on_a_mixture(t, s, distilled, trained, exact):
    """Fixed points at x = .5 of the grid t, s, 0 for a mixture: the gap of the two is what a teacher is worth."""
    data = Mixture()
    earlier = Neighbors((float(t), float(s)))
    by_teacher = Consistency(earlier, data.denoiser(), PLAIN, clipped=False)
    by_data = Consistency(earlier, None, PLAIN, clipped=False)
    assert fixed_point(by_teacher, data, 0.5, t, s) == pytest.approx(distilled, abs=6e-10)
    assert fixed_point(by_data, data, 0.5, t, s) == pytest.approx(trained, abs=6e-10)
    assert data.flow(0.5, t, 0) == pytest.approx(exact, abs=6e-10)
    alone = Mixture(means=(0.3,), std=0.3)  # one Gaussian, not at 0
    found = [
        fixed_point(Consistency(earlier, who, PLAIN, clipped=False), alone, 0.5, t, s)
        for who in (None, alone.denoiser())
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-9)


@pytest.mark.parametrize(("c", "near"), [(PLAIN, 1e-9), (1.0, 1e-6)])
def test_a_linear_student_rests_where_the_teacher_walks(c, near):
    """On a Gaussian the mean of x_s is DDIM's step: nothing pulls a parameter from there, with data or with a teacher.

    All pairs of x0 and eps are summed over, by Gauss and Hermite: no draw, so no noise, and exact for squares. Errors
    that are symmetric pull to their middle for any c, but of their roots the sum is only near.
    """
    data, walk = Gaussian(), walk_of(COSINE, 16)
    nodes, weights = (torch.from_numpy(part) for part in hermegauss(40))
    x0, eps = (part.reshape(-1, 1) for part in torch.meshgrid(data.std * nodes, nodes, indexing="ij"))
    share = (weights[:, None] * weights).flatten() / weights.sum() ** 2
    student = LinearStudent(COSINE, walk)
    for k, (t, _) in enumerate(chain(walk)):
        factor, q_t = prod(data.factor(*step) for step in chain(walk)[k:]), COSINE(t)
        student.a.data[k] = (q_t.alpha - factor) / q_t.sigma  # x0 = alpha x - sigma F
    before = student.a.detach().clone()
    for teacher in (None, data.denoiser()):
        loss = Consistency(Neighbors(walk), teacher, c, clipped=False)
        for k, t in enumerate(walk):
            times = torch.full((len(x0),), t, dtype=torch.float64)
            slopes = []
            for change in (0.0, 0.01, -0.01):
                student.a.data = before.clone()
                student.a.data[k] += change
                student.zero_grad()
                told = loss.draw(COSINE, times, 0.0, torch.Generator())
                (share @ loss(student, x0, times, eps, told)).backward()
                slopes.append(float(student.a.grad[k]))
            assert slopes[1] > 0 > slopes[2]
            assert abs(slopes[0]) < near * slopes[1]


def test_another_noise_in_the_target_would_be_another_fixed_point():
    """With an eps of its own for x_s its mean is alpha_s E[x0 | x_t], and the std of one step falls."""
    data, walk = Gaussian(), walk_of(COSINE, 16)
    other = prod(float(COSINE(s).alpha * COSINE(t).alpha * 0.25 / data._moments(t)[1]) for t, s in chain(walk))
    assert other < 0.01 * DDIM_STD["cosine"][16]
    seen = []

    def answer(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        seen.append((x_t, t))
        return data.denoiser()(x_t, t)

    x0, eps = torch.randn(2, 5, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t, s = time(1000, 1000, 500, 250, 63), time(938, 500, 250, 63, 0)
    Consistency(Neighbors(walk))(By(COSINE, answer), x0, t, eps, {EARLIER: s})
    assert [times.tolist() for _, times in seen] == [t.tolist(), s.tolist()]
    for x, times in seen:
        assert torch.equal(x, q_sample(x0, eps, COSINE(times)))


# --- the boundary -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ALL_ROWS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_at_data_the_student_says_the_data_whatever_its_network_says(name, row):
    """f(x, 0) = x in every row, for some also of a batch whose other times are not 0."""
    schedule = SCHEDULES[name]
    if not can(ALL_ROWS[row], schedule):
        return

    class Wild(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return 1e3 + x

    student = NetworkDenoiser(Wild(), schedule, ALL_ROWS[row], "log-snr")
    x = numbers(-0.9, 0.2, 3.0)
    assert torch.equal(student(x, 0.0).x0, x)
    found = student(x, schedule.t_max * time(0, 0.5, 0)).x0
    assert torch.equal(found[::2], x[::2])
    assert float((found[1] - x[1]).abs()) > 1
    torch.testing.assert_close(Clip(student)(x, 0.0).x0, x.clamp(-1, 1), rtol=0, atol=0)


@pytest.mark.parametrize("row", ["v", "flow", "edm", "epsilon"])
def test_near_data_a_student_of_these_rows_can_only_say_the_data(row):
    """The x0 row and the score's have no such limit: there the boundary holds at t = 0 alone."""

    def gap(name: str) -> float:
        x, q_t = numbers(0.4), COSINE(1e-6)
        return float((ALL_ROWS[name].solve(numbers(1), x, q_t)[0] - x).abs())

    assert gap(row) < 1e-3
    assert gap("x0") > 0.5
    assert ALL_ROWS[row].keeps_data
    assert not any(ALL_ROWS[other].keeps_data for other in ALL_ROWS.keys() - {"v", "flow", "edm", "epsilon"})


# --- distance and weight ----------------------------------------------------------------------------------------------


def losses_of(loss: Consistency, error: Tensor, t: Tensor, s: Tensor, schedule=COSINE) -> Tensor:
    """Of a student whose x0 at t is off by ``error`` from what it says at s, which is 0.3 everywhere."""

    def answer(x_t: Tensor, time: Tensor, **conditions: Tensor) -> Prediction:
        at_t = bool((time == t).all())
        value = torch.full_like(x_t, 0.3) + (error if at_t else 0)
        return Prediction(x_t, x_t).with_x0(value, x_t, schedule(time))

    return loss(By(schedule, answer), torch.full_like(error, 0.3), t, torch.ones_like(error), {EARLIER: s})


def test_the_distance_is_pseudo_huber_of_the_whole_sample():
    """sqrt(|e|^2 + c^2 d) - c sqrt(d), over sqrt(d): of 784 values the c of Song & Dhariwal is .0151, of 3072 .0299."""
    assert pytest.approx(0.0151, abs=5e-5) == 0.00054 * 784**0.5
    assert pytest.approx(0.0299, abs=5e-5) == 0.00054 * 3072**0.5
    error = (
        torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        * time(1, 1e-3, 0)[:, None, None]
    )
    t, s = time(700, 700, 700), time(300, 300, 300)
    weight = 1 / float(COSINE(700).sigma / COSINE(700).alpha - COSINE(300).sigma / COSINE(300).alpha)
    found = losses_of(Consistency(Neighbors((1.0,)), c=0.2), error, t, s)
    norm = error.square().sum((1, 2))
    meant = weight * ((norm + 28 * 0.2**2).sqrt() - 0.2 * 28**0.5) / 28**0.5
    torch.testing.assert_close(found, meant, rtol=1e-9, atol=1e-15)
    assert float(found[2]) == 0


def test_a_distance_without_a_slope_at_zero_is_refused():
    for c in (0.0, -0.1):
        with pytest.raises(UndiffuseError, match="positive"):
            Consistency(Neighbors((1.0,)), c=c)


@pytest.mark.parametrize("weighting", ["ratio", "angle"])
def test_the_weight_is_one_over_the_distance_of_noise_levels(weighting):
    t, s = time(1000, 900, 500, 63), time(938, 500, 250, 0)
    loss = Consistency(Neighbors((1.0,)), c=0.1, weighting=weighting)
    found = losses_of(loss, torch.full((4, 1), 0.5, dtype=torch.float64), t, s)
    level = [[float(COSINE(u).sigma / COSINE(u).alpha) for u in pair] for pair in zip(t, s, strict=True)]
    if weighting == "angle":
        level = [[atan(r) for r in pair] for pair in level]
    meant = [((0.25 + 0.01) ** 0.5 - 0.1) / (a - b) for a, b in level]
    assert found.tolist() == pytest.approx(meant, rel=1e-9)


def test_towards_pure_noise_one_weight_fades_and_the_other_does_not():
    """Where alpha = 0 the ratio is infinite and its weight 0: such a student learns nothing at its first time."""
    schedule, error = SCHEDULES["zero-snr"], torch.full((1, 1), 0.5, dtype=torch.float64)
    ratio, angle = (
        float(losses_of(Consistency(Neighbors((1.0,)), weighting=w), error, time(1000), time(938), schedule))
        for w in ("ratio", "angle")
    )
    assert ratio == 0
    assert angle > 1


def test_at_the_first_of_16_cosine_steps_the_weight_by_ratio_is_next_to_none():
    """One evaluation starts at that time: a student that shares its weights between times learns the others there."""
    walk = walk_of(COSINE, 16)
    t, s = time(walk[0], walk[-1]), time(walk[1], 0)
    error = torch.full((2, 1), 0.5, dtype=torch.float64)
    first, last = losses_of(Consistency(Neighbors(walk)), error, t, s).tolist()
    assert first / last == pytest.approx(5.4e-6, rel=0.02)
    first, last = losses_of(Consistency(Neighbors(walk), weighting="angle"), error, t, s).tolist()
    assert first / last == pytest.approx(1.1, rel=0.05)


@pytest.mark.parametrize(("later", "to_clipped", "to_plain"), [(0.5, 0.5, 1.2), (1.0, 0.0, 0.7), (1.7, 0.0, 0.0)])
def test_a_clipped_target_is_what_samples_are_clipped_to(later, to_clipped, to_plain):
    """The earlier answer is 1.7, so 1 as a sample; what a later one overshoots 1 by is clipped in samples as well."""

    def answer(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        x0 = torch.full_like(x_t, 1.7 if t[0] < 500 else later)
        return Prediction(x_t, x_t).with_x0(x0, x_t, COSINE(t))

    x0, args = numbers(0.2), (time(700), numbers(1), {EARLIER: time(300)})
    angles = [float(torch.atan2(COSINE(t).sigma, COSINE(t).alpha)) for t in (700, 300)]
    for clipped, error in ((True, to_clipped), (False, to_plain)):
        loss = Consistency(Neighbors((1.0,)), weighting="angle", clipped=clipped)(By(COSINE, answer), x0, *args)
        expected = (error**2 + 0.00054**2) ** 0.5 - 0.00054
        assert float(loss) * (angles[0] - angles[1]) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_a_student_of_the_exact_way_has_no_loss_with_fine_steps():
    """The flow's own map is consistent: what is left is the teacher's error in a step, which falls with its square."""
    data = Gaussian(mean=0.2)

    def way(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x0 = torch.cat([data.flow(x, float(u), 0) for x, u in zip(x_t[:, None], t, strict=True)])
        q_t = COSINE(t)
        return x0, (x_t - q_t.alpha[:, None] * x0) / q_t.sigma[:, None]

    student, errors = Answers(COSINE, way, V), []
    for step in (40.0, 20.0, 10.0):
        t = time(900, 700, 400)
        loss = Consistency(Neighbors((1.0,)), data.denoiser(), 1e-12, "angle", clipped=False)
        found = loss(student, numbers(0.3, -1, 0.8), t, numbers(1, 2, -1), {EARLIER: t - step})
        errors.append(found * step)  # the error of one step, the angle of which is in proportion to its length
    assert bool(((errors[0] / errors[1] - 4).abs() < 0.3).all())
    assert bool(((errors[1] / errors[2] - 4).abs() < 0.3).all())
