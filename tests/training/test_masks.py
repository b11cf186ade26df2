"""Data that say which of their values count are learned by these alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model
from undiffuse.training.batches import TrainData, mask_batches
from undiffuse.training.build import make_train_state, make_train_step
from undiffuse.training.loop import training
from undiffuse.training.parallel.batch_shards import BatchShard


@dataclass(frozen=True)
class Padded:
    info: DataInfo
    images: Any
    masks: Any
    labels: None = None


def narrow(images: Any) -> Any:
    """Every picture with its first columns alone, another number of them each, so that flips must turn the mask."""
    widths = 3 + np.arange(len(images)) % 4
    return np.broadcast_to(np.arange(8) < widths[:, None, None, None], images.shape)


def trained(data: Any, config: Any) -> tuple[torch.Tensor, torch.Tensor]:
    model = build_model(config, data.info)
    step = make_train_step(model, data, 3)
    losses = torch.cat([result.losses for result in training(step, make_train_state(model))])
    return losses, torch.cat([p.detach().flatten() for p in model.network.parameters()])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_does_not_count_teaches_nothing(accumulate: int, data: Any, settings: Any) -> None:
    config, mask = settings(steps=3, accumulate=accumulate), narrow(data.images)
    padded = Padded(data.info, data.images, mask)
    other = replace(padded, images=np.where(mask, data.images, 255).astype(np.uint8))
    for one, two in zip(trained(padded, config), trained(other, config), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(trained(padded, config)[0], trained(data, config)[0])


def test_masks_of_ones_and_none_are_the_training_of_before_to_the_last_bit(data: Any, settings: Any) -> None:
    config = settings(steps=3)
    plain = trained(data, config)
    for mask in (None, np.ones((40, 1, 8, 8), bool)):
        for one, two in zip(trained(Padded(data.info, data.images, mask), config), plain, strict=True):
            assert torch.equal(one, two)


def test_data_without_masks_have_none(data: Any, settings: Any) -> None:
    assert mask_batches(TrainData.of(data), settings(), BatchShard(4)) is None
    assert make_train_step(build_model(settings(), data.info), data, 3).batch(0).mask is None


def test_a_mask_of_values_needs_values_that_are_diffused_one_by_one(
    monkeypatch: pytest.MonkeyPatch, data: Any, settings: Any
) -> None:
    class Latent:
        pointwise = False

    monkeypatch.setattr("undiffuse.data.masks.codec_of", lambda info: Latent())
    with pytest.raises(UndiffuseError, match="whole samples as they are"):
        mask_batches(TrainData.of(Padded(data.info, data.images, narrow(data.images))), settings(), BatchShard(4))
