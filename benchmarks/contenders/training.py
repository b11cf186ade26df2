"""One training of a contender: our loop with whatever the contender brings of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ours import MICRO_BATCH, Ours
from undiffuse.config import EMAConfig, SampleConfig, TrainConfig
from undiffuse.config_file import override
from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.model import Model, build_model
from undiffuse.samples import Samples
from undiffuse.schedule import Schedule
from undiffuse.training.ema import EMA
from undiffuse.training.setup import make_learner, make_task

Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Contender:
    """Settings that are compared, and what of them our configuration cannot say."""

    name: str
    settings: Callable[[DataInfo], TrainConfig]
    """For this data; device, number format, seed and budget are the comparison's."""
    sampling: SampleConfig = field(default_factory=SampleConfig)
    """How its own side draws samples by default."""
    schedule: Callable[[], Schedule] | None = None
    """A process in place of the configured one."""
    average: Callable[[nn.Module, EMAConfig], EMA] = EMA
    """How the weights are averaged."""
    network: Callable[[TrainConfig, DataInfo], nn.Module] | None = None
    """A network in place of our U-Net, its weights a function of the seed."""
    ours: bool = False
    """One of our recipes."""

    def changed(self, changes: Changes) -> Contender:
        """The same with some settings changed, which its name then says; a budget may come with the name."""
        if not changes:
            return self
        words = [self.name, *(f"{key}={value}" for key, value in changes.items())]
        return replace(self, name=" ".join(words), settings=lambda info: override(self.settings(info), **changes))

    def model(self, config: TrainConfig, info: DataInfo) -> Model:
        """A new model with this contender's network and process."""
        model = build_model(config, info)
        if self.schedule is not None:
            model.schedule = self.schedule()
        if self.network is not None:
            model.network = self.network(config, info)
        return model


class Training(Ours):
    """A contender that learns a data set of any shape, on any device.

    Args:
        contender: what is trained.
        data: what is learned.
        seed: of the weights, the order, noise and times.
        device: where.
        changes: settings that hold for every contender of a comparison, by their flat names.
    """

    def __init__(self, contender: Contender, data: Dataset, seed: int, device: str, changes: Changes) -> None:
        self.name, self.contender = contender.name, contender
        self.config = override(contender.settings(data.info), seed=seed, precision="float32", **changes)
        self.model = contender.model(self.config, data.info).to(device)
        self.learner = make_learner(self.model)
        self.learner.ema = contender.average(self.model.network, self.config.ema)
        self.task = make_task(self.model, data, total=1)
        self._loop = iter(())

    def averaged(self) -> Model:
        model = self.contender.model(self.config, self.model.info).to(self.model.device)
        model.network.load_state_dict(self.learner.ema.state_dict(self.config.ema.ema[0]))
        model.network.eval()
        return model

    @torch.no_grad()
    def samples(self, n: int, settings: SampleConfig) -> Samples:
        """n samples of seed 0 with the averaged weights."""
        return self.averaged().sample(n, seed=0, settings=replace(settings, micro_batch=min(n, MICRO_BATCH)))
