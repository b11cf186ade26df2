"""Settings of samples: the numbers among them that make sense, and those of them that change nothing."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from undiffuse.config.sampling import Compute, Guide, SampleConfig, Solver
from undiffuse.config.without_effect import without_effect
from undiffuse.errors import UndiffuseError

BOUNDS = {
    "steps": (-math.inf, 100_000),
    "eta": (0.0, 1.0),
    "churn": (0.0, 10_000),
    "tolerance": (1e-12, 1.0),
    "guidance": (-1000.0, 1000.0),
    "augmentation": (0.0, 1.0),
    "morph": (0.0, 1.0),
}
"""Finite numbers that mean something, by the field of `SampleConfig`; beyond them there is noise, NaN, or no end."""
SATURATING = 50.0
"""Guidance from which on samples are mostly values at the ends of their range."""


def check_bounds(settings: SampleConfig) -> None:
    """Check finite numbers for sense.

    Raises:
        UndiffuseError: one of them is out of `BOUNDS`.
    """
    flat = settings.flat()
    for name, (low, high) in BOUNDS.items():
        value = flat[name]
        if not low <= value <= high:
            limits = f"at most {high:g}" if low == -math.inf else f"from {low:g} to {high:g}"
            raise UndiffuseError(f"`{name}` takes a number {limits}, and it is {value:g}")
    if (size := settings.compute.micro_batch) is not None and size < 1:
        raise UndiffuseError(f"An evaluation takes a `micro_batch` of at least 1 image, and it is {size}")
    if (other := settings.solver.morph_to) is not None and other < 0:
        raise UndiffuseError(f"`morph_to` takes a seed, a whole number from 0, and it is {other}")


OF_SAMPLERS = {"eta": "ddim", "variance": "ddpm", "churn": "edm", "tolerance": "ode"}
"""Settings that one sampler heeds, and which."""


def unheeded(settings: SampleConfig, enlarges: bool, samplers: Sequence[str] = ()) -> list[str]:
    """A sentence for each setting that is not at its default and changes nothing beside the others.

    Args:
        enlarges: whether the model, or one that it stands upon, enlarges small images.
        samplers: all that will walk by these settings, where they are others than the settings' own.
    """
    walking = samplers or (settings.solver.sampler,)
    leads = settings.guide.guidance != 1, "with `guidance` other than 1"
    rules = {
        **{name: (sampler in walking, f"with `sampler={sampler}`") for name, sampler in OF_SAMPLERS.items()},
        "avoid": leads,
        "classifier": (settings.guide.guidance != 0, "with `guidance` other than 0"),
        "guidance_rescale": leads,
        "guidance_interval": leads,
        "guidance_rule": leads,
        "augmentation": (enlarges, "with a cascade, or a stage of one"),
        "morph": (settings.solver.morph_to is not None, "with `morph_to`"),
    }
    return without_effect(settings.flat(), rules, SampleConfig().flat())


def beside_times(given: Mapping[str, Any]) -> list[str]:
    """The same of what was typed or passed, and not of what it is laid upon: times leave no steps to be spread."""
    return without_effect(given, dict.fromkeys(("steps", "spacing"), (not given.get("times"), "without `times`")))


def remarks(settings: SampleConfig, enlarges: bool) -> list[str]:
    """What is to be said of settings that are possible: guidance that is far beyond use, and what is `unheeded`."""
    guidance = settings.guide.guidance
    beyond = (
        f"`guidance={guidance:g}` leads far beyond what was learned: most values will be at the ends of "
        "their range; 1 to 10 is usual"
    )
    return [beyond] * (abs(guidance) >= SATURATING) + unheeded(settings, enlarges)


def of_sampler(settings: SampleConfig, name: str) -> SampleConfig:
    """The settings for another sampler, those that it does not heed at their defaults."""
    others = {field: getattr(Solver, field) for field, sampler in OF_SAMPLERS.items() if sampler != name}
    return settings.changed(sampler=name, **others)


def warn(sentences: Sequence[str]) -> None:
    """Say each of them once, whoever asks how often."""
    for sentence in sentences:
        warnings.warn(sentence, stacklevel=1)


def with_weights(settings: SampleConfig, loaded_as: str, own: str | None) -> SampleConfig:
    """The settings with the weights that a model has, which were chosen when it was loaded.

    Args:
        loaded_as: what was asked for then.
        own: what these are; None of a model that was not loaded.

    Raises:
        UndiffuseError: the settings ask for others.
    """
    weights = settings.compute.weights
    if own is None or weights in (loaded_as, own):
        return settings
    if weights == Compute.weights:
        return settings.changed(weights=loaded_as)
    raise UndiffuseError(
        f"This model was loaded with the weights '{own}', and weights '{weights}' are asked for: "
        f"undiffuse.load(..., weights='{weights}') has them"
    )


def with_threshold(settings: SampleConfig, bounded: bool) -> SampleConfig:
    """The settings with a threshold that a model's space can have: where it has no bounds, the default means none.

    Raises:
        UndiffuseError: another threshold than the default is asked for, and there are no bounds.
    """
    threshold = settings.guide.threshold
    if bounded or threshold == "none":
        return settings
    if threshold == Guide.threshold:
        return settings.changed(threshold="none")
    raise UndiffuseError(
        f"`threshold={threshold}` keeps x0 within [-1, 1], and what this model diffuses has no such bounds: "
        "use `threshold=none`"
    )


def checked(
    settings: SampleConfig, enlarges: bool, loaded_as: str, provenance: Mapping[str, Any], bounded: bool
) -> SampleConfig:
    """The settings as they can be for a model, its weights and its bounds filled in; `remarks` are warned of.

    Raises:
        UndiffuseError: a number is senseless, other weights or another threshold are asked for than there are, or a
            model that enlarges is to morph.
    """
    check_bounds(settings)
    if enlarges and settings.solver.morph_to is not None:
        raise UndiffuseError(
            "`morph_to` morphs the noise of a model that makes images of noise alone, and this one enlarges small "
            "images, as a stage of a cascade: leave it out"
        )
    settings = with_threshold(with_weights(settings, loaded_as, provenance.get("weights")), bounded)
    warn(remarks(settings, enlarges))
    return settings


def passed(settings: SampleConfig | None, overrides: dict[str, Any]) -> SampleConfig:
    """A caller's settings with single fields changed; fields without effect are warned of."""
    warn(beside_times(overrides))
    return (settings or SampleConfig()).changed(**overrides)
