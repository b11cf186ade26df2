"""Networks in bfloat16: what autocast gives, bit for bit, with everything around them in float32.

Nets are so small that a CPU without instructions for bfloat16 is quick enough, too.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.files import override
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.guidance import Clip
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, sample
from undiffuse.editing import Editor, vary
from undiffuse.errors import UndiffuseError
from undiffuse.factories.sampler import make_sampler
from undiffuse.model import Cascade, Model, build_model
from undiffuse.provenance.png import Origin
from undiffuse.runtime.precision import InBfloat16, settled, slow_bfloat16, times_as_long, uses_bfloat16
from undiffuse.runtime.process_group import Group
from undiffuse.runtime.threads import ThreadPool, cut_rows

CPU = torch.device("cpu")
QUICK: dict[str, Any] = {"steps": 3, "micro_batch": 4, "precision": "bfloat16"}


@pytest.fixture(autouse=True)
def hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this CPU is, it does not warn."""
    monkeypatch.setattr("undiffuse.runtime.precision.times_as_long", lambda: 0.6)


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """That many, and taken however little there is to do."""
    monkeypatch.setattr("undiffuse.runtime.threads.WORK", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def model_of(seed: int = 0, side: int = 8, upscale: int = 1, **network: Any) -> Model:
    """An untrained model, whose network says something all the same."""
    info = DataInfo("things", "0" * 64, 10, (1, side, side), "uint8", 0.0, 255.0, (0.0,), (0.5,))
    settings = {"base": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), **network}
    config = TrainConfig(
        network=override(TrainConfig(), **settings).network,
        diffusion=DiffusionConfig(timesteps=50),
        conditions=ConditionConfig(upscale=upscale),
    )
    model = build_model(config, info)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)
    model.network.eval()
    return model


def batch(rows: int = 4) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(7)
    return torch.randn(rows, 1, 8, 8, generator=draw), 50 * torch.rand(rows, generator=draw)


def by_hand(network: nn.Module, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        output: Tensor = network(x, time, **conditions)
    return output


def formats_seen(network: nn.Module) -> set[torch.dtype]:
    """What its first convolution gives, from now on."""
    seen = set[torch.dtype]()
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    return seen


def test_auto_is_bfloat16_where_cuda_has_it_in_hardware_and_float32_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    for hardware in (True, False):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation, hardware=hardware: hardware)
        assert uses_bfloat16("auto", cuda) is hardware
        assert settled("auto", cuda) == ("bfloat16" if hardware else "float32")
    for device in (CPU, cuda):
        assert uses_bfloat16("bfloat16", device)
        assert not uses_bfloat16("float32", device)
    assert settled("auto", CPU) == "float32"


@torch.no_grad()
def test_an_evaluation_is_autocast_of_the_network_bit_for_bit() -> None:
    model, (x, time) = model_of(), batch()
    wanted = by_hand(model.network, x, time)
    assert wanted.dtype == torch.bfloat16
    assert InBfloat16(model.network)(x, time).equal(wanted)
    assert not wanted.equal(model.network(x, time).bfloat16()), "the input was not only rounded at the end"

    reference = model.denoiser
    reference.network = lambda x, time, **told: by_hand(model.network, x, time, **told)  # type: ignore[assignment]
    t = torch.tensor(20.0, dtype=torch.float64)
    denoiser = model.plan(precision="bfloat16", threshold="none").denoiser(range(16))
    found, wanted_of_it = denoiser(x, t), reference(x, t)
    assert found.x0.equal(wanted_of_it.x0)
    assert found.eps.equal(wanted_of_it.eps)
    assert found.x0.dtype == torch.float32


@torch.no_grad()
def test_with_two_threads_it_is_autocast_of_each_threads_rows(two_threads: None) -> None:
    model, (x, time) = model_of(), batch(5)
    denoiser = model.plan(precision="bfloat16", threshold="none").denoiser(range(16))
    found = denoiser.network(x, time)  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    wanted = torch.cat([by_hand(model.network, *rows) for rows in cut_rows((x, time), 2)])
    assert found.dtype == torch.bfloat16
    assert found.equal(wanted)


@pytest.mark.parametrize("format", [torch.bfloat16, torch.float16, None])
def test_threads_compute_in_the_callers_format(format: torch.dtype | None) -> None:
    a = torch.ones(2, 2)
    team = ThreadPool(2)
    with torch.autocast("cpu", format, enabled=format is not None):
        found = team.run(lambda part: (a @ a).dtype, range(4))
    assert found == [format or torch.float32] * 4
    assert team.run(lambda part: (a @ a).dtype, range(4)) == [torch.float32] * 4


