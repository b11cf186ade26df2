"""Averages of the weights as other libraries warm them up."""

from __future__ import annotations

import torch
from torch import nn

from undiffuse.config.training import EMAConfig
from undiffuse.training.optim.ema import EMA


class PowerEMA(EMA):
    """An average whose rate rises as a power of the steps.

    rate_n = min(rate, 1 - (1 + n - after)^-power),   0 up to n = after: the average is a copy of the weights

    Args:
        network: whose parameters are averaged.
        config: the largest rates.
        power: 3/4 in diffusers' script, 2/3 in ema-pytorch.
        every: steps between updates; n counts all steps.
        after: steps before averaging begins.
    """

    def __init__(self, network: nn.Module, config: EMAConfig, power: float, every: int = 1, after: int = 0) -> None:
        super().__init__(network, config)
        self.power, self.every, self.after = power, every, after

    def rate(self, largest: float, step: int) -> float:
        """In force at the update after ``step`` earlier steps."""
        n = step - self.after
        return min(largest, 1 - (1 + n) ** -self.power) if n > 0 else 0.0

    @torch.no_grad()
    def update(self, step: int) -> None:
        if step % self.every:
            return
        parameters = [parameter.detach().float() for parameter in self._network.parameters()]
        for largest, average in self.averages.items():
            torch._foreach_lerp_(average, parameters, 1 - self.rate(largest, step))
