"""The sampler that settings describe."""

from __future__ import annotations

from typing import Any

from undiffuse.config.sampling import SampleConfig
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.diffusion.trajectory import Sampler
from undiffuse.errors import UndiffuseError, perhaps


def make_sampler(config: SampleConfig) -> Sampler[Any]:
    """The sampler that a configuration names, with those of its settings that the sampler takes.

    Raises:
        UndiffuseError: there is no such sampler.
    """
    if config.sampler not in SAMPLERS:
        raise UndiffuseError(f"There is no sampler '{config.sampler}'{perhaps(config.sampler, SAMPLERS)}")
    found = SAMPLERS[config.sampler]
    return found.make(**{name: getattr(config, name) for name in found.options})
