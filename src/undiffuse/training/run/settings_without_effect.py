"""Settings that were given and that the other settings leave without effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten
from undiffuse.config.without_effect import without_effect


def unheeded(given: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """A sentence for each setting in ``given`` that changes nothing beside the rest of ``config``."""
    return without_effect(given, rules_of(config), flatten(TrainConfig()))


def rules_of(config: TrainConfig) -> dict[str, tuple[bool, str]]:
    """By setting: whether it acts, and beside what it does."""
    objective, told = config.objective, config.conditions.condition
    logit_normal = objective.time_law == "logit-normal", "with `time_law=logit-normal`"
    return {
        "stride": (config.data.frames > 0, "with `frames`"),
        "buffer": (config.data.stream, "with `stream`"),
        "heads": (flatten(config)["head_width"] is None, "without `head_width`"),
        "sigma_data": (config.diffusion.parameterization == "edm", "with `parameterization=edm`"),
        "condition_dropout": (bool(told), "with `condition`"),
        "condition_lr": (not {"class", "vector"}.isdisjoint(told), "with `condition=class`"),
        "augmentation": (config.conditions.upscale > 1, "with `upscale`"),
        "start_weights": (bool(config.start.start_from), "with `start_from`"),
        "lora_layers": (config.lora.lora_rank > 0, "with `lora_rank`"),
        "gamma": (objective.weighting == "min-snr", "with `weighting=min-snr`"),
        "p2_gamma": (objective.weighting == "p2", "with `weighting=p2`"),
        "logit_mean": logit_normal,
        "logit_std": logit_normal,
        "logit_uniform": logit_normal,
        "weight_decay": (config.optimizer.optimizer == "adamw", "with `optimizer=adamw`"),
        "ema_copies": (bool(config.ema.ema_std), "with `ema_std`"),
        "validate_every": (bool(config.data.validation), "with `validation`"),
        "patience": (bool(config.data.validation), "with `validation`"),
        "sample_count": (config.loop.sample_every != 0, "with `sample_every` above 0"),
    }
