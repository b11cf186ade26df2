from __future__ import annotations

import math

import pytest
import torch

from undiffuse.diffusion.dormand_prince import Tolerance, integrate
from undiffuse.errors import UndiffuseError


def test_a_polynomial_of_degree_five_is_exact():
    """An order-5 method integrates y' = 6 t^5 ... up to degree 4 exactly; here y' = 5 t^4, y = t^5."""
    (y,), _ = integrate(
        lambda rows, t, state: (5 * t[:, None] ** 4,), (torch.zeros(1, 1, dtype=torch.float64),), 0.0, 2.0
    )
    assert float(y) == pytest.approx(32, abs=1e-11)


@pytest.mark.parametrize("backwards", [False, True])
def test_errors_follow_the_tolerance(backwards):
    """y' = y cos t from either end: y = exp(sin t)."""
    start, end = (5.0, 0.0) if backwards else (0.0, 5.0)
    y0 = torch.full((1, 1), math.exp(math.sin(start)), dtype=torch.float64)
    errors, calls = [], []
    for tolerance in (1e-4, 1e-6, 1e-8, 1e-10):
        (y,), used = integrate(
            lambda rows, t, s: (s[0] * t[:, None].cos(),), (y0,), start, end, Tolerance(tolerance, tolerance)
        )
        errors.append(abs(float(y) - math.exp(math.sin(end))))
        calls.append(int(used))
    assert all(error < 30 * tolerance for error, tolerance in zip(errors, (1e-4, 1e-6, 1e-8, 1e-10), strict=True))
    # Steps of order five: a hundredth of the error costs 100^(1/5) = 2.5 times the steps.
    assert 1.8 < calls[3] / calls[2] < 3.2


def test_every_row_has_steps_of_its_own():
    rates = torch.tensor([1.0, 200.0], dtype=torch.float64)

    def velocity(rows, t, state):
        return (-rates[rows, None] * (state[0] - t[:, None].cos()),)

    y0 = torch.ones(2, 1, dtype=torch.float64)
    done: list[int] = []
    (both,), used = integrate(velocity, (y0,), 0.0, 3.0, on_done=done.append)
    (alone,), once = integrate(velocity, (y0[:1],), 0.0, 3.0)
    assert float(both[0]) == pytest.approx(float(alone[0]), rel=1e-13)
    assert used[0] == once[0]
    assert used[1] > 4 * used[0]
    assert sum(done) == 2
    assert torch.equal(y0, torch.ones(2, 1, dtype=torch.float64))


def test_it_agrees_with_torchdiffeq():
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="torchdiffeq is not installed")
    y0 = torch.tensor([[1.0, 0.5], [2.0, 1.0]], dtype=torch.float64)

    def predator_prey(y):
        a, b = y[..., 0], y[..., 1]
        return torch.stack([a * (1.5 - b), b * (a - 3.0)], dim=-1)

    (ours,), _ = integrate(lambda rows, t, s: (predator_prey(s[0]),), (y0,), 0.0, 4.0, Tolerance(1e-10, 1e-10))
    theirs = torchdiffeq.odeint(
        lambda t, y: predator_prey(y), y0, torch.tensor([0.0, 4.0]).double(), rtol=1e-10, atol=1e-10
    )
    assert torch.allclose(ours, theirs[-1], atol=1e-7)


def test_numbers_that_explode_are_one_sentence(monkeypatch):
    monkeypatch.setattr("undiffuse.diffusion.dormand_prince.MOST", 100)
    y0 = torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(UndiffuseError, match="finite"):
        integrate(lambda rows, t, s: (s[0] / 0,), (y0,), 0.0, 1.0)
    with pytest.raises(UndiffuseError, match="`rtol`"):
        integrate(lambda rows, t, s: (torch.sign((1e6 * t[:, None]).sin()),), (y0,), 0.0, 1.0, Tolerance(1e-12, 1e-12))
