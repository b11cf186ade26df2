"""Refuse settings that cannot work, before any work is done with them."""

from __future__ import annotations

import math

from undiffuse.config.distillation import student_of
from undiffuse.config.files import BUDGETS, check_pieces
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten
from undiffuse.config.students import check_student
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.installing import need
from undiffuse.training.optim.power_ema import check_widths

_POSITIVE = (
    *("lr", "clip", "condition_lr", "batch", "accumulate", *BUDGETS),
    *("log_every", "sample_count", "timesteps", "upscale", "ema_copies", "gamma"),
)
_NOT_NEGATIVE = (
    "weight_decay",
    "warmup",
    "seed",
    "sample_every",
    "checkpoint_every",
    "keep",
    "patience",
    "lora_rank",
    "prior",
    "offset_noise",
    "logit_std",
)
_FRACTIONS = ("beta1", "beta2", "dropout", "condition_dropout")


def check_validation(config: TrainConfig) -> None:
    """Check that what is held out can be, and that nothing needs it where nothing is held out."""
    data, loop = config.data, config.loop
    share = data.validation if isinstance(data.validation, float) else None
    if share is not None and not 0 <= share < 1:
        raise UndiffuseError(f"`validation` is a share of the data below 1, or other data; got {share:g}")
    if not data.validation:
        return
    if loop.validate_every is not None and loop.validate_every < 1:
        raise UndiffuseError(f"`validate_every` must be at least 1, got {loop.validate_every}")
    if student_of(config.distillation) and share is None:
        raise UndiffuseError("`validation` is of a training on data, and a student learns of its teacher: leave it out")
    if config.conditions.upscale > 1:
        raise UndiffuseError("`validation` is not for models that enlarge: leave it out")
    if data.stream and share is not None:
        raise UndiffuseError("`stream` reads the data as they come, so no share is held out: name other data")
    if isinstance(data.validation, str) and (data.pairs or "text" in config.conditions.condition):
        raise UndiffuseError(
            "Other data for `validation` bring no pictures or texts to go with: hold out a share, `validation=0.1`"
        )


def check_fine_tuning(config: TrainConfig) -> None:
    """Check that adapters have weights to add to, and that a prior has a model to be drawn from."""
    start, student = config.start, student_of(config.distillation)
    if config.lora.lora_rank and not start.start_from and not student:
        raise UndiffuseError("`lora_rank` adds to the weights of a model: name it with `start_from`")
    if not start.prior:
        return
    if not start.start_from or student:
        raise UndiffuseError("`prior` is of a training on data from another model: name that one with `start_from`")
    told = set(config.conditions.condition) - {"class"}
    if told or config.conditions.upscale > 1:
        what = "enlarges" if config.conditions.upscale > 1 else f"is told `{min(told)}`"
        raise UndiffuseError(f"`prior` is for models of classes or of nothing, and this one {what}: leave it out")
    data = config.data
    beside = {
        "stream": data.stream,
        f"crop={data.crop}": data.crop in ("random", "tiles"),
        "validation": isinstance(data.validation, float) and data.validation > 0,
    }
    for other in (name for name, there in beside.items() if there):
        raise UndiffuseError(f"`prior` makes each batch half of new samples, which `{other}` does not go with")
    if config.loop.batch < 2:
        raise UndiffuseError("`prior` makes each batch half of new samples, so `batch` must be at least 2, got 1")


def check(config: TrainConfig) -> None:
    """Check ranges, and that there is one budget."""
    check_pieces(config)
    flat = flatten(config)
    for name in _POSITIVE:
        if flat[name] is not None and not flat[name] > 0:
            raise UndiffuseError(f"`{name}` must be more than 0, got {flat[name]}")
    for name in _NOT_NEGATIVE:
        if flat[name] is not None and not flat[name] >= 0:
            raise UndiffuseError(f"`{name}` must be at least 0, got {flat[name]}")
    for name, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value) and (name, value) != ("clip", math.inf):
            raise UndiffuseError(f"`{name}` must be a finite number, got {value}")
    for name in _FRACTIONS:
        if not 0 <= flat[name] < 1:
            raise UndiffuseError(f"`{name}` must be at least 0 and less than 1, got {flat[name]}")
    if not 0 <= config.conditions.augmentation <= 1:
        raise UndiffuseError(f"`augmentation` must be from 0 to 1, got {config.conditions.augmentation}")
    check_student(config)
    check_validation(config)
    check_fine_tuning(config)
    rates = config.ema.ema
    if not rates or len(set(rates)) < len(rates) or not all(0 <= rate < 1 for rate in rates):
        raise UndiffuseError(f"`ema` must be one or more different rates from 0 to less than 1, got {list(rates)}")
    check_widths(config.ema.ema_std)
    if config.optimizer.accumulate > config.loop.batch:
        raise UndiffuseError(
            f"`accumulate` splits a batch of {config.loop.batch} into {config.optimizer.accumulate} parts; "
            "it must be at most `batch`"
        )
    for name in config.loop.track:
        need(name, f"`track={name}` needs the package {name}", name)
    given = [name for name in BUDGETS if flat[name] is not None]
    if len(given) != 1:
        got = "none" if not given else " and ".join(f"`{name}={flat[name]}`" for name in given)
        raise UndiffuseError(
            f"give exactly one budget: `steps`, `images` or `minutes` (for example `steps=1000`); got {got}"
        )
