"""Jumps: what is asked of whom for which jump, and that it is the teacher's way in the end."""

from __future__ import annotations

import pytest
import torch
from oracles import COSINE, By, Gaussian, LinearStudent, Mixture, linear_map, numbers, time, walk_by, walk_of
from torch import Tensor

from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.distillation import Jump, implied, move
from undiffuse.diffusion.distillation.progressive import follow
from undiffuse.diffusion.distillation.teacher import UNTIL
from undiffuse.diffusion.losses import Objective, UniformWeight
from undiffuse.diffusion.parameterization import V
from undiffuse.diffusion.samplers import DDIM, JumpStep

WALK = walk_of(COSINE, 8)
DISTANCE = Objective(V, UniformWeight())


def pair_of(x_t: Tensor, x_s: Tensor, t: Tensor, s: Tensor) -> Prediction:
    return Prediction(*implied(x_t, x_s, COSINE(t), COSINE(s)))


def exact(data: Gaussian) -> By:
    """A student that jumps by the flow's own map."""

    def answer(x_t: Tensor, t: Tensor, *, until: Tensor) -> Prediction:
        t, s = t.expand(len(x_t)), until.expand(len(x_t))
        x_s = torch.cat([data.flow(x[None], float(a), float(b)) for x, a, b in zip(x_t, t, s, strict=True)])
        return pair_of(x_t, x_s, t, s)

    return By(COSINE, answer)


