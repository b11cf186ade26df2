"""Images that a training does not learn from, for the loss that is measured on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from undiffuse.conditioning.request import CLASS
from undiffuse.config.distillation import student_of
from undiffuse.data.codec import codec_of
from undiffuse.data.info import DataInfo
from undiffuse.data.masks import masks_of
from undiffuse.data.order import held_out_samples
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model
from undiffuse.runtime.devices import send
from undiffuse.training.batches import Data, Tables, TrainData, condition_tables
from undiffuse.training.loop import HeldOut, TrainBatch


def held_out_of(data: TrainData, model: Model, tables: Tables, other: Data | None) -> HeldOut | None:
    """The images of a training that are not learned, with what is said of them; None where all are.

    Args:
        data: the training's.
        tables: of these data, see `condition_tables`.
        other: prepared data; None for the share of the training's own.

    Raises:
        UndiffuseError: other data are not of the same kind.
    """
    share, device = model.config.data.validation, model.device
    if not share or student_of(model.config.distillation):  # whose loss is a distance from its teacher
        return None
    if other is not None:
        data = TrainData.of(other)
        _check_alike(data.info, model.info)
        if any(told.name == CLASS for told in model.conditions):
            data = replace(data, labels=_labels(data, model))
        tables = condition_tables(data, model)
        own = np.arange(data.info.count)
    else:
        own = held_out_samples(data.info.count, float(share))
    masks, codec = masks_of(data), codec_of(model.info)

    def batch(numbers: range) -> TrainBatch:
        chosen = own[numbers.start : numbers.stop]
        said = {name: send(table(torch.from_numpy(chosen)), device) for name, table in tables.items()}
        mask = None if masks is None else send(torch.from_numpy(masks[chosen]), device)
        x0 = send(codec.encode(np.asarray(data.images[chosen])), device)
        return TrainBatch(x0, torch.empty(0), said, mask)

    return HeldOut(len(own), batch)


def _labels(other: TrainData, model: Model) -> NDArray[np.int64]:
    """The classes of other data by their names, as the model counts them: beside a `prior`, data without classes are
    of the class that the training's own are."""
    classes = model.info.classes
    own = (Path(model.info.name).stem,) if model.config.start.prior else ()
    names = other.info.classes or own
    if not names or not set(names) <= set(classes):
        raise UndiffuseError("`validation` has other classes than the data, which the model is told: name them alike")
    rows = np.array([classes.index(name) for name in names])
    return rows[np.zeros(other.info.count, np.int64) if other.labels is None else other.labels]


def _check_alike(other: DataInfo, info: DataInfo) -> None:
    if (other.shape, other.dtype) != (info.shape, info.dtype):
        raise UndiffuseError(
            f"`validation` has samples of the shape {other.shape} and of {other.dtype}, and the data {info.shape} of "
            f"{info.dtype}: prepare them alike"
        )
