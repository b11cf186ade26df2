"""Settings that were given and that the other settings leave without effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten

_HEEDED: dict[str, tuple[Callable[[TrainConfig], bool], str]] = {
    "stride": (lambda config: config.data.frames > 0, "frames"),
    "buffer": (lambda config: config.data.stream, "stream"),
    "heads": (lambda config: flatten(config)["head_width"] is None, "no head_width"),
    "sigma_data": (lambda config: config.diffusion.parameterization == "edm", "parameterization edm"),
    "condition_dropout": (lambda config: bool(config.conditions.condition), "condition"),
    "condition_lr": (lambda config: {"class", "vector"} & {*config.conditions.condition} != set(), "condition class"),
    "augmentation": (lambda config: config.conditions.upscale > 1, "upscale"),
    "start_weights": (lambda config: bool(config.start.start_from), "start_from"),
    "gamma": (lambda config: config.objective.weighting == "min-snr", "weighting min-snr"),
    "p2_gamma": (lambda config: config.objective.weighting == "p2", "weighting p2"),
    "logit_mean": (lambda config: config.objective.time_law == "logit-normal", "time_law logit-normal"),
    "logit_std": (lambda config: config.objective.time_law == "logit-normal", "time_law logit-normal"),
    "logit_uniform": (lambda config: config.objective.time_law == "logit-normal", "time_law logit-normal"),
    "weight_decay": (lambda config: config.optimizer.optimizer == "adamw", "optimizer adamw"),
    "ema_copies": (lambda config: bool(config.ema.ema_std), "ema_std"),
    "sample_count": (lambda config: config.loop.sample_every != 0, "sample_every above 0"),
}
"""Setting -> when it acts, and the words for that."""


def unheeded(given: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """A sentence for each setting in ``given`` that changes nothing beside the rest of ``config``.

    A setting at its default is no wish to be disappointed, so that one list of settings serves several trainings.
    """
    plain = flatten(TrainConfig())
    return [
        f"{name} {given[name]} changes nothing here: it acts with {words}"
        for name, (acts, words) in _HEEDED.items()
        if name in given and given[name] != plain[name] and not acts(config)
    ]