@pytest.mark.parametrize("counts", [1, 2, 4, 8])
def test_exact_jumps_of_any_number_end_alike(counts):
    data, x = Gaussian(mean=0.3), numbers(-1, 0.2, 1.5)
    found = walk_by(exact(data), JumpStep(), WALK[:: 8 // counts], x)
    torch.testing.assert_close(found, data.flow(x, 1000.0, 0.0), rtol=1e-11, atol=1e-11)


def test_exact_jumps_have_no_loss_but_the_shortest_which_are_the_teachers():
    data, t, s = Gaussian(mean=0.3), time(1000, 1000, 1000, 500, 1000), time(0, 500, 750, 250, 875)
    loss = Jump(DISTANCE, data.denoiser(), WALK, (1, 2, 4, 8), clipped=False)
    losses = loss(exact(data), numbers(0.1, 0.5, -1, 0.3, 0.3), t, numbers(1, -1, 0.3, 2, 1), {UNTIL: s})
    assert float(losses[:4].max()) < 1e-22
    assert float(losses[4]) > 1e-6


def test_each_jump_is_asked_of_whom_it_is_learned_from():
    """The shortest of the teacher, who is told nothing of its end; the others of the student, in two halves."""
    asked = []

    def told(name: str):
        def answer(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
            until = conditions.pop(UNTIL, torch.full_like(t, -1.0)).expand(len(t))
            assert set(conditions) == {"label"}
            if not torch.is_grad_enabled():
                asked.extend(
                    (name, *row) for row in zip(conditions["label"].tolist(), t.tolist(), until.tolist(), strict=True)
                )
            return Prediction(torch.zeros_like(x_t), x_t)

        return By(COSINE, answer)

    loss = Jump(DISTANCE, told("teacher"), walk_of(COSINE, 16), (1, 2, 4, 8))
    t, s = time(1000, 500, 1000, 875, 250), time(0, 250, 875, 750, 125)
    conditions = {UNTIL: s, "label": torch.tensor([10, 11, 12, 13, 14])}
    loss(told("student"), numbers(1, 2, 3, 4, 5), t, numbers(1, 2, 3, 4, 5), conditions)
    assert sorted(asked) == sorted(
        [
            ("student", 10, 1000, 500),
            ("student", 10, 500, 0),
            ("student", 11, 500, 375),
            ("student", 11, 375, 250),
            ("teacher", 12, 1000, -1),
            ("teacher", 12, 938, -1),
            ("teacher", 13, 875, -1),
            ("teacher", 13, 813, -1),
            ("teacher", 14, 250, -1),
            ("teacher", 14, 188, -1),
        ]
    )
    assert set(conditions) == {UNTIL, "label"}  # the caller's are left as they were


def test_conditions_stay_with_their_samples():
    """Teacher and student see x and class of one sample in one row: both move it by a number that its class says."""

    def by_class(x_t: Tensor, t: Tensor, *, label: Tensor, **conditions: Tensor) -> Prediction:
        return Prediction(x_t, x_t).with_x0(label, x_t, COSINE(t))

    def student(x_t: Tensor, t: Tensor, *, label: Tensor, until: Tensor) -> Prediction:
        return by_class(x_t, t, label=label)

    label = numbers(0.1, -0.2, 0.3, -0.4, 0.5, -0.6)
    t, s = time(1000, 1000, 500, 250, 750, 250), time(875, 0, 375, 0, 500, 125)
    loss = Jump(DISTANCE, By(COSINE, by_class), WALK, (1, 2, 4, 8))
    eps = torch.randn(6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses = loss(By(COSINE, student), label, t, eps, {UNTIL: s, "label": label})
    assert float(losses.max()) < 1e-22  # x~ of steps that all see one x0 is that x0

    def deaf(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        return student(x_t, t, label=label.roll(1, 0)[: len(x_t)], until=t)

    assert float(loss(By(COSINE, deaf), label, t, eps, {UNTIL: s, "label": label}).min()) > 1e-4


def test_where_no_jump_is_long_a_student_is_asked_as_often_as_anywhere():
    """Processes that share a network's weights wait for each other in every evaluation."""
    counts = []
    for s in (time(875, 375), time(875, 0), time(0, 0)):
        asked = []

        def answer(x_t: Tensor, t: Tensor, asked: list = asked, **conditions: Tensor) -> Prediction:
            asked.append(len(x_t))
            return Prediction(torch.zeros_like(x_t), x_t)

        loss = Jump(DISTANCE, Gaussian().denoiser(), WALK, (1, 2, 4, 8))
        loss(By(COSINE, answer), numbers(1, 2), time(1000, 500), numbers(1, 2), {UNTIL: s})
        counts.append(asked)
    assert counts == [[2, 2, 2], [2, 1, 1], [2, 2, 2]]


@pytest.mark.parametrize("clipped", [True, False])
def test_own_jumps_are_clipped_as_samples_are(clipped):
    """The target of 1000 -> 0 is where two jumps end, each with x0 = 1.4 clipped or not."""

    def answer(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        return Prediction(x_t, x_t).with_x0(torch.full_like(x_t, 1.4), x_t, COSINE(t))

    loss = Jump(Objective(V, UniformWeight()), Gaussian().denoiser(), WALK, (1, 2), clipped=clipped)
    x0, eps, t = numbers(0.3), numbers(1), time(1000)
    found = loss(By(COSINE, answer), x0, t, eps, {UNTIL: time(0)})
    q_t = COSINE(t)
    gain = float(V.determinant(q_t) / q_t.sigma)  # v is off by this times x0's error
    assert float(found) == pytest.approx((gain * 0.4) ** 2 if clipped else 0, rel=1e-12, abs=1e-20)


def test_a_chain_of_halves_is_the_teachers_walk():
    """Students that have each learned from the shorter jumps: any count ends where the teacher's 16 steps end."""
    data, walk = Mixture(), walk_of(COSINE, 16)
    teacher, x = data.denoiser(), numbers(-1.3, 0.1, 0.5, 2)

    def answer(x_t: Tensor, t: Tensor, *, until: Tensor) -> Prediction:
        t, s = t.expand(len(x_t)), until.expand(len(x_t))
        ends = (*walk, 0.0)
        rows = []
        for k in range(len(x_t)):
            first, last = ends.index(float(t[k])), ends.index(float(s[k]))
            times = [time(ends[place]) for place in range(first, last + 1)]
            rows.append(follow(teacher, x_t[k : k + 1], times, None))
        return pair_of(x_t, torch.cat(rows), t, s)

    student, loss = By(COSINE, answer), Jump(DISTANCE, teacher, walk, (1, 2, 4, 8), clipped=False)
    t, s = time(1000, 1000, 500, 875), time(0, 500, 250, 750)
    assert float(loss(student, x, t, x.flip(0), {UNTIL: s}).max()) < 1e-22
    for count in (1, 2, 4, 8):
        found = walk_by(student, JumpStep(), walk[:: 16 // count], x)
        torch.testing.assert_close(found, walk_by(teacher, DDIM(), walk, x), rtol=1e-11, atol=1e-11)


def test_a_jump_of_no_length_stays():
    """alpha_t x0 + sigma_t eps = x_t, so a student asked for it is a denoiser."""
    student = LinearStudent(COSINE, WALK, jumps=True)
    x, t = numbers(0.3, -1), time(500, 250)
    torch.testing.assert_close(move(student(x, t, **{UNTIL: t}), COSINE(t)), x, rtol=1e-12, atol=1e-12)
    assert linear_map(student, JumpStep(), (500.0,))[1] == 0
