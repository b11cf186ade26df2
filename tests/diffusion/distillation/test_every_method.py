"""What all methods owe: a target that passes no gradient, masks, dtypes, conditions, rows of a law."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from oracles import ALL_ROWS, COSINE, By, LinearStudent, numbers, time, walk_of
from torch import Tensor, nn

from undiffuse.diffusion.denoiser import NetworkDenoiser, Prediction
from undiffuse.diffusion.distillation import Consistency, Jump, Match, Neighbors, Progressive, Regression
from undiffuse.diffusion.distillation.teacher import EARLIER, SCALE, UNTIL, Drawing, Scales, until_input
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.diffusion.guidance import Clip
from undiffuse.diffusion.losses import Loss, Objective, UniformWeight
from undiffuse.diffusion.parameterization import EPSILON, V
from undiffuse.diffusion.samplers import DDIM

WALK = walk_of(COSINE, 8)
DISTANCE = Objective(V, UniformWeight())
TEACHER = gaussian_denoiser(COSINE, (2, 3))
METHODS: dict[str, Callable[..., Drawing]] = {
    "match": lambda teacher, **more: Match(DISTANCE, teacher, **more),
    "progressive": lambda teacher, **more: Progressive(DISTANCE, teacher, WALK, **more),
    "regression": lambda teacher, **more: Regression(DISTANCE, teacher, DDIM(), WALK, 4, **more),
    "jump": lambda teacher, **more: Jump(DISTANCE, teacher, WALK, (1, 2, 4, 8), **more),
    "consistency": lambda teacher, **more: Consistency(Neighbors(WALK), teacher, **more),
    "consistency from data": lambda teacher, **more: Consistency(Neighbors(WALK), None, **more),
}
T = time(1000, 1000, 500, 750)  # one of two, one of the shortest, ...
ROWS = {UNTIL: time(0, 875, 250, 500), EARLIER: time(875, 875, 375, 625)}
every = pytest.mark.parametrize("method", METHODS)


def told(method: str) -> dict[str, Tensor]:
    return {
        name: ROWS[name] for name in ({"jump": [UNTIL]}.get(method) or [EARLIER] * method.startswith("consistency"))
    }


def batch(shape: tuple[int, ...] = (4, 2, 3), dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    x0, eps = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    return 0.5 * x0, eps


@every
def test_it_is_a_loss_that_draws(method):
    loss = METHODS[method](TEACHER)
    assert isinstance(loss, Drawing)
    assert isinstance(loss, Loss)
    rows = loss.draw(COSINE, T, 0.5, torch.Generator().manual_seed(0))
    assert set(rows) == set(told(method))
    scaled = METHODS[method](TEACHER, scales=Scales(1.0, 4.0))
    rows = scaled.draw(COSINE, T, 0.5, torch.Generator().manual_seed(0))
    assert set(rows) == {*told(method), SCALE}
    for row in rows.values():
        assert row.shape == (4,)
        assert row.dtype == torch.float64


# --- gradients --------------------------------------------------------------------------------------------------------


class TwoFaces(nn.Module):
    """One student where it learns, another where its target is made."""

    schedule = COSINE

    def __init__(self, jumps: bool) -> None:
        super().__init__()
        self.learning = LinearStudent(COSINE, WALK, jumps=jumps)
        self.asked = LinearStudent(COSINE, WALK, jumps=jumps)

    def forward(self, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        return (self.learning if torch.is_grad_enabled() else self.asked)(x_t, t, **conditions)


@pytest.mark.parametrize("method", ["jump", "consistency", "consistency from data"])
def test_a_target_moves_the_loss_and_has_no_gradient(method):
    student, loss = TwoFaces(method == "jump"), METHODS[method](TEACHER)
    x0, eps = batch()
    first = loss(student, x0, T, eps, told(method))
    first.sum().backward()
    assert all(p.grad is None for p in student.asked.parameters())
    assert float(student.learning.a.grad.abs().max()) > 1e-6
    with torch.no_grad():
        student.asked.a += 0.1
    second = loss(student, x0, T, eps, told(method))
    moved = (second - first).abs() > 1e-9
    assert moved.tolist() == ([True, False, True, True] if method == "jump" else [True] * 4)


@pytest.mark.parametrize("method", ["match", "progressive", "jump", "consistency"])
def test_a_teacher_learns_nothing(method):
    teacher = LinearStudent(COSINE, WALK)
    nn.init.constant_(teacher.b, 0.3)
    student = LinearStudent(COSINE, WALK, jumps=method == "jump")
    x0, eps = batch()
    METHODS[method](teacher)(student, x0, T, eps, told(method)).sum().backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert float(student.a.grad.abs().max()) > 1e-6


@every
def test_the_gradient_is_the_slope_of_the_loss(method):
    """With the target held, which is the other face's."""
    student, loss = TwoFaces(method == "jump"), METHODS[method](TEACHER)
    x0, eps = batch()

    def total() -> Tensor:
        return loss(student, x0, T, eps, told(method)).sum()

    with torch.no_grad():
        student.learning.b += 0.05
    total().backward()
    place = student.learning.a.grad.abs().flatten().argmax()
    slope = float(student.learning.a.grad.flatten()[place])
    ends = []
    for change in (1e-5, -2e-5):
        student.learning.a.data.view(-1)[place] += change
        ends.append(float(total().detach()))
    assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(slope, rel=1e-5)


