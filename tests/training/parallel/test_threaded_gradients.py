"""Gradients of several threads: their sum, in one order, whatever the threads' order in time is."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import Tensor, nn

from undiffuse.runtime.threads import ThreadPool
from undiffuse.training.parallel.threaded_gradients import ThreadedGradients


class Slowly(torch.autograd.Function):
    """The identity; its backward pass takes a while."""

    @staticmethod
    def forward(ctx, x: Tensor, seconds: float) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.seconds = seconds
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def, override]
        time.sleep(ctx.seconds)
        return gradient, None


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def run(made: nn.Module, parts: list[Tensor], delays: list[float], before: float | None = None) -> list[Tensor]:
    summed = ThreadedGradients(ThreadPool(len(parts)), made)
    for parameter in made.parameters():
        parameter.grad = None if before is None else torch.full_like(parameter, before)

    def work(part: tuple[Tensor, float]) -> tuple[int, Tensor]:
        rows, delay = part
        return len(rows), Slowly.apply(made(rows), delay).square().sum()

    assert summed.run(work, list(zip(parts, delays, strict=True))) == [len(part) for part in parts]
    return [parameter.grad.clone() for parameter in made.parameters()]


@pytest.mark.parametrize("before", [None, 0.1])
def test_the_sum_is_made_in_the_order_of_the_parts(before: float | None) -> None:
    """To the bit, though the first threads are the last to have their gradients."""
    made, parts = network(), [1e3**k * torch.randn(5, 3) for k in range(4)]
    found = run(made, parts, [0.15, 0.1, 0.05, 0.0], before)
    wanted: list[Tensor] = []
    for part in parts:
        gradients = torch.autograd.grad(made(part).square().sum(), list(made.parameters()))
        start = wanted or [torch.full_like(g, before or 0.0) for g in gradients]
        wanted = [a + g for a, g in zip(start, gradients, strict=True)]
    assert all(a.equal(b) for a, b in zip(found, wanted, strict=True))
    assert all(a.equal(b) for a, b in zip(run(made, parts, [0.0] * 4, before), wanted, strict=True))


def test_an_error_in_one_thread_keeps_no_other_waiting() -> None:
    made = network()
    summed = ThreadedGradients(ThreadPool(3), made)
    ended: list[int] = []

    def work(part: int) -> tuple[int, Tensor]:
        if part == 0:
            time.sleep(0.1)
            raise RuntimeError("the first one fails")
        try:
            return part, made(torch.ones(2, 3)).sum()
        finally:
            ended.append(part)

    with pytest.raises(RuntimeError, match="the first one fails"):
        summed.run(work, [0, 1, 2])
    found = summed.run(lambda part: (part, made(torch.ones(2, 3)).sum()), [0, 1, 2])
    assert found == [0, 1, 2], "the team is as good as new"
    assert sorted(ended) == [1, 2]


def test_backward_passes_of_others_do_not_wait() -> None:
    made = network()
    ThreadedGradients(ThreadPool(2), made)
    made(torch.ones(2, 3)).sum().backward()
    others = threading.Thread(target=lambda: made(torch.ones(2, 3)).sum().backward())
    others.start()
    others.join(5)
    assert not others.is_alive()
    once = torch.autograd.grad(made(torch.ones(2, 3)).sum(), made[0].weight)[0]
    assert torch.allclose(made[0].weight.grad, 2 * once)


def test_a_frozen_parameter_and_one_without_a_gradient_are_left_out() -> None:
    made = network()
    made[0].weight.requires_grad_(False)
    made.register_parameter("unused", nn.Parameter(torch.ones(1)))
    summed = ThreadedGradients(ThreadPool(2), made)
    summed.run(lambda part: (0, made[:3](torch.ones(part, 3)).sum()), [1, 2])
    assert made[0].weight.grad is None
    assert made.unused.grad is None
    assert made[2].bias.grad.tolist() == [3.0, 3.0]


def test_gradients_that_are_not_finite_are_passed_on() -> None:
    made = network()
    ThreadedGradients(ThreadPool(2), made).run(lambda x: (0, made(torch.full((1, 3), x)).sum()), [1.0, float("nan")])
    assert not torch.isfinite(made[0].weight.grad).any()
