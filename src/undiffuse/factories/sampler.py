"""The sampler that settings describe."""

from __future__ import annotations

from typing import Any

from undiffuse.config.sampling import Solver
from undiffuse.diffusion.samplers import SAMPLERS, STUDENT_SAMPLERS
from undiffuse.diffusion.trajectory import Sampler
from undiffuse.errors import UndiffuseError, perhaps


def make_sampler(solver: Solver) -> Sampler[Any]:
    """The sampler that settings name, with those of them that the sampler takes.

    Raises:
        UndiffuseError: there is no such sampler.
    """
    known = STUDENT_SAMPLERS | SAMPLERS
    if solver.sampler not in known:
        raise UndiffuseError(f"There is no sampler '{solver.sampler}'{perhaps(solver.sampler, SAMPLERS)}")
    found = known[solver.sampler]
    return found.make(**{name: getattr(solver, name) for name in found.options})
