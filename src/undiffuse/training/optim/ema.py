"""Exponential moving averages of the weights.

Samples drawn with averaged weights are far better than those of the last step's (Ho et al. 2020 use a rate of 0.9999).
Notable choices:

* Only parameters that learn are averaged. Buffers are copied: an average over a schedule's table or a counter is
  nonsense, and averaging them is how a popular library came to draw black samples.
* Averages are float32 whatever the network's type: at a rate of 0.9999 a bfloat16 average would never move.
* All tensors of one rate are updated by one call, so the cost is a few kernels, not a Python loop over tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from undiffuse.config.training import EMAConfig
from undiffuse.training.optim.learning import learning
from undiffuse.training.optim.power_ema import exponent
from undiffuse.training.parallel.batch_shards import placed, whole


def ema_rate(rate: float, step: int, warmup: bool) -> float:
    """The rate in force at the update after ``step`` earlier steps.

    With warm-up it is ``min(rate, (1 + step) / (10 + step))``, so that the average forgets the random start: early on
    it spans about a tenth of the training so far, and the full rate takes over when that is longer than its memory.
    """
    return min(rate, (1 + step) / (10 + step)) if warmup else rate


def power_rate(gamma: float, step: int) -> float:
    """(1 - 1 / i)^(gamma + 1) at update i = ``step`` + 1."""
    return float((1 - 1 / (step + 1)) ** (gamma + 1))


class Averages:
    """Averages of a network's parameters, all starting at the current values.

    An update is ``average <- rate average + (1 - rate) parameter``.

    Args:
        rates: of each average, by what tells it apart, the rate at the update after so many earlier steps.

    Attributes:
        averages: the averaged tensors of each, in the order of ``learning(network)``.
    """

    def __init__(self, network: nn.Module, rates: Mapping[float, Callable[[int], float]]) -> None:
        self._network, self._rates = network, rates
        self.averages: dict[float, list[Tensor]] = {
            name: [parameter.detach().to(torch.float32, copy=True) for _, parameter in learning(network)]
            for name in rates
        }
        self._collected: dict[float, dict[str, Tensor]] = {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move every average towards the network's present parameters; ``step`` counts the steps before this one."""
        self._collected.clear()
        if not self.averages:
            return
        parameters = [parameter.detach().float() for _, parameter in learning(self._network)]
        for name, average in self.averages.items():
            torch._foreach_lerp_(average, parameters, 1 - self._rates[name](step))

    def collect(self, name: float) -> None:
        """Put sharded averages together: all processes must, so that one of them can ask for `state_dict` then."""
        self._collected[name] = self.state_dict(name)

    def state_dict(self, name: float) -> dict[str, Tensor]:
        """The network's state dict with that average in place of the parameters; buffers as they are."""
        if name in self._collected:
            return self._collected[name]
        names = [name for name, _ in learning(self._network)]
        tensors = {**self._network.state_dict(), **dict(zip(names, self.averages[name], strict=True))}
        return {name: whole(tensor) for name, tensor in tensors.items()}

    def state_dicts(self) -> dict[float, dict[str, Tensor]]:
        return {name: self.state_dict(name) for name in self.averages}

    @torch.no_grad()
    def load_state_dict(self, name: float, tensors: dict[str, Tensor]) -> None:
        self._collected.clear()
        for (parameter, _), average in zip(learning(self._network), self.averages[name], strict=True):
            average.copy_(placed(tensors[parameter], average))


def ema_averages(network: nn.Module, config: EMAConfig) -> Averages:
    """Exponential moving averages, one for each of the rates."""
    return Averages(network, {rate: partial(ema_rate, rate, warmup=config.ema_warmup) for rate in config.ema})


def power_averages(network: nn.Module, config: EMAConfig) -> Averages:
    """Averages that weigh step i by a power of i, one for each of the relative widths; `power_ema` says why."""
    return Averages(network, {std: partial(power_rate, exponent(std)) for std in config.ema_std})