def test_float32_is_the_default_and_what_the_network_gives() -> None:
    model = model_of()
    settings = SampleConfig.of(steps=3, micro_batch=4)
    times = make_timesteps(model.schedule, 3, settings.solver.spacing)
    sampler, slots = make_sampler(settings.solver), (range(4), range(4, 8))
    x0 = torch.cat([sample(Clip(model.denoiser), sampler, times, (1, 8, 8), Noise(3, four)) for four in slots])[:6]
    wanted = ((x0.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    found = model.sample(6, 3, steps=3, micro_batch=4)
    assert found.settings.compute.precision == "float32"
    assert np.array_equal(found.array, wanted)
    assert np.array_equal(model.sample(6, 3, steps=3, micro_batch=4, precision="auto").array, wanted)
    other = model.sample(6, 3, **QUICK).array
    assert not np.array_equal(other, wanted)
    assert np.abs(other.astype(int) - wanted).mean() < 8


class Part(Group):
    """A process that keeps what it drew."""

    def gather_in_order(self, values: Any) -> Any:
        return values


def test_numbers_and_shards_and_pieces_agree_to_the_bit() -> None:
    model = model_of()
    whole = model.sample(10, 5, **QUICK).array
    for first, n in ((0, 1), (3, 2), (9, 1), (2, 7)):
        assert np.array_equal(model.sample(n, 5, first=first, **QUICK).array, whole[first : first + n])
    assert np.array_equal(np.concatenate([part.array for part in model.draw(range(10), 5, **QUICK)]), whole)
    parts = [model.sample(10, 5, group=Part(rank, 2), **QUICK).array for rank in range(2)]
    assert all(len(part) for part in parts)
    assert np.array_equal(np.concatenate(parts), whole)


def test_a_picture_says_its_format_and_is_drawn_again_by_it() -> None:
    model = model_of()
    samples = model.sample(2, 1, **QUICK)
    made_by = samples.origin(1)
    assert made_by.sample.compute.precision == "bfloat16"
    again = model.sample(1, made_by.seed, first=made_by.index, settings=made_by.sample)
    assert np.array_equal(again.array, samples.array[1:])
    assert model.sample(1, **{**QUICK, "precision": "auto"}).origin(0).sample.compute.precision == "float32"


@pytest.mark.parametrize("value", ["bf16", "float16", 16, None])
def test_another_format_is_refused_in_one_sentence(value: object) -> None:
    with pytest.raises(UndiffuseError, match="precision") as refused:
        model_of().sample(1, precision=value)
    assert "\n" not in str(refused.value)


def test_every_model_of_a_cascade_computes_in_it() -> None:
    small, stage = model_of(side=4), model_of(upscale=2)
    seen = formats_seen(small.network), formats_seen(stage.network)
    Cascade((small, stage)).sample(1, **QUICK)
    assert seen == ({torch.bfloat16}, {torch.bfloat16})


def test_a_worse_model_that_guides_computes_in_it_too() -> None:
    model, weak = model_of(), model_of(1)
    weak.provenance["sha256"] = "1" * 64
    model.resources.models[Path("weak")] = weak
    seen = formats_seen(model.network), formats_seen(weak.network)
    model.sample(1, weak="weak", guidance=2.0, **QUICK)
    assert seen == ({torch.bfloat16}, {torch.bfloat16})
    model.sample(1, weak="weak", guidance=2.0, **{**QUICK, "precision": "float32"})
    assert seen == ({torch.bfloat16, torch.float32}, {torch.bfloat16, torch.float32})


def test_edits_compute_in_it_too() -> None:
    model = model_of()
    seen = formats_seen(model.network)
    pictures = torch.zeros(2, 1, 8, 8)
    found = vary(Editor.of(model, SampleConfig.of(**QUICK)), pictures, 0.5)
    assert seen == {torch.bfloat16}
    assert found.dtype == torch.float32
    assert found.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize(
    "network",
    [
        {"scale_shift": True, "resample": "residual", "embedding": "adm", "patch": 2},
        {"architecture": "rms-unet", "blocks": 2},
        {"architecture": "ddpm++"},
        {"architecture": "ncsn++"},
    ],
    ids=str,
)
def test_every_architecture_computes_in_it(network: dict[str, Any]) -> None:
    model, (x, time) = model_of(**network), batch()
    found, wanted = InBfloat16(model.network)(x, time), model.network(x, time)
    assert found.isfinite().all()
    assert (found - wanted).norm() < 0.05 * wanted.norm()
    assert not found.equal(wanted)


def test_a_cpu_without_it_is_warned_of_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    monkeypatch.setattr("undiffuse.runtime.precision.times_as_long", lambda: 26.4)
    with pytest.warns(UserWarning, match=re.escape("takes 26 times as long as in float32 on this CPU")):
        model.sample(1, **QUICK)
    assert slow_bfloat16(torch.device("cuda")) == ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.sample(1, **{**QUICK, "precision": "auto"})
        monkeypatch.setattr("undiffuse.runtime.precision.times_as_long", lambda: 1.2)
        model.sample(1, **QUICK)


def test_how_long_it_takes_is_measured_on_one_thread_and_leaves_their_number() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert 0.01 < times_as_long.__wrapped__() < 1000
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_picture_of_before_there_was_a_choice_is_in_float32() -> None:
    said = model_of().sample(1, steps=2).origin(0).to_json()
    del said["sample"]["precision"]
    assert Origin.from_json(json.loads(json.dumps(said))).sample.compute.precision == "float32"
