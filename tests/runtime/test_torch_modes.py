"""What the caller's PyTorch is set to changes no bit of ours, and is the caller's again afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import undiffuse
from undiffuse.config.sampling import SampleConfig
from undiffuse.editing import Editor, inpaint
from undiffuse.model import Model
from undiffuse.runtime.torch_modes import own_modes


@contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": double,
    "meta": lambda: torch.device("meta"),
}
SETTINGS = {"base": 8, "multipliers": (1,), "blocks": 1, "attention_levels": (), "middle_attention": False}
SETTINGS |= {"timesteps": 8, "batch": 4, "steps": 2, "sample_every": 2, "sample_count": 2, "device": "cpu"}
IMAGES = np.random.default_rng(0).integers(0, 255, (20, 1, 8, 8), np.uint8)


def worked(folder: Path) -> tuple[Model, list[NDArray[np.generic]]]:
    """A model that was trained, and what it draws, edits and says."""
    model = undiffuse.train(IMAGES, runs=folder, name="run", quiet=True, **SETTINGS)
    known = torch.ones(1, 1, 8, 8, device="cpu", dtype=torch.float32)
    known[..., 2:5, :] = 0
    x0 = torch.from_numpy(IMAGES[:1]).float() / 127.5 - 1
    editor = Editor.of(model, SampleConfig.of(sampler="ddim", steps=3))
    filled = [inpaint(editor, x0, known, method=method).numpy() for method in ("pigdm", "dps")]
    return model, [model.sample(2, steps=3).array, *filled]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> list[NDArray[np.generic]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDIFFUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return worked(tmp_path_factory.mktemp("plain"))[1]


@pytest.mark.parametrize("mode", MODES)
def test_training_sampling_and_editing_have_the_same_bits_under_every_mode(
    mode: str, wanted: list[NDArray[np.generic]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    with MODES[mode]():
        model, got = worked(tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert not any(parameter.is_inference() for parameter in model.network.parameters())


@pytest.mark.parametrize("mode", MODES)
def test_the_callers_modes_come_back(mode: str) -> None:
    def now() -> tuple[object, ...]:
        x = torch.zeros(1)
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            x.dtype,
            x.device,
            torch.mm(torch.ones(1, 1, device="cpu"), torch.ones(1, 1, device="cpu")).dtype,
        )

    plain = now()
    with MODES[mode]():
        outside = now()
        with own_modes():
            assert now() == plain
        assert now() == outside != plain
        with pytest.raises(ZeroDivisionError), own_modes():
            raise ZeroDivisionError
        assert now() == outside


def test_a_generator_of_samples_leaves_the_callers_modes_alone_between_two_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    model = undiffuse.train(IMAGES, runs=tmp_path, name="run", quiet=True, **SETTINGS)
    with torch.no_grad():
        for _ in model.draw(range(2), micro_batch=1, steps=2):
            assert not torch.is_grad_enabled()
