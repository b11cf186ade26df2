"""Samplers, one file each, and their registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from undiffuse.config import SampleConfig
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.sample import Sampler
from undiffuse.samplers.ddim import DDIM
from undiffuse.samplers.ddpm import DDPM

SAMPLERS: dict[str, Callable[[SampleConfig], Sampler[Any]]] = {
    "ddpm": lambda config: DDPM(variance=config.variance),
    "ddim": lambda config: DDIM(eta=config.eta),
}
"""How to make each sampler from the settings of a sampling."""


def make_sampler(config: SampleConfig) -> Sampler[Any]:
    """The sampler that a configuration names."""
    if config.sampler not in SAMPLERS:
        raise UndiffuseError(f"There is no sampler '{config.sampler}'{perhaps(config.sampler, SAMPLERS)}")
    return SAMPLERS[config.sampler](config)


__all__ = ["DDIM", "DDPM", "SAMPLERS", "make_sampler"]
