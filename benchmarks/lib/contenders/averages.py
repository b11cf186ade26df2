"""Averages of the weights as other libraries warm them up."""

from __future__ import annotations

from functools import partial

from torch import nn

from undiffuse.config.training import EMAConfig
from undiffuse.training.optim.ema import Averages


class PowerEMA(Averages):
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
        super().__init__(network, {largest: partial(rising_rate, largest, power, after) for largest in config.ema})
        self.every = every

    def update(self, step: int) -> None:
        if step % self.every == 0:
            super().update(step)


def rising_rate(largest: float, power: float, after: int, step: int) -> float:
    """The rate in force at the update after ``step`` earlier steps."""
    n = step - after
    return min(largest, 1 - (1 + n) ** -power) if n > 0 else 0.0
