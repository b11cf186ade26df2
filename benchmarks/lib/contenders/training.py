"""One training of a contender: our loop with whatever the contender brings of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.lib.ours import MICRO_BATCH, Ours
from undiffuse.config.files import override
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import EMAConfig, OptimizerConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.schedules import Schedule
from undiffuse.model import Model, build_model
from undiffuse.model.samples import Samples
from undiffuse.training.build import make_train_state, make_train_step
from undiffuse.training.loop import TrainState
from undiffuse.training.optim.ema import Averages, ema_averages

Changes = Mapping[str, Any]


def first_average(train_state: TrainState) -> dict[str, Tensor]:
    """The average that is tracked first."""
    return train_state.ema.state_dict(next(iter(train_state.ema.averages)))


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
    average: Callable[[nn.Module, EMAConfig], Averages] = ema_averages
    """How the weights are averaged."""
    network: Callable[[TrainConfig, DataInfo], nn.Module] | None = None
    """A network in place of our U-Net, its weights a function of the seed."""
    optimizer: Callable[[OptimizerConfig, nn.Module], Optimizer] | None = None
    """An optimiser in place of the configured one; the learning rate and clipping stay as they are set."""
    weights: Callable[[TrainState], dict[str, Tensor]] = first_average
    """The weights that are judged."""
    early: Callable[[Tensor], Tensor] | None = None
    """What is made of a batch in the first part of the training, ``early_until`` of its steps."""
    early_until: float = 0.0
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
        self.config = override(contender.settings(data.info), seed=seed, **changes)
        self.model = contender.model(self.config, data.info).to(device)
        self.train_state = make_train_state(self.model)
        self.train_state.ema = contender.average(self.model.network, self.config.ema)
        if contender.optimizer is not None:
            self.train_state.optimizer = contender.optimizer(self.config.optimizer, self.model.network)
        self.task = make_train_step(self.model, data, total=1)
        self._images = self.task.images
        self.task = replace(self.task, images=self._shown)
        self._loop = iter(())

    def _shown(self, step: int) -> Tensor:
        """The images of a step, as this contender learns from them at that part of the training."""
        images, early = self._images(step), self.contender.early
        return (
            early(images) if early is not None and step < self.contender.early_until * self.task.plan.total else images
        )

    def averaged(self) -> Model:
        model = self.contender.model(self.config, self.model.info).to(self.model.device)
        model.network.load_state_dict(self.contender.weights(self.train_state))
        model.network.eval()
        return model

    @torch.no_grad()
    def samples(self, n: int, settings: SampleConfig) -> Samples:
        """n samples of seed 0 with the averaged weights."""
        return self.averaged().sample(n, seed=0, settings=settings.changed(micro_batch=min(n, MICRO_BATCH)))
