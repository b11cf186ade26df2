"""Objectives, weightings and laws of time by the names that settings give them."""

from __future__ import annotations

from collections.abc import Callable

from undiffuse.config import registry
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.training import ObjectiveConfig
from undiffuse.diffusion.losses.hybrid import Bound, Hybrid
from undiffuse.diffusion.losses.simple import DISTANCES, Loss, Objective
from undiffuse.diffusion.losses.time_sampling import LogitNormal, LossSecondMoment, Stratified, TimeLaw, Uniform
from undiffuse.diffusion.losses.weighting import P2, VLB, MinSNR, UniformWeight, Weighting
from undiffuse.diffusion.parameterization import make_parameterization
from undiffuse.diffusion.schedules import DiscreteSchedule, Schedule
from undiffuse.errors import UndiffuseError

KIND = "loss"
"""Of registered pieces, see `config.registry`."""


def register_loss(name: str, make: Callable[..., Loss], note: str = "") -> None:
    """Make a loss known to ``--loss``, to files and to Python's ``objective=``.

    Args:
        make: the loss, of its options; settings of other losses, such as `weighting`, are not for it.
        note: when to use it.

    Raises:
        UndiffuseError: as for `registry.register`.
    """
    registry.register(KIND, name, make, note)


def make_objective(
    config: ObjectiveConfig, diffusion: DiffusionConfig, levels: int | None = 256, bounded: bool = True
) -> Loss:
    """The objective that a configuration names, its error measured in the network's own space.

    Args:
        levels: 2^bits of integer data, None for float data; the bound needs it.
        bounded: whether x0 lies in [-1, 1].

    Raises:
        UndiffuseError: the loss and the learned variance, or a clipped error and x0 without bounds, do not go together.
    """
    if registry.knows(KIND, config.loss):
        return _checked(registry.make(KIND, config.loss), config.loss)
    if config.loss not in ("simple", "hybrid", "vlb"):
        raise registry.missing(KIND, config.loss)
    if config.clipped_error and not bounded:
        raise UndiffuseError(
            "`clipped_error` is of data that lie in [-1, 1], and what this model diffuses has no bounds: leave it off"
        )
    if diffusion.learn_variance != (config.loss != "simple"):
        raise UndiffuseError(
            f"A learned variance is trained by the bound and by nothing else; `loss` is '{config.loss}' and "
            f"`learn_variance` is {'on' if diffusion.learn_variance else 'off'}: use `learn_variance` `loss=hybrid`"
        )
    if config.loss == "vlb":
        return Bound(levels)
    space = make_parameterization(diffusion.parameterization, diffusion.sigma_data)
    simple = Objective(space, make_weighting(config), DISTANCES[config.distance], config.clipped_error)
    return Hybrid(simple, levels=levels) if config.loss == "hybrid" else simple


def _checked(made: object, name: str) -> Loss:
    if not isinstance(made, Loss):
        raise UndiffuseError(
            f"The loss '{name}' should be called as `loss(denoiser, x0, t, eps, conditions, mask)` and give one number "
            f"a sample, and a {type(made).__name__} cannot be called"
        )
    return made


def make_weighting(config: ObjectiveConfig) -> Weighting:
    """The weighting that a configuration names."""
    weightings: dict[str, Weighting] = {
        "uniform": UniformWeight(),
        "min-snr": MinSNR(config.gamma),
        "p2": P2(config.p2_gamma),
        "vlb": VLB(),
    }
    return weightings[config.weighting]


def make_time_law(config: ObjectiveConfig, schedule: Schedule) -> TimeLaw:
    """The law that a configuration names.

    Raises:
        UndiffuseError: 'loss-second-moment' on a continuous process.
    """
    if config.time_law == "loss-second-moment":
        if not isinstance(schedule, DiscreteSchedule):
            raise UndiffuseError(
                "`time_law=loss-second-moment` needs a discrete chain; use `schedule=cosine` or linear"
            )
        return LossSecondMoment(schedule.T)
    laws: dict[str, TimeLaw] = {
        "uniform": Uniform(),
        "stratified": Stratified(),
        "logit-normal": LogitNormal(config.logit_mean, config.logit_std, config.logit_uniform),
    }
    return laws[config.time_law]
