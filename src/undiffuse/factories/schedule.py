"""The process that settings describe."""

from __future__ import annotations

from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.diffusion.schedules import CHAINS, VP, DiscreteSchedule, Schedule, SubVP, between, zero_terminal_snr
from undiffuse.errors import UndiffuseError

LONGEST = 1_000_000
"""Timesteps that a chain has at most: its tables are in memory."""


def make_schedule(config: DiffusionConfig) -> Schedule:
    """The schedule that a configuration names, or whose betas it gives."""
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
    if config.betas:
        chain = DiscreteSchedule.from_betas(config.betas)
    elif config.beta_start is not None and config.beta_end is not None:
        chain = between(config.schedule, config.timesteps, config.beta_start, config.beta_end)
    else:
        chain = CHAINS[config.schedule](config.timesteps)
    return zero_terminal_snr(chain) if config.zero_terminal_snr else chain
