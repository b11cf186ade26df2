"""The sampler that settings describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from undiffuse.config import registry
from undiffuse.config.sampling import Solver
from undiffuse.diffusion.samplers import SAMPLERS, STUDENT_SAMPLERS, SamplerEntry
from undiffuse.diffusion.trajectory import Sampler
from undiffuse.errors import UndiffuseError

KIND = "sampler"
"""Of registered pieces, see `config.registry`."""
registry.reserve(KIND, *SAMPLERS, *STUDENT_SAMPLERS)


def register_sampler(
    name: str,
    make: Callable[..., Sampler[Any]],
    evaluations_per_step: int | None = 1,
    stochastic: bool = False,
    note: str = "",
) -> None:
    """Make a sampler known to ``--sampler``, to files, to the studio and to Python's ``sampler=``.

    Args:
        make: the sampler, of its options.
        evaluations_per_step: network evaluations that a step takes; None where the sampler decides as it goes.
        stochastic: whether it draws noise on the way.
        note: when to use it.

    Raises:
        UndiffuseError: as for `registry.register`, or what is made is no sampler.
    """
    registry.register(KIND, name, make, note)
    _checked(make(), name)
    SAMPLERS[name] = SamplerEntry(name, evaluations_per_step, lambda: make(), note, stochastic)


def sampler_settings(sampler: Any) -> dict[str, Any]:
    """The settings that name a sampler which a program gives: the library's own by their names and options.

    Raises:
        UndiffuseError: it is no sampler.
    """
    _checked(sampler, type(sampler).__name__)
    for entry in SAMPLERS.values():
        if entry.name not in registry.registered(KIND) and type(entry.make()) is type(sampler):
            options = {name: getattr(sampler, name, None) for name in entry.options}
            if None not in options.values() and entry.make(**options) == sampler:
                return {KIND: entry.name, **options}
    return {KIND: registry.keep(KIND, sampler)}


def make_sampler(solver: Solver) -> Sampler[Any]:
    """The sampler that settings name, with those of them that the sampler takes.

    Raises:
        UndiffuseError: there is no such sampler.
    """
    if registry.knows(KIND, solver.sampler):
        return _checked(registry.make(KIND, solver.sampler), solver.sampler)
    known = STUDENT_SAMPLERS | SAMPLERS
    if solver.sampler not in known:
        raise registry.missing(KIND, solver.sampler)
    found = known[solver.sampler]
    return found.make(**{name: getattr(solver, name) for name in found.options})


def _checked(made: Any, name: str) -> Sampler[Any]:
    if isinstance(made, type) or not isinstance(made, Sampler):
        raise UndiffuseError(
            f"The sampler '{name}' should have an order, init() and step(denoiser, x, t, s, state, noise), as "
            f"`undiffuse.diffusion.Sampler` says, and {_shown(made)} lacks one of them"
        )
    return made


def _shown(made: Any) -> str:
    return (
        f"the class {made.__name__}, which is to be called," if isinstance(made, type) else f"a {type(made).__name__}"
    )
