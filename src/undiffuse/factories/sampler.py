"""The sampler that settings describe."""

from __future__ import annotations

from typing import Any

from undiffuse.config.sampling import Solver
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.diffusion.trajectory import Sampler
from undiffuse.errors import UndiffuseError, perhaps


def make_sampler(solver: Solver) -> Sampler[Any]:
    """The sampler that settings name, with those of them that the sampler takes.

    Raises:
        UndiffuseError: there is no such sampler.
    """
    if solver.sampler not in SAMPLERS:
        raise UndiffuseError(f"There is no sampler '{solver.sampler}'{perhaps(solver.sampler, SAMPLERS)}")
    found = SAMPLERS[solver.sampler]
    return found.make(**{name: getattr(solver, name) for name in found.options})
