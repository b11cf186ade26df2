"""Exponential moving averages of the weights.

Samples drawn with averaged weights are far better than those of the last step's (Ho et al. 2020 use a rate of 0.9999).
Notable choices:

* Only parameters are averaged. Buffers are copied: an average over a schedule's table or a counter is nonsense, and
  averaging them is how a popular library came to draw black samples.
* Averages are float32 whatever the network's type: at a rate of 0.9999 a bfloat16 average would never move.
* All tensors of one rate are updated by one call, so the cost is a few kernels, not a Python loop over tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from undiffuse.config import EMAConfig
from undiffuse.training.parallel import placed, whole


def ema_rate(rate: float, step: int, warmup: bool) -> float:
    """The rate in force at the update after ``step`` earlier steps.

    With warm-up it is ``min(rate, (1 + step) / (10 + step))``, so that the average forgets the random start: early on
    it spans about a tenth of the training so far, and the full rate takes over when that is longer than its memory.
    """
    return min(rate, (1 + step) / (10 + step)) if warmup else rate


class EMA:
    """One average of a network's parameters for each of several rates, all starting at the current values.

    An update is ``average <- rate average + (1 - rate) parameter``.

    Attributes:
        averages: for each rate, the averaged tensors in the order of ``network.named_parameters()``.
    """

    def __init__(self, network: nn.Module, config: EMAConfig) -> None:
        self._network = network
        self._warmup = config.ema_warmup
        self.averages: dict[float, list[Tensor]] = {
            rate: [parameter.detach().to(torch.float32, copy=True) for parameter in network.parameters()]
            for rate in config.ema
        }
        self._collected: dict[float, dict[str, Tensor]] = {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move every average towards the network's present parameters; ``step`` counts the steps before this one."""
        self._collected.clear()
        parameters = [parameter.detach().float() for parameter in self._network.parameters()]
        for rate, average in self.averages.items():
            torch._foreach_lerp_(average, parameters, 1 - ema_rate(rate, step, self._warmup))

    def collect(self, rate: float) -> None:
        """Put sharded averages together: all processes must, so that one of them can ask for `state_dict` then."""
        self._collected[rate] = self.state_dict(rate)

    def state_dict(self, rate: float) -> dict[str, Tensor]:
        """The network's state dict with the averages of ``rate`` in place of the parameters; buffers as they are."""
        if rate in self._collected:
            return self._collected[rate]
        names = [name for name, _ in self._network.named_parameters()]
        tensors = {**self._network.state_dict(), **dict(zip(names, self.averages[rate], strict=True))}
        return {name: whole(tensor) for name, tensor in tensors.items()}

    @torch.no_grad()
    def load_state_dict(self, rate: float, tensors: dict[str, Tensor]) -> None:
        """Set the averages of ``rate`` from what `state_dict` gave."""
        self._collected.clear()
        for (name, _), average in zip(self._network.named_parameters(), self.averages[rate], strict=True):
            average.copy_(placed(tensors[name], average))
