"""Objectives without a teacher end where their equations say, and their trainings become rows."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2] / "diffusion" / "distillation"))
sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

from oracles import COSINE, DDIM_STD, By, Gaussian, LinearStudent, learn, linear_map, numbers, time, walk_by, walk_of
from tiny import tiny_settings

from benchmarks.few_step import drawing, from_scratch
from benchmarks.few_step.judges import judge_of
from benchmarks.few_step.objectives import MeanFlow, Shortcut, derivative, velocity
from benchmarks.few_step.study import Study
from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.distillation import implied
from undiffuse.diffusion.distillation.teacher import UNTIL
from undiffuse.diffusion.losses import Loss, Objective, UniformWeight
from undiffuse.diffusion.parameterization import V
from undiffuse.diffusion.samplers import JumpStep
from undiffuse.diffusion.schedules import RectifiedFlow
from undiffuse.model import build_model

LINE = RectifiedFlow()
DISTANCE = Objective(V, UniformWeight())
WALK = walk_of(COSINE, 8)


def exact(schedule=COSINE, mean: float = 0.0) -> By:
    """Who jumps by the flow's own map of N(mean, 0.25)."""
    data = Gaussian(schedule, mean)

    def answer(x_t: Tensor, t: Tensor, *, until: Tensor) -> Prediction:
        t, s = t.expand(len(x_t)), until.expand(len(x_t))
        rows = [data.flow(x[None], float(a), float(b)) for x, a, b in zip(x_t, t, s, strict=True)]
        return Prediction(*implied(x_t, torch.cat(rows), schedule(t), schedule(s)))

    return By(schedule, answer)


def mean_velocity(x: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """u of N(0, 0.25) in closed form; r = t is its limit."""
    variance = (1 - t) ** 2 / 4 + t**2
    rate = (t - (1 - t) / 4) / variance  # d ln sqrt(variance) / dt
    mean = (1 - (((1 - r) ** 2 / 4 + r**2) / variance).sqrt()) / (t - r)
    return torch.where(r == t, rate, mean)[:, None] * x


def answer_velocity(x_t: Tensor, t: Tensor, *, until: Tensor) -> Prediction:
    t = t.expand(len(x_t))
    u = mean_velocity(x_t, t, until.expand(len(x_t)))
    return Prediction(x_t - t[:, None] * u, x_t + (1 - t)[:, None] * u)


class Smooth(nn.Module):
    """A small smooth network of (x, t, r) as a denoiser on the straight line, and on nothing else."""

    schedule = LINE

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 3)
        ).double()

    def u(self, x: Tensor, t: Tensor, r: Tensor) -> Tensor:
        return self.layers(torch.cat([x, t[:, None], r[:, None]], 1))

    def forward(self, x_t: Tensor, t: Tensor, *, until: Tensor) -> Prediction:
        u = self.u(x_t, t, until)
        return Prediction(x_t - t[:, None] * u, x_t + (1 - t)[:, None] * u)


def drawn(count: int, *shape: int) -> tuple[Tensor, ...]:
    return tuple(torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))


# ------------------------------------------------------------------ mean velocities


def test_the_mean_velocity_of_a_gaussian_has_its_known_values():
    u = mean_velocity(numbers(1, 1, 1, 1), time(1, 1, 0.5, 0.75), time(0, 0.5, 0, 0.25))
    assert u[:, 0].tolist() == pytest.approx([0.5, 0.881966011, 0.211145618, 0.814502043], abs=1e-9)
    x = numbers(-0.3, 1.0)
    for t, r in ((1.0, 0.5), (0.75, 0.25)):
        jump = x - (t - r) * mean_velocity(x, time(t, t), time(r, r))
        torch.testing.assert_close(jump, Gaussian(LINE).flow(x, t, r))


