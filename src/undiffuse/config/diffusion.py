"""Settings of the process, and of what a network predicts of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from undiffuse.config.kinds import Registered

SCHEDULES = ("linear", "scaled-linear", "quadratic", "cosine", "sigmoid", "vp", "sub-vp")
"""The schedules of the library itself; others are registered."""
ScheduleName = Annotated[str, Registered("schedule", SCHEDULES)]
PROCESS = ("schedule", "timesteps", "beta_start", "beta_end", "betas", "zero_terminal_snr")
"""Settings of `DiffusionConfig` that say what noise is added when."""
ParameterizationName = Literal["epsilon", "x0", "v", "flow", "score", "edm"]


@dataclass(frozen=True)
class DiffusionConfig:
    """The process and what the network predicts of it."""

    schedule: ScheduleName = "linear"
    """The curve t -> (alpha, sigma)."""
    timesteps: int = 1000
    """Length T of the discrete chain."""
    beta_start: float | None = None
    """First beta of 'linear', 'scaled-linear', 'quadratic' or 'sigmoid', taken as it is; without it the paper's."""
    beta_end: float | None = None
    """Last beta, taken as it is; given with `beta_start`."""
    betas: tuple[float, ...] = ()
    """Every beta of the chain, one a timestep, in place of `schedule`."""
    zero_terminal_snr: bool = False
    """Rescale the chain so that x_T is pure noise (Lin et al. 2023); not with 'epsilon' or 'score'."""
    parameterization: ParameterizationName = "epsilon"
    """What the network predicts."""
    time_input: Literal["index", "scaled-index", "log-snr", "log-sigma"] = "index"
    """What the time embedding sees: the chain's index t - 1 (Ho), 1000/T times it (Improved DDPM's code), or the noise
    level: 1000 (2/pi) atan(sigma/alpha), or ln(sigma/alpha)/4 (EDM)."""
    sigma_data: float = 0.5
    """Standard deviation of the data in [-1, 1]; used by the 'edm' parameterization alone."""
    learn_variance: bool = False
    """Let the network say how much noise each step back adds (twice the output channels); needs `loss=hybrid`."""
