"""Rows of a batch in threads: the same numbers as all at once, up to rounding, and always the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import undiffuse
from undiffuse.config.files import override
from undiffuse.config.network import UNetConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model, build_model
from undiffuse.networks.kernels import accelerate_cpu
from undiffuse.networks.unet import UNet
from undiffuse.recipes import get_recipe
from undiffuse.runtime.threads import WORK, RowsInThreads, ThreadPool, cut_rows, in_threads, pays
from undiffuse.training.build import make_threads

INFO = DataInfo("things", "0" * 64, 40, (1, 8, 8), "uint8", 0.0, 255.0, (0.0,), (0.5,))
TINY = UNetConfig(base=8, multipliers=(1, 2), blocks=1, attention_levels=(1,))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads however little there is to do."""
    monkeypatch.setattr("undiffuse.runtime.threads.WORK", 1)


def network() -> UNet:
    torch.manual_seed(0)
    made = accelerate_cpu(UNet(1, 1, 2, TINY))
    for parameter in made.parameters():  # last layers start at 0
        nn.init.normal_(parameter, std=0.1)
    return made.eval()


def test_work_is_done_in_order_by_threads_of_one_core_each() -> None:
    team, before = ThreadPool(3), torch.get_num_threads()
    assert team.run(lambda part: (part, torch.get_num_threads()), range(7)) == [(part, 1) for part in range(7)]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("recorded", [True, False])
def test_threads_record_gradients_where_the_caller_does(recorded: bool) -> None:
    with torch.set_grad_enabled(recorded):
        assert ThreadPool(2).run(lambda part: torch.is_grad_enabled(), range(2)) == [recorded] * 2


def test_an_error_in_a_thread_reaches_the_caller_and_puts_the_threads_back() -> None:
    def fail(part: int) -> None:
        raise UndiffuseError(f"part {part}")

    before = torch.get_num_threads()
    with pytest.raises(UndiffuseError, match="part 0"):
        ThreadPool(2).run(fail, range(2))
    assert torch.get_num_threads() == before


def test_parts_are_cut_alike_and_put_together_are_the_whole() -> None:
    x, t = torch.arange(10).reshape(5, 2), torch.arange(5)
    parts = cut_rows((x, t), 2)
    assert [len(rows) for rows, _ in parts] == [3, 2]
    assert torch.cat([rows for rows, _ in parts]).equal(x)
    assert torch.cat([times for _, times in parts]).equal(t)


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 2, 5, 16])
def test_a_network_in_threads_is_the_network(two_threads: None, always: None, rows: int) -> None:
    plain = network()
    shared = in_threads(plain)
    assert isinstance(shared, RowsInThreads)
    x, t = torch.randn(rows, 1, 12, 12), 1000 * torch.rand(rows)
    found = shared(x, t)
    assert torch.allclose(found, plain(x, t), atol=1e-5)
    assert all(shared(x, t).equal(found) for _ in range(3)), "the same bits each time"


def test_gradients_with_respect_to_the_input_pass(two_threads: None, always: None) -> None:
    plain = network()
    x, t = torch.randn(4, 1, 12, 12, requires_grad=True), 1000 * torch.rand(4)
    (wanted,) = torch.autograd.grad(plain(x, t).sum(), x)
    (found,) = torch.autograd.grad(in_threads(plain)(x, t).sum(), x)
    assert found.equal(wanted)


def test_one_thread_and_other_networks_go_as_they_are(two_threads: None) -> None:
    other = nn.Identity()
    assert in_threads(other) is other
    torch.set_num_threads(1)
    plain = network()
    assert in_threads(plain) is plain


def train(images: Path, name: str) -> dict[str, Tensor]:
    settings = {"base": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (), "dropout": 0.0, "patch": 1}
    loop = {"steps": 4, "batch": 5, "accumulate": 2, "sample_every": 0, "optimizer": "adam", "device": "cpu"}
    model = undiffuse.train(images, "small", name, images.parent, quiet=True, **settings, **loop)
    return model.network.state_dict()


def test_a_training_in_threads_is_the_training(two_threads: None, always: None, tmp_path: Path) -> None:
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8))
    found, again = train(images, "found"), train(images, "again")
    torch.set_num_threads(1)
    wanted = train(images, "wanted")
    assert all(found[name].equal(again[name]) for name in found), "the same bits in every run"
    assert all(torch.allclose(found[name], wanted[name], atol=2e-4) for name in wanted)
    assert any(not torch.allclose(wanted[name], torch.zeros(())) for name in wanted)


def model(**settings: object) -> Model:
    config = override(get_recipe("small").build(INFO), **({"dropout": 0.0, "device": "cpu"} | settings))
    return build_model(config, INFO)


def test_dropout_compile_and_recomputed_blocks_are_not_for_threads(two_threads: None, always: None) -> None:
    assert make_threads(model()) is not None
    assert make_threads(model(dropout=0.1)) is None
    assert make_threads(model(checkpoint_blocks=True)) is None
    assert make_threads(model(compile=True)) is None
    torch.set_num_threads(1)
    assert make_threads(model()) is None


def test_threads_are_for_enough_work_in_each() -> None:
    plain = network()  # 8 channels, no patches
    assert pays(plain, (2 * WORK // (8 * 64), 1, 8, 8), 2)
    assert not pays(plain, (2 * WORK // (8 * 64) - 1, 1, 8, 8), 2)
    assert not pays(plain, (WORK, 1, 8, 8), 1)
    assert not pays(plain, (1, 1, 4096, 4096), 2), "a row is not divided"