@pytest.mark.parametrize("own", [False, True])
def test_the_exact_mean_velocity_is_its_own_target(own):
    x, t, r = numbers(1, 1, 1, 1, -2), time(1, 1, 0.5, 0.75, 0.3), time(0, 0.5, 0, 0.25, 0.29)
    v = mean_velocity(x, t, t)
    target = MeanFlow(own, width=1e-6).target(By(LINE, answer_velocity), x, v, t, r, {})
    torch.testing.assert_close(target, mean_velocity(x, t, r), rtol=0, atol=1e-6)
    wrong = v + (t - r)[:, None] * derivative(By(LINE, answer_velocity), x, v, t, r, width=1e-6)
    assert (wrong - mean_velocity(x, t, r)).abs().max() > 0.05, "the sign matters"


@pytest.mark.parametrize("own", [False, True])
def test_over_all_samples_that_pass_a_point_the_target_is_exact_in_the_mean(own):
    """Two samples on both sides of E[x0 | x_t] stand for all, since u of a Gaussian is linear in x."""
    x, t, r = numbers(0.8, 0.8), time(0.6, 0.6), time(0.1, 0.1)
    x0 = Gaussian(LINE).denoiser()(x, t).x0 + numbers(0.7, -0.7)
    v = (x - 0.4 * x0) / 0.6 - x0
    target = MeanFlow(own, width=1e-6).target(By(LINE, answer_velocity), x, v, t, r, {})
    torch.testing.assert_close(target.mean(0), mean_velocity(x, t, r)[0], rtol=0, atol=1e-7)
    assert (target[0] - target[1]).abs() > 0.1, "one sample alone is not"


def test_a_jump_of_the_sampler_is_a_step_along_the_mean_velocity():
    x = numbers(-1, 0.2, 1.5)
    found = walk_by(By(LINE, answer_velocity), JumpStep(), (1.0, 0.75, 0.5), x)
    torch.testing.assert_close(found, Gaussian(LINE).flow(x, 1.0, 0.0))


def test_the_difference_is_the_forward_derivative():
    network, (x, v) = Smooth(), drawn(2, 5, 3)
    t, r = time(0.9, 0.5, 0.4, 1.0, 0.2), time(0.1, 0.0, 0.39, 0.3, 0.2 - 1e-3)
    _, true = torch.func.jvp(network.u, (x, t, r), (v, torch.ones_like(t), torch.zeros_like(r)))
    torch.testing.assert_close(derivative(network, x, v, t, r)[:3], true[:3], rtol=0, atol=1e-4)
    # One-sided at pure noise, and before r.
    torch.testing.assert_close(derivative(network, x, v, t, r, width=1e-5), true, rtol=0, atol=1e-4)


def test_the_difference_asks_neither_before_r_nor_after_pure_noise():
    asked: list[Tensor] = []

    def answer(x_t: Tensor, t: Tensor, *, until: Tensor) -> Prediction:
        asked.append(t)
        return Prediction(x_t, x_t)

    derivative(By(LINE, answer), numbers(1, 1), numbers(1, 1), time(1, 0.3), time(0, 0.299))
    assert torch.stack(asked).T.flatten().tolist() == pytest.approx([1, 0.995, 0.305, 0.299])


@pytest.mark.parametrize("own", [False, True])
def test_the_gradient_of_a_mean_velocity_stops_at_its_target(own):
    """It is that of a regression on fixed numbers with fixed weights."""
    network, (x0, eps) = Smooth(), drawn(2, 6, 3)
    t, r = time(0.9, 0.5, 0.4, 0.99, 0.2, 0.7), time(0.1, 0.0, 0.4, 0.3, 0.1, 0.7)
    loss = MeanFlow(own)
    losses = loss(network, x0, t, eps, {UNTIL: r})
    found = torch.autograd.grad(losses.sum(), list(network.parameters()))
    x_t, v = (1 - t)[:, None] * x0 + t[:, None] * eps, eps - x0
    target = torch.where((r < t)[:, None], loss.target(network, x_t, v, t, r, {}), v)
    assert not target.requires_grad
    error = (velocity(network(x_t, t, until=r)) - target).square().mean(1)
    fixed = (3 * error.detach() + loss.c) ** -loss.power
    wanted = torch.autograd.grad((fixed * error).sum(), list(network.parameters()))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(losses, fixed * error)


