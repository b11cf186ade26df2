"""torch.compile around networks: what is traced, what is drawn, and what is said where it fails.

The type checks of the tests' own process and the compiler do not go together, so what compiles does it in another.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from undiffuse.errors import UndiffuseError
from undiffuse.model import load
from undiffuse.runtime.compiling import Compiled, CompiledEvaluations

TRACE = """
import sys, torch
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.factories.network import NETWORKS
from undiffuse.networks.conditions import Condition

torch.set_num_threads(1)
for settings, channels, told in eval(sys.argv[1]):
    config = override(TrainConfig(), base=16, multipliers=(1, 2), attention_levels=(1,), **settings).network
    conditions = (Condition("class", "class", 3),) if told else ()
    network = NETWORKS[type(config)](channels, channels, 2, config, conditions)
    network = network.to(memory_format=torch.channels_last)
    x, time = torch.randn(2, channels, 32, 32).to(memory_format=torch.channels_last), torch.rand(2)
    given = {"class": torch.tensor([0, 2])} if told else {}
    compiled = torch.compile(network, backend="eager", fullgraph=True)  # raises where a trace would be cut
    compiled(x, time, **given).sum().backward()
    network.eval()
    with torch.no_grad():
        compiled(x, time, **given)
    print("traced", settings)
"""


UNETS = [({}, 3, False), ({"patch": 2, "scale_shift": True, "resample": "residual", "dropout": 0.1}, 1, True)]
OTHERS = [({"architecture": "rms-unet"}, 3, False), ({"architecture": "ddpm++"}, 3, True)]
OTHERS += [({"architecture": "ncsn++"}, 3, False)]


@pytest.mark.parametrize("cases", [UNETS, pytest.param(OTHERS, marks=pytest.mark.slow)])
def test_a_network_is_one_graph(cases: list[tuple[dict[str, Any], int, bool]]) -> None:
    """A call in it that the compiler cannot follow would cut it up, and what lies between the cuts is not fused."""
    done = subprocess.run([sys.executable, "-c", TRACE, repr(cases)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count("traced") == len(cases)


class Doubled(nn.Module):
    """A network that writes every output to the same memory, as a CUDA graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.memory = torch.empty(2, 1, 2, 2)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.memory.copy_(2 * x) if not torch.is_grad_enabled() else 2 * x * self.weight


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """A compiler that hands the network back, and the modes that were asked for."""
    seen: list[str | None] = []

    def compile(network: nn.Module, mode: str | None, dynamic: bool) -> nn.Module:
        assert not dynamic
        seen.append(mode)
        return network

    monkeypatch.setattr(torch, "compile", compile)
    return seen


def test_an_output_of_an_evaluation_outlives_the_next_one(modes: list[str | None]) -> None:
    compiled = CompiledEvaluations(Doubled())
    x = torch.randn(2, 1, 2, 2)
    with torch.no_grad():
        first = compiled(x, torch.zeros(2))
        compiled(-x, torch.zeros(2))
    assert torch.equal(first, 2 * x)
    assert modes == ["reduce-overhead"]


def test_evaluations_that_gradients_are_wanted_of_are_not_compiled(
    modes: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = CompiledEvaluations(Doubled())
    monkeypatch.setattr(compiled, "_compiled", None)
    compiled(torch.randn(2, 1, 2, 2), torch.zeros(2)).sum().backward()
    assert compiled.network.weight.grad is not None


def test_sizes_of_batches_that_are_not_compiled_for_go_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A student of jumps asks for a part of the batch, another in every step, and each would be compiled by itself."""
    seen: list[int] = []

    def compile(network: nn.Module, **options: Any) -> Callable[..., Tensor]:
        return lambda x, time: (seen.append(len(x)), network(x, time))[1]

    monkeypatch.setattr(torch, "compile", compile)
    compiled = Compiled(Doubled(), sizes=(4, 3))
    for size in (4, 2, 3, 1, 4):
        x = torch.randn(size, 1, 2, 2)
        assert torch.equal(compiled(x, torch.zeros(size)), 2 * x)
    assert seen == [4, 3, 4]


class Failing(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        raise self.error


def test_a_failure_of_the_compiler_is_one_sentence_and_the_networks_own_errors_stay(modes: list[str | None]) -> None:
    x, time = torch.zeros(2, 1, 2, 2), torch.zeros(2)
    with pytest.raises(UndiffuseError, match=r"leave out `compile`, or .* it said: no compiler found$"):
        Compiled(Failing(TorchDynamoException("\n no compiler found\n and much more")))(x, time)
    with pytest.raises(ValueError, match="a mistake"):
        Compiled(Failing(ValueError("a mistake")))(x, time)


def test_each_network_of_a_model_is_compiled_once_and_only_where_asked(modes: list[str | None]) -> None:
    model = load("digits")
    for _ in range(2):
        model.sample(4, steps=2, micro_batch=2, compile=True)
    assert modes == ["reduce-overhead"]
    compiled = model.sample(2, steps=2, micro_batch=2, compile=True)
    assert compiled.settings.compute.compile
    assert np.array_equal(compiled.array, model.sample(2, steps=2, micro_batch=2).array)
    assert len(modes) == 1


def undiffuse(*words: object) -> str:
    done = subprocess.run([sys.executable, "-m", "undiffuse", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_compiled_samples_are_the_eager_ones_up_to_rounding_and_are_made_again(tmp_path: Path) -> None:
    words = ["sample", "digits", "-n", 4, "--steps", 5, "--micro-batch", 4, "--device", "cpu"]
    drawn = {}
    for name, more in {"eager": [], "compiled": ["--compile"]}.items():
        undiffuse(*words, *more, "--out", tmp_path / name)
        pictures = sorted((tmp_path / name).glob("0*.png"))
        drawn[name] = np.stack([np.asarray(Image.open(path)).astype(int) for path in pictures])
    assert len(drawn["eager"]) == 4
    assert np.abs(drawn["eager"] - drawn["compiled"]).max() <= 1
    assert "identical" in undiffuse("sample", "--from", tmp_path / "compiled" / "00002.png")


@pytest.mark.slow
def test_a_compiled_training_has_the_losses_of_the_eager_one(tmp_path: Path) -> None:
    tiny = ["--base", "4", "--multipliers", "1", "--blocks", "1", "--no-middle-attention", "--batch", "4"]
    losses = {}
    for name, more in {"eager": [], "compiled": ["--compile"]}.items():
        undiffuse("train", "digits", *tiny, "--steps", 4, *more, "--device", "cpu", "--runs", tmp_path, "--name", name)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses[name] = [row["loss"] for row in map(json.loads, lines) if "loss" in row]
    assert len(losses["eager"]) >= 1
    assert losses["compiled"] == pytest.approx(losses["eager"], rel=1e-4)
