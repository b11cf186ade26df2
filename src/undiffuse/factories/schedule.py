"""The process that settings describe."""

from __future__ import annotations

from collections.abc import Callable

from undiffuse.config import registry
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.diffusion.schedules import CHAINS, VP, DiscreteSchedule, Schedule, SubVP, between, zero_terminal_snr
from undiffuse.errors import UndiffuseError

LONGEST = 1_000_000
"""Timesteps that a chain has at most: its tables are in memory."""
KIND = "schedule"
"""Of registered pieces, see `config.registry`."""


def register_schedule(name: str, make: Callable[..., Schedule], note: str = "") -> None:
    """Make a schedule known to ``--schedule``, to files and to Python's ``schedule=``.

    Args:
        make: the schedule, of its options; one that is called ``timesteps`` is that of the settings.
        note: when to use it.

    Raises:
        UndiffuseError: as for `registry.register`.
    """
    registry.register(KIND, name, make, note)


def make_schedule(config: DiffusionConfig) -> Schedule:
    """The schedule that a configuration names, or whose betas it gives.

    Raises:
        UndiffuseError: there is none, or its settings do not go together.
    """
    if not 2 <= config.timesteps <= LONGEST:
        raise UndiffuseError(
            f"A chain needs at least 2 timesteps and at most {LONGEST:,}; `timesteps` is {config.timesteps!s:.40}"
        )
    if config.betas and len(config.betas) != config.timesteps:
        raise UndiffuseError(f"`betas` takes {config.timesteps} numbers, one a timestep, not {len(config.betas)}")
    if (config.beta_start is None) != (config.beta_end is None):
        raise UndiffuseError("`beta_start` and `beta_end` go together; give both or none")
    if config.schedule in ("vp", "sub-vp"):
        if config.zero_terminal_snr or config.betas or config.beta_start is not None:
            raise UndiffuseError(
                f"The continuous schedule '{config.schedule}' has no betas and cannot be rescaled to zero terminal "
                "SNR; use `schedule=linear`"
            )
        return VP() if config.schedule == "vp" else SubVP()
    if config.schedule not in CHAINS and not config.betas:
        return _registered(config)
    if config.betas:
        chain = DiscreteSchedule.from_betas(config.betas)
    elif config.beta_start is not None and config.beta_end is not None:
        chain = between(config.schedule, config.timesteps, config.beta_start, config.beta_end)
    else:
        chain = CHAINS[config.schedule](config.timesteps)
    return zero_terminal_snr(chain) if config.zero_terminal_snr else chain


def _registered(config: DiffusionConfig) -> Schedule:
    found = registry.make(KIND, config.schedule, timesteps=config.timesteps)
    if not isinstance(found, Schedule):
        raise UndiffuseError(
            f"`schedule={config.schedule}` should be an `undiffuse.diffusion.Schedule`, got a {type(found).__name__}"
        )
    if config.zero_terminal_snr or config.beta_start is not None:
        raise UndiffuseError(
            f"`zero_terminal_snr`, `beta_start` and `beta_end` are for the library's own chains, and "
            f"`schedule={config.schedule}` is none: leave them out"
        )
    if isinstance(found, DiscreteSchedule) and config.timesteps != found.T:
        raise UndiffuseError(
            f"`schedule={config.schedule}` is a chain of {found.T} timesteps, and `timesteps` is {config.timesteps}: "
            f"use `timesteps={found.T}`"
        )
    return found