def test_half_of_the_moves_have_a_length_and_half_of_these_end_at_data():
    loss, dice = MeanFlow(), torch.Generator().manual_seed(0)
    assert isinstance(loss, Loss)
    t = loss.law().draw(LINE, 4000, dice)
    r = loss.draw(LINE, t, 0.0, dice)[UNTIL]
    assert ((r >= 0) & (r <= t) & (t <= 1)).all()
    assert float((r < t).double().mean()) == pytest.approx(0.5, abs=0.03)
    assert float((r == 0).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert float((t > 0.95).double().mean()) > 0.02, "samples start at pure noise"


# ------------------------------------------------------------------ shortcut


def test_exact_jumps_are_the_target_of_longer_ones_and_the_data_that_of_the_shortest():
    t, s = time(1000, 1000, 500, 1000), time(0, 500, 250, 875)
    x0, eps = numbers(0.1, 0.5, 0.3, 0.3), numbers(1, -1, 2, 1)
    loss = Shortcut(DISTANCE, WALK, clipped=False)
    assert isinstance(loss, Loss)
    losses = loss(exact(mean=0.3), x0, t, eps, {UNTIL: s})
    assert float(losses[:3].max()) < 1e-22
    q_t = COSINE(t[3:])
    x_t = q_t.alpha * x0[3] + q_t.sigma * eps[3]
    student = exact(mean=0.3)(x_t[None], t[3:], until=s[3:])
    error = V.mix(student.x0, student.eps, q_t) - V.mix(x0[3:], eps[3:], q_t)
    assert float(losses[3]) == pytest.approx(float(error) ** 2)


def test_two_jumps_of_the_averaged_weights_are_learned_and_pass_no_gradient():
    student, other = (LinearStudent(COSINE, WALK, jumps=True) for _ in range(2))
    x0, eps, t, s = *drawn(2, 2, 4), time(1000, 500), time(0, 375)
    loss = Shortcut(DISTANCE, WALK, other, clipped=False)

    def losses() -> Tensor:
        return loss(student, x0, t, eps, {UNTIL: s})

    before = losses()
    before.sum().backward()
    assert student.a.grad is not None
    assert other.a.grad is None
    other.a.data += 0.1
    assert losses()[0] != before[0], "a longer jump is learned from the other's"
    assert losses()[1] == before[1], "the shortest is learned from the data"


def test_longer_jumps_are_the_first_rows_of_a_batch_and_halve_on_the_walk():
    loss, dice, seen = Shortcut(DISTANCE, WALK), torch.Generator().manual_seed(0), set()
    for _ in range(200):
        t = loss.law().draw(COSINE, 16, dice)
        s = loss.draw(COSINE, t, 0.0, dice)[UNTIL]
        lengths = ((t - s) / 125).tolist()
        assert lengths[4:] == [1.0] * 12
        for start, length in zip((t / 125).tolist()[:4], lengths[:4], strict=True):
            assert length in (2, 4, 8)
            assert (8 - start) % length == 0
            seen.add((start, length))
    assert len(seen) == 4 + 2 + 1, "every jump of every count"


def test_each_number_of_longer_jumps_is_drawn_equally_often_and_each_of_its_jumps():
    """P(t, s) = 1 / (3 n) for each of the n jumps of 1, 2 and 4."""
    loss, dice, batch = Shortcut(DISTANCE, WALK, share=1.0), torch.Generator().manual_seed(0), 200_000
    t = loss.law().draw(COSINE, batch, dice)
    found = Counter(zip(t.tolist(), loss.draw(COSINE, t, 0.0, dice)[UNTIL].tolist(), strict=True))
    meant = {(1000 - k * 1000 / n, 1000 - (k + 1) * 1000 / n): batch / (3 * n) for n in (1, 2, 4) for k in range(n)}
    assert found.keys() == meant.keys()
    for jump, often in meant.items():
        assert abs(found[jump] - often) < 5 * often**0.5, jump


def test_a_shortcut_of_two_numbers_a_jump_learns_the_walk_from_data_alone():
    """On a Gaussian: any number of its jumps draw what as many DDIM steps as its shortest draw, .331 of .5 for four."""
    walk, data = walk_of(COSINE, 4), Gaussian(mean=0.2)
    student, loss = LinearStudent(COSINE, walk, jumps=True), Shortcut(DISTANCE, walk, share=0.5, clipped=False)
    learn(loss, student, loss.law(), data, 200, 0.1, (128, 32))
    for count in (1, 2, 4):
        slope, _ = linear_map(student, JumpStep(), walk[:: 4 // count])
        assert abs(slope) == pytest.approx(DDIM_STD["cosine"][4], rel=0.02)


def test_clipped_jumps_keep_the_target_where_data_can_be():
    """Far out a network may say anything; its halves are clipped as its samples are."""
    wild = By(COSINE, lambda x_t, t, *, until: Prediction(9 * torch.ones_like(x_t), torch.zeros_like(x_t)))
    asked = {UNTIL: time(0)}
    free = Shortcut(DISTANCE, WALK, wild, clipped=False)(wild, numbers(0), time(1000), numbers(1), asked)
    clipped = Shortcut(DISTANCE, WALK, wild)(wild, numbers(0), time(1000), numbers(1), asked)
    assert float(free) < 1e-6
    assert float(clipped) == pytest.approx(64, rel=1e-3), "9 where 1 is meant"


# ------------------------------------------------------------------ trainings


@pytest.fixture
def data(bench):
    info = replace(bench.data.info, classes=tuple("0123456789"))
    return replace(bench.data, info=info, labels=bench.reference.labels.numpy())


@pytest.fixture
def config():
    settings = {"condition": ("class",), "dropout": 0.0, "flip": False, "ema": (0.9,), "timesteps": 1000}
    return tiny_settings(parameterization="v", batch=8, schedule="cosine", **settings)


def test_averaged_weights_are_those_that_the_training_updates(config, data):
    model = from_scratch.WAYS["shortcut"].model(config, data.info)
    step, state = from_scratch.pieces(from_scratch.WAYS["shortcut"], model, data)
    other = step.objective.averaged.network
    for parameter in model.network.parameters():
        parameter.data += 1
    state.ema.update(5)
    for name, tensor in state.ema.state_dict(0.9).items():
        assert torch.equal(other.state_dict()[name], tensor)
    assert not any(parameter.requires_grad for parameter in other.parameters())


def test_the_time_of_a_mean_velocity_is_slow(config, data):
    denoiser = from_scratch.WAYS["meanflow"].model(config, data.info).denoiser
    assert denoiser.time_input(LINE, time(0, 0.5, 1)).tolist() == pytest.approx([0, 10, 20])
    assert type(denoiser.schedule) is RectifiedFlow


@pytest.mark.parametrize("name", list(from_scratch.WAYS))
def test_a_way_is_trained_once_and_is_a_row_at_each_number_of_evaluations(
    name, config, data, bench, tmp_path, monkeypatch
):
    monkeypatch.setattr(drawing, "BLOCK", 30)
    model = build_model(config, data.info)
    model.provenance["sha256"] = "d" * 64
    study = Study("digits", model, judge_of(bench, "c" * 64), results=tmp_path, n=30, faithful=0)
    table = study.open_table(tmp_path / "rows.json")
    asked = ([name], [1], 0.003)
    from_scratch.fill(table, study, data, *asked)
    assert [(row["method"], row["training_seed"], row["evaluations"]) for row in table.rows] == [
        (f"{name} from scratch", 1, evaluations) for evaluations in (1, 2, 4)
    ]
    assert all(row["updates"] > 1 for row in table.rows)
    before = table.path.read_bytes()
    monkeypatch.setattr(from_scratch, "train", lambda *_: pytest.fail("trained again"))
    from_scratch.fill(table, study, data, *asked)
    assert table.path.read_bytes() == before
    table.path.unlink()
    from_scratch.fill(study.open_table(table.path), study, data, *asked)
    assert table.path.read_bytes() == before, "from the kept weights"
