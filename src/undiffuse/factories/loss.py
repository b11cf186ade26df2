"""Objectives by the names that settings give them."""

from __future__ import annotations

from undiffuse.config.schema import DiffusionConfig, ObjectiveConfig
from undiffuse.diffusion.losses.hybrid import Bound, Hybrid
from undiffuse.diffusion.losses.simple import DISTANCES, Loss, Objective
from undiffuse.diffusion.losses.weighting import make_weighting
from undiffuse.diffusion.parameterization import make_parameterization
from undiffuse.errors import UndiffuseError


def make_objective(config: ObjectiveConfig, diffusion: DiffusionConfig, levels: int | None = 256) -> Loss:
    """The objective that a configuration names, its error measured in the network's own space.

    Args:
        levels: 2^bits of integer data, None for float data; the bound needs it.

    Raises:
        UndiffuseError: the loss and the learned variance do not go together.
    """
    if diffusion.learn_variance != (config.loss != "simple"):
        raise UndiffuseError(
            f"A learned variance is trained by the bound and by nothing else; --loss is '{config.loss}' and "
            f"--learn-variance is {'on' if diffusion.learn_variance else 'off'}: use --learn-variance --loss hybrid"
        )
    if config.loss == "vlb":
        return Bound(levels)
    space = make_parameterization(diffusion.parameterization, diffusion.sigma_data)
    simple = Objective(space, make_weighting(config), DISTANCES[config.distance], config.clipped_error)
    return Hybrid(simple, levels=levels) if config.loss == "hybrid" else simple
