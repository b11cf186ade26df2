"""Images that lie on the device: the same bits, and only where there is room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from undiffuse.data.codec import Codec, codec_of
from undiffuse.data.info import DataInfo
from undiffuse.data.scaling import Scaling
from undiffuse.model import build_model
from undiffuse.training import device_dataset
from undiffuse.training.build import make_train_state, make_train_step
from undiffuse.training.device_dataset import encoded, fits, resident
from undiffuse.training.loop import training

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16), np.uint8)


@pytest.mark.parametrize("high", [255.0, 200.0])
def test_the_table_has_the_bits_of_encode(high: float) -> None:
    info = DataInfo("things", "0" * 64, 20, (3, 16, 16), "uint8", 0.0, high, (0.0,) * 3, (0.5,) * 3)
    chosen = np.array([5, 0, 19, 5])
    codec = codec_of(info)
    assert torch.equal(resident(IMAGES, codec, CPU)(chosen), codec.encode(IMAGES[chosen]))


class Patches:
    """A codec as an autoencoder is one: patches of 2 x 2 become channels, turned so that the first is their sum."""

    exact, bounded, pointwise, levels = False, False, False, None
    turn = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 255

    def shape(self, data: tuple[int, ...]) -> tuple[int, ...]:
        return 4 * data[0], data[1] // 2, data[2] // 2

    def encode(self, values: Any) -> torch.Tensor:
        patches = F.pixel_unshuffle(torch.from_numpy(values).float(), 2).unflatten(1, (-1, 4))
        return torch.einsum("nckhw,jk->ncjhw", patches, self.turn).flatten(1, 2)

    def decode(self, x0: torch.Tensor) -> Any:
        patches = torch.einsum("ncjhw,jk->nckhw", x0.unflatten(1, (-1, 4)), self.turn).flatten(1, 2) * 255**2 / 4
        return F.pixel_shuffle(patches, 2).round().clamp(0, 255).byte().numpy()


def test_only_what_is_encoded_number_by_number_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_dataset, "fits", lambda images, device: True)
    codec: Codec = Patches()
    chosen = np.array([5, 0])
    x0 = encoded(IMAGES, codec, CPU)(chosen)
    assert x0.shape == (2, *codec.shape(IMAGES.shape[1:])) == (2, 12, 8, 8)
    assert np.array_equal(codec.decode(x0), IMAGES[chosen])
    looked_up = encoded(IMAGES, Scaling("uint8", 0.0, 255.0), CPU)
    monkeypatch.setattr(Scaling, "encode", None)
    assert looked_up(chosen).shape == (2, *IMAGES.shape[1:])


def test_a_training_is_the_same_to_the_last_bit(monkeypatch: pytest.MonkeyPatch, data: Any, settings: Any) -> None:
    config = settings(flip=True, steps=3)
    losses = []
    for where in ("cpu", "device"):
        if where == "device":
            monkeypatch.setattr(device_dataset, "fits", lambda images, device: True)
        model = build_model(config, data.info)
        train_step = make_train_step(model, data, 3)
        losses.append(torch.cat([result.losses for result in training(train_step, make_train_state(model))]))
    assert torch.equal(*losses)


def test_they_go_to_a_gpu_with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 4 * IMAGES.nbytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    assert fits(IMAGES, CUDA)
    assert not fits(IMAGES, CPU)
    assert not fits(IMAGES, torch.device("mps"))
    assert not fits(IMAGES.astype(np.float32) / 255, CUDA)
    assert not fits(list(IMAGES), CUDA), "what gives parts of an array only when asked"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free - 4, 10 * free))
    assert not fits(IMAGES, CUDA)


def test_grids_of_data_and_stages_read_them_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, data: Any, settings: Any
) -> None:
    """Whoever looks at data, or makes small images of large ones, does so there."""
    asked: list[torch.device] = []

    def spied(images: Any, info: DataInfo, device: torch.device) -> Any:
        asked.append(device)
        return encoded(images, info, CPU)

    monkeypatch.setattr("undiffuse.training.batches.encoded", spied)
    meta = torch.device("meta")
    make_train_step(build_model(settings(), data.info).to(meta), data, 3)
    assert asked == [meta, CPU]
    asked.clear()
    make_train_step(build_model(settings(upscale=2), data.info).to(meta), data, 3)
    assert asked == [CPU, CPU]
