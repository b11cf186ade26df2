"""Many requests, one network: who shares, what bits come out, and that nobody waits for somebody who is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import undiffuse
from undiffuse.config.network import UNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.conditions import Condition
from undiffuse.networks.kernels import accelerate_cpu
from undiffuse.networks.unet import UNet
from undiffuse.studio.jobs import batched_network as module
from undiffuse.studio.jobs.batched_network import CancelledError, Evaluator, RequestHandle, sizes_alike


class Counting(nn.Module):
    """x + time, by rows; remembers the sizes of its batches, and waits where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def forward(self, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
        self.sizes.append(len(x))
        self.entered.set()
        self.gate.wait(30)
        label = conditions.get("label", torch.zeros(len(x)))
        return self.weight * x + (time + label).reshape(-1, 1)


class Product(nn.Module):
    """x times a matrix, which has a lower format; remembers the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))
        self.sizes: list[int] = []

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return x @ self.weight


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows wait until everybody is here, however slow the machine is."""
    monkeypatch.setattr(module, "GATHER_SECONDS", 60.0)


def together(evaluator: Evaluator, works: list[Callable[[nn.Module, RequestHandle], Any]]) -> list[Any]:
    """Each work in its thread, all of them guests before the first begins."""
    found: list[Any] = [None] * len(works)
    ready = threading.Barrier(len(works))

    def run(k: int) -> None:
        handle = RequestHandle()
        with evaluator.active():
            ready.wait(30)
            try:
                found[k] = works[k](evaluator.network_for(handle), handle)
            except Exception as error:
                found[k] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    evaluator.close()
    return found


@pytest.mark.usefixtures("patient")
def test_requests_share_their_evaluations_whatever_their_times() -> None:
    network = Counting()
    evaluator = Evaluator(network, (4, 8, 16, 32))

    def walk(k: int) -> Callable[[nn.Module, RequestHandle], Tensor]:
        def work(shared: nn.Module, handle: RequestHandle) -> Tensor:
            x = torch.full((4, 3), float(k))
            for step in range(5):
                x = shared(x, torch.full((4,), 10.0 * k + step))
            return x

        return work

    found = together(evaluator, [walk(k) for k in range(4)])
    assert network.sizes == [16] * 5  # twenty calls of four rows
    for k, x in enumerate(found):
        assert torch.equal(x, torch.full((4, 3), float(k + 5 * 10 * k + 10)))


@pytest.mark.usefixtures("patient")
def test_who_comes_later_joins_the_next_evaluation() -> None:
    network = Counting()
    evaluator = Evaluator(network, (4, 8))
    half_way, arrived = threading.Event(), threading.Event()

    def late() -> None:
        half_way.wait(30)
        with evaluator.active():
            arrived.set()
            for _ in range(3):
                evaluator.network_for(RequestHandle())(torch.ones(4, 1), torch.ones(4))

    thread = threading.Thread(target=late)
    thread.start()
    with evaluator.active():
        for step in range(5):
            if step == 2:
                half_way.set()
                arrived.wait(30)
            evaluator.network_for(RequestHandle())(torch.zeros(4, 1), torch.zeros(4))
    thread.join(60)
    evaluator.close()
    assert network.sizes == [4, 4, 8, 8, 8]


def test_only_wanted_rows_are_evaluated_and_the_batch_is_filled_up() -> None:
    network = Counting()
    seen: list[int] = []
    evaluator = Evaluator(network, (4, 16), seen.append)
    handle = RequestHandle()
    handle.want([2, 5], 8)
    x = torch.arange(16.0)[:, None]
    with evaluator.active():
        output = evaluator.network_for(handle)(x, torch.ones(16))
    evaluator.close()
    wanted = [2, 5, 10, 13]  # of both halves of a guided micro-batch
    assert seen == [4]
    assert network.sizes == [4]
    assert torch.equal(output[wanted], x[wanted] + 1)
    assert not output[[row for row in range(16) if row not in wanted]].any()


def test_calls_of_other_sizes_are_evaluated_as_they_come() -> None:
    network = Counting()
    evaluator = Evaluator(network, (4, 16))
    handle = RequestHandle()
    handle.want([0], 16)
    with evaluator.active():
        output = evaluator.network_for(handle)(torch.zeros(3, 1), torch.ones(3))
    evaluator.close()
    assert network.sizes == [3]
    assert torch.equal(output, torch.ones(3, 1))


def test_more_rows_than_a_batch_holds_are_split() -> None:
    network = Counting()
    evaluator = Evaluator(network, (4, 16, 24))
    x = torch.arange(24.0)[:, None]

    def work(shared: nn.Module, handle: RequestHandle) -> Tensor:
        output: Tensor = shared(x, torch.zeros(24))
        return output

    first, second = together(evaluator, [work, work])
    assert sum(network.sizes) == 48
    assert torch.equal(first, x)
    assert torch.equal(second, x)


@pytest.mark.usefixtures("patient")
def test_conditions_travel_with_their_rows_and_other_kinds_of_call_wait_their_turn() -> None:
    network = Counting()
    evaluator = Evaluator(network, (4, 8, 16))  # more than come, so that all are waited for

    def told(label: float) -> Callable[[nn.Module, RequestHandle], Tensor]:
        return lambda shared, handle: shared(torch.zeros(4, 1), torch.zeros(4), label=torch.full((4,), label))

    def untold(shared: nn.Module, handle: RequestHandle) -> Tensor:
        output: Tensor = shared(torch.zeros(4, 1), torch.zeros(4))
        return output

    found = together(evaluator, [told(1.0), told(2.0), untold])
    assert sorted(network.sizes) == [4, 8]
    assert [float(x[0, 0]) for x in found] == [1.0, 2.0, 0.0]


def test_gradients_flow_through_a_shared_network() -> None:
    network = Counting()
    evaluator = Evaluator(network, (4,))
    x = torch.ones(4, 1, requires_grad=True)
    with evaluator.active():
        (gradient,) = torch.autograd.grad(evaluator.network_for(RequestHandle())(x, torch.zeros(4)).sum(), x)
    evaluator.close()
    assert torch.equal(gradient, torch.ones(4, 1))


def test_a_call_in_bfloat16_is_evaluated_in_it_and_mixed_with_none() -> None:
    network = Product()
    evaluator, x = Evaluator(network, (4, 8)), torch.randn(4, 3)

    def low(shared: nn.Module, handle: RequestHandle) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return shared(x, torch.zeros(4))

    def full(shared: nn.Module, handle: RequestHandle) -> Tensor:
        with torch.no_grad():
            return shared(x, torch.zeros(4))

    found = together(evaluator, [low, full, low])
    evaluator.close()
    with torch.no_grad():
        wanted = x @ network.weight
        with torch.autocast("cpu", torch.bfloat16):
            lowered = x @ network.weight
    assert lowered.dtype == torch.bfloat16
    assert [one.equal(right) for one, right in zip(found, (lowered, wanted, lowered), strict=True)] == [True] * 3
    assert network.sizes == [4, 4, 4]


def test_a_cancelled_request_ends_while_its_rows_are_being_evaluated() -> None:
    network = Counting()
    network.gate.clear()
    evaluator = Evaluator(network, (4,))
    handle, ended = RequestHandle(), list[BaseException]()

    def walk() -> None:
        with evaluator.active():
            try:
                while True:
                    evaluator.network_for(handle)(torch.zeros(4, 1), torch.zeros(4))
            except CancelledError as error:
                ended.append(error)

    thread = threading.Thread(target=walk)
    thread.start()
    assert network.entered.wait(30)
    handle.cancel()
    thread.join(30)  # although the evaluation still hangs
    assert len(ended) == 1
    network.gate.set()
    with evaluator.active():
        assert evaluator.network_for(RequestHandle())(torch.zeros(4, 1), torch.ones(4)).eq(1).all()
    evaluator.close()
    assert network.sizes == [4, 4]  # nothing of the cancelled one after it was
    with pytest.raises(CancelledError):
        evaluator.evaluate(handle, torch.zeros(4, 1), torch.zeros(4), {})


def test_a_mistake_in_the_network_reaches_every_request_in_the_batch_and_nobody_else() -> None:
    class Broken(Counting):
        def forward(self, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
            if bool((x < 0).any()):
                raise UndiffuseError("negative")
            return super().forward(x, time)

    evaluator = Evaluator(Broken(), (4,))
    with evaluator.active():
        with pytest.raises(UndiffuseError, match="negative"):
            evaluator.network_for(RequestHandle())(-torch.ones(4, 1), torch.zeros(4))
        assert evaluator.network_for(RequestHandle())(torch.zeros(4, 1), torch.ones(4)).eq(1).all()
    evaluator.close()


def test_a_closed_evaluator_answers_instead_of_letting_wait() -> None:
    evaluator = Evaluator(Counting(), (4,))
    evaluator.close()
    with pytest.raises(UndiffuseError, match="shutting down"):
        evaluator.network_for(RequestHandle())(torch.zeros(4, 1), torch.zeros(4))


def test_a_shared_network_stays_in_evaluation_mode() -> None:
    network = Counting().eval()
    evaluator = Evaluator(network, (4,))
    evaluator.network_for(RequestHandle()).train()
    evaluator.close()
    assert not network.training


def test_sizes_with_other_bits_are_found_out() -> None:
    class Sloppy(Counting):
        """Whose rounding depends on the size of the batch below 16."""

        def forward(self, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
            return super().forward(x, time) * (1 + (1e-6 if len(x) < 16 else 0))

    class Placed(Counting):
        """Whose rounding depends on the place in the batch."""

        def forward(self, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
            return super().forward(x, time) * (1 + 1e-6 * torch.arange(len(x)).reshape(-1, 1))

    cpu = torch.device("cpu")
    assert sizes_alike(Counting(), (3,), (), cpu, 16) == [4, 8, 16, 32]
    assert sizes_alike(Sloppy(), (3,), (), cpu, 16) == [16, 32]
    assert sizes_alike(Sloppy(), (3,), (), cpu, 4) == [4, 8]
    assert sizes_alike(Placed(), (3,), (), cpu, 16) == []


def test_pictures_that_go_one_by_one_are_not_tried_in_batches() -> None:
    network = Counting()
    assert sizes_alike(network, (3,), (), torch.device("cpu"), 1) == [1]
    assert network.sizes == []


def test_the_shipped_model_may_be_shared_on_this_machine_or_says_that_it_may_not() -> None:
    model = undiffuse.load("digits")
    sizes = sizes_alike(model.network, model.info.shape, model.conditions, model.device, model.micro_batch)
    assert sizes == [] or model.micro_batch in sizes


def test_networks_that_are_told_anything_are_tried_with_it() -> None:
    told = (
        Condition("label", "class", 3),
        Condition("vector", "vector", 2),
        Condition("text", "tokens", 5),
        Condition("small", "image", 1, required=True),
    )
    config = UNetConfig(base=8, multipliers=(1,), blocks=1, attention_levels=(0,), middle_attention=False)
    network = accelerate_cpu(UNet(1, 1, 2, config, told)).eval()
    assert set(sizes_alike(network, (1, 4, 4), told, torch.device("cpu"), 16)) <= set(module.SIZES)


def test_rows_do_not_wait_for_ever_for_those_who_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.02)
    evaluator = Evaluator(Counting(), (4,))
    began = time.monotonic()
    with evaluator.active(), evaluator.active():  # the second never asks
        evaluator.network_for(RequestHandle())(torch.zeros(4, 1), torch.zeros(4))
    assert time.monotonic() - began < 30  # it came back at all
    evaluator.close()
