"""Objects that a program gives in place of names: each becomes the text of a setting that stands for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from undiffuse.config import registry
from undiffuse.data.formats.builtin import BUILTIN_PREFIX
from undiffuse.data.preparation.in_memory import is_given, keep_given
from undiffuse.data.preparation.named import typed_source
from undiffuse.diffusion.losses import Loss
from undiffuse.diffusion.schedules import DiscreteSchedule, Schedule
from undiffuse.errors import UndiffuseError
from undiffuse.factories import loss, schedule
from undiffuse.factories.network import give_network
from undiffuse.training.optim.given import KIND, optimizer_of


def with_texts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by flat names, whose objects are kept by `registry` and stand there as texts.

    ``network`` is another name of `architecture`, and ``objective`` of `loss`.

    Raises:
        UndiffuseError: a name stands twice, or an object is not of its kind.
    """
    settings = dict(settings)
    for name, own in {"network": "architecture", "objective": "loss"}.items():
        if name in settings:
            if own in settings:
                raise UndiffuseError(f"{name}= and `{own}` say the same: give one of them")
            settings[own] = settings.pop(name)
    for name, text in _TEXTS.items():
        if name in settings and not isinstance(settings[name], str):
            settings = {**settings, **text(settings[name], settings)}
    return settings


def with_data_named(settings: Mapping[str, Any], quiet: bool) -> dict[str, Any]:
    """Settings whose other data, beside those to learn from, stand as files hold them, and are there."""
    named = dict(settings)
    if "pairs" in named:
        named["pairs"] = typed_source(str(named["pairs"]), quiet).removeprefix(BUILTIN_PREFIX)
    if not isinstance(other := named.get("validation", 0.0), int | float):
        named["validation"] = str(keep_given(other)) if is_given(other) else typed_source(str(other), quiet)
    return named


def _network(given: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"architecture": give_network(given)}


def _schedule(given: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Schedule):
        raise UndiffuseError(
            "`schedule` is an `undiffuse.diffusion.Schedule`, or the name of one such as 'cosine'; got a "
            f"{type(given).__name__}"
        )
    steps = {"timesteps": given.T} if isinstance(given, DiscreteSchedule) else {}
    return {**steps, **settings, "schedule": registry.keep(schedule.KIND, given)}


def _loss(given: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(given, type) or not isinstance(given, Loss):
        raise UndiffuseError(
            "An objective is called as `loss(denoiser, x0, t, eps, conditions, mask)`, or is the name of a loss, "
            f"such as 'simple'; got {_shown(given)}"
        )
    return {"loss": registry.keep(loss.KIND, given)}


def _optimizer(given: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The learning rate is the optimizer's own where the settings say none."""
    if isinstance(given, Optimizer) or not callable(given):
        raise UndiffuseError(
            "`optimizer` is a function of the parameters, such as `lambda parameters: torch.optim.SGD(parameters, "
            f"lr=0.1)`, or a name such as 'adam'; got {_shown(given)}"
        )
    rate = optimizer_of(given, [nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"]
    return {"lr": float(rate), **settings, "optimizer": registry.keep(KIND, given)}


def _shown(given: Any) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"


_TEXTS: Mapping[str, Callable[[Any, Mapping[str, Any]], dict[str, Any]]] = {
    "architecture": _network,
    "schedule": _schedule,
    "loss": _loss,
    "optimizer": _optimizer,
}
"""By setting: what becomes of an object."""
