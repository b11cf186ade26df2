"""What is asked of a model: which samples, by their numbers, and by what settings."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from undiffuse.config.effect import without_effect
from undiffuse.config.sampling import Compute, Guide, SampleConfig, Solver
from undiffuse.errors import UndiffuseError

MOST = 100_000_000
"""Samples asked for at once: their numbers alone, in micro-batches, take memory."""


def check_numbers(n: int, seed: int, first: int) -> None:
    """Check how many samples are asked for, and their numbers.

    Raises:
        UndiffuseError: one of them is out of range.
    """
    if n > MOST:
        raise UndiffuseError(
            f"Sampling takes at most {MOST:,} samples at a time, and n is {n:,}: draw them in parts, with first"
        )
    if n < 1 or seed < 0 or first < 0:
        raise UndiffuseError(
            "Sampling needs n of at least 1, and seed and first of at least 0; it got "
            f"n={n}, seed={seed}, first={first}"
        )


def whole_numbers(**values: Any) -> list[int]:
    """Numbers that Python's callers may have as NumPy's or as tensors, as the plain ones that files can hold.

    Raises:
        UndiffuseError: one is no whole number, such as 2.5, "2" or None.
    """
    for name, value in values.items():
        if not hasattr(value, "__index__") or getattr(value, "shape", ()) != ():
            raise UndiffuseError(f"{name} must be a whole number, got {value!r}")
    try:
        return [operator.index(value) for value in values.values()]
    except TypeError:  # NumPy's and torch's numbers that are not whole
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise UndiffuseError(f"expected whole numbers, got {shown}") from None


def whole_range(indices: Any) -> range:
    """Numbers of samples: a range in steps of 1, of plain whole numbers.

    Raises:
        UndiffuseError: it is another thing.
    """
    if not isinstance(indices, range) or indices.step != 1:
        raise UndiffuseError(f"The samples to draw must be a range in steps of 1, such as range(16), got {indices!r}")
    if indices.stop - indices.start > MOST:  # len() itself fails beyond the machine's integers
        raise UndiffuseError(f"Sampling takes at most {MOST:,} samples at a time, got {indices!r}: draw them in parts")
    return indices


def checked_range(indices: Any, seed: Any) -> tuple[range, int]:
    """Numbers of samples and the seed of their noise, as plain whole numbers.

    Raises:
        UndiffuseError: they are other things, or out of range.
    """
    indices, (seed,) = whole_range(indices), whole_numbers(seed=seed)
    check_numbers(len(indices), seed, indices.start)
    return indices, seed


BOUNDS = {
    "steps": (-math.inf, 100_000),
    "eta": (0.0, 1.0),
    "churn": (0.0, 10_000),
    "tolerance": (1e-12, 1.0),
    "guidance": (-1000.0, 1000.0),
    "augmentation": (0.0, 1.0),
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
        raise UndiffuseError(f"An evaluation takes a micro_batch of at least 1 image, and it is {size}")


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
        "augmentation": (enlarges, "with a cascade, or a stage of one"),
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
        UndiffuseError: a number is senseless, or other weights or another threshold are asked for than there are.
    """
    check_bounds(settings)
    warn(remarks(settings, enlarges))
    return with_threshold(with_weights(settings, loaded_as, provenance.get("weights")), bounded)


def passed(settings: SampleConfig | None, overrides: dict[str, Any]) -> SampleConfig:
    """A caller's settings with single fields changed; fields without effect are warned of."""
    warn(beside_times(overrides))
    return (settings or SampleConfig()).changed(**overrides)