# --- masks ------------------------------------------------------------------------------------------------------------


class Mixing(nn.Module):
    """A network whose every output sees every input, so that what is not hidden from it shows."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(6, 6, dtype=torch.float64)

    def forward(self, x: Tensor, t: Tensor, **conditions: Tensor) -> Tensor:
        return self.layer(x.flatten(1)).reshape(x.shape)


MASK = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1]]).reshape(4, 1, 3)


def learned(method: str, x0: Tensor, eps: Tensor, mask: Tensor | None) -> list[Tensor]:
    teacher, student = (NetworkDenoiser(Mixing(seed), COSINE, V) for seed in (0, 1))
    losses = METHODS[method](teacher)(student, x0, T, eps, told(method), mask)
    losses.sum().backward()
    return [losses.detach(), *(p.grad for p in student.network.parameters())]


@every
def test_a_mask_of_ones_is_bit_equal_to_none(method):
    for ones in (torch.ones(4, 1, 3), torch.ones(4, 2, 3, dtype=torch.bool)):
        for masked, plain in zip(learned(method, *batch(), ones), learned(method, *batch(), None), strict=True):
            assert torch.equal(masked, plain)


@pytest.mark.parametrize("other", [0.5, 1e30, float("inf"), float("nan")])
@every
def test_what_does_not_count_changes_neither_loss_nor_gradient(method, other):
    x0, eps = batch()
    out = ~MASK.bool()
    there = learned(method, x0, eps, MASK)
    for one, two in zip(
        there, learned(method, x0.masked_fill(out, other), eps.masked_fill(out, -other), MASK), strict=True
    ):
        assert torch.isfinite(one).all()
        assert torch.equal(one, two)


@every
def test_no_network_sees_anything_where_nothing_counts(method):
    """Not in the middle of a teacher's steps either, for in training there was 0."""
    rows: list[Tensor] = []

    def loud(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        rows.append(x_t)
        return Prediction(x_t, x_t).with_x0(x_t + 0.7, x_t, COSINE(t))

    x0, eps = batch()
    mask = MASK[:1].expand(4, 1, 3)  # the same in all, so that rows need not be told apart
    METHODS[method](By(COSINE, loud))(By(COSINE, loud), x0, T, eps, told(method), mask)
    assert len(rows) >= 2
    assert all(bool((x[:, :, 2] == 0).all()) for x in rows)
    assert all(bool((x[:, :, :2] != 0).all()) for x in rows)


@every
def test_the_loss_of_a_padded_sample_is_that_of_the_sample(method):
    """By a network of one value, whose answers at the padding are not 0."""
    x0, eps = batch()

    def off(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        return Prediction(x_t, x_t).with_x0(0.3 * x_t + 0.2, x_t, COSINE(t))

    def student(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        q_t = COSINE(t)
        return Prediction(x_t, x_t).with_x0(x_t * (0.1 + q_t.alpha.reshape(-1, 1, 1)), x_t, q_t)

    loss, mask = METHODS[method](By(COSINE, off)), torch.tensor([1, 0, 1]).expand(4, 1, 3)
    padded = loss(By(COSINE, student), x0, T, eps, told(method), mask)
    alone = loss(By(COSINE, student), x0[..., [0, 2]], T, eps[..., [0, 2]], told(method))
    torch.testing.assert_close(padded, alone, rtol=1e-12, atol=0)
    assert float(alone.min()) > 0


# --- dtype, shape and conditions --------------------------------------------------------------------------------------


class SmallUNet(nn.Module):
    """A convolution that is told the time and, by a linear map, what else is a number."""

    def __init__(self, width: int = 0) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layer = nn.Conv2d(3, 3, 3, padding=1)
        self.number = nn.Linear(width, 3) if width else None

    def forward(self, x: Tensor, t: Tensor, label: Tensor, until: Tensor | None = None) -> Tensor:
        assert t.dtype == torch.float32
        offset = t[:, None] / 1000 + label[:, None]
        if self.number is not None:
            assert until.dtype == torch.float32
            offset = offset + self.number(until)
        return self.layer(x) + offset[..., None, None]


@every
def test_images_in_float32_have_the_losses_of_float64(method):
    found = []
    for dtype in (torch.float32, torch.float64):
        x0, eps = batch((4, 3, 8, 8), dtype)
        teacher = Clip(NetworkDenoiser(SmallUNet(), COSINE, V))
        student = (
            NetworkDenoiser(SmallUNet(16), COSINE, V, number_inputs={UNTIL: until_input})
            if method == "jump"
            else (NetworkDenoiser(SmallUNet(), COSINE, V))
        )
        for who in (teacher.denoiser, student):
            who.network.double() if dtype == torch.float64 else None
            if dtype == torch.float64:
                who.network.register_forward_pre_hook(lambda module, args: (args[0].double(), *args[1:]))
        if dtype == torch.float64 and method == "jump":
            student.network.number.register_forward_pre_hook(lambda module, args: (args[0].double(),))
        label = torch.tensor([0.1, -0.2, 0.3, 0.0], dtype=dtype)
        losses = METHODS[method](teacher)(student, x0, T, eps, {"label": label, **told(method)})
        assert losses.shape == (4,)
        assert losses.dtype == dtype
        losses.sum().backward()
        assert all(bool(p.grad.isfinite().all()) for p in student.network.parameters())
        found.append(losses.detach())
    torch.testing.assert_close(found[0].double(), found[1], rtol=1e-4, atol=1e-7)


@every
def test_what_it_draws_is_heard_by_whom_it_concerns(method):
    """`until` by the student alone, `scale` by both, `earlier` by nobody, the class by both."""
    heard: dict[str, set[frozenset[str]]] = {"teacher": set(), "student": set()}

    def who(name: str) -> By:
        def answer(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
            heard[name].add(frozenset(conditions))
            for value in conditions.values():
                assert len(value) == len(x_t) or not value.ndim
            return Prediction(x_t, x_t).with_x0(0 * x_t, x_t, COSINE(t))

        return By(COSINE, answer)

    x0, eps = batch()
    rows = {**told(method), SCALE: time(1, 2, 3, 4), "label": torch.arange(4)}
    METHODS[method](who("teacher"))(who("student"), x0, T, eps, rows)
    both = {SCALE, "label"}
    assert heard["student"] == {frozenset(both | {UNTIL} if method == "jump" else both)}
    assert heard["teacher"] == (set() if method == "consistency from data" else {frozenset(both)})


@pytest.mark.parametrize("row", ALL_ROWS)
def test_match_changes_the_row(row):
    """The teacher's pair is one of x_t, so a student of any row can say it, and its loss is then nothing."""
    space = ALL_ROWS[row]

    def answer(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        seen, q_t = TEACHER(x_t, t), COSINE(t)
        return Prediction(*space.solve(space.mix(seen.x0, seen.eps, q_t), x_t, q_t))

    x0, eps = batch()
    t = time(900, 1, 500, 250)
    for distance in (DISTANCE, Objective(space, UniformWeight())):
        assert float(Match(distance, TEACHER)(By(COSINE, answer), x0, t, eps).max()) < 1e-20
    wrong = Match(Objective(EPSILON, UniformWeight()), TEACHER)
    assert float(wrong(LinearStudent(COSINE, (900.0, 500.0, 250.0, 1.0)), x0, t, eps).detach().min()) > 1e-6


def test_a_number_that_a_network_is_told_is_looked_up_in_the_schedule():
    """One number for all samples or one for each, whole or not, is looked up in the schedule."""
    seen = []

    class Listening(nn.Module):
        def forward(self, x: Tensor, t: Tensor, until: Tensor) -> Tensor:
            seen.append(until)
            return x

    student = NetworkDenoiser(Listening(), COSINE, V, number_inputs={UNTIL: until_input})
    x = numbers(0.1, 0.2, 0.3).float()
    for until in (time(250)[0], torch.tensor(250), time(250, 250, 250), torch.tensor([250, 250, 250])):
        student(x, 500, **{UNTIL: until})
    for found in seen:
        assert torch.equal(found, until_input(COSINE, time(250, 250, 250)))
        assert found.dtype == torch.float32
