"""Optimizers that a program or a package brings: made of the parameters, and kept in checkpoints with their memory.

What such an optimizer keeps of each parameter, and numbers that change in its groups, go into the checkpoint as
tensors: ``KEY/PARAMETER`` for tensors, ``KEY:TYPE/PARAMETER`` for numbers, ``*GROUP:KEY:TYPE`` for numbers of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from undiffuse.config import registry
from undiffuse.config.training import OptimizerConfig
from undiffuse.errors import UndiffuseError
from undiffuse.training.parallel.batch_shards import placed, whole

KIND = "optimizer"
"""Of registered pieces, see `config.registry`."""
NUMBERS: Mapping[str, type] = {"int": int, "float": float, "bool": bool}

MakeOptimizer = Callable[..., Optimizer]


def register_optimizer(name: str, make: MakeOptimizer, note: str = "") -> None:
    """Make an optimizer known to ``--optimizer``, to files and to Python's ``optimizer=``.

    Args:
        make: ``make(parameters, **options)``, as the classes of `torch.optim`; options that are called ``lr``,
            ``weight_decay``, ``beta1`` or ``beta2`` are those of the settings.
        note: when to use it.

    Raises:
        UndiffuseError: as for `registry.register`.
    """
    _, *options = signature(make).parameters.values()

    def of_options(**given: Any) -> MakeOptimizer:
        return partial(make, **given)

    own = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in options if one.kind is not Parameter.VAR_KEYWORD]
    of_options.__signature__ = signature(of_options).replace(parameters=own)  # type: ignore[attr-defined]
    of_options.__module__, of_options.__qualname__ = make.__module__, make.__qualname__
    registry.register(KIND, name, of_options, note)


def given_optimizer(config: OptimizerConfig, parameters: Sequence[nn.Parameter]) -> Optimizer:
    """The registered optimizer, or that of the function, that settings name.

    Raises:
        UndiffuseError: there is none, or it is something else.
    """
    shared = {name: getattr(config, name) for name in ("lr", "weight_decay", "beta1", "beta2")}
    return optimizer_of(registry.make(KIND, config.optimizer, **shared), parameters)


def optimizer_of(make: MakeOptimizer, parameters: Sequence[nn.Parameter]) -> Optimizer:
    """The optimizer that a function makes of parameters.

    Raises:
        UndiffuseError: it makes something else.
    """
    made = make(list(parameters))
    if not isinstance(made, Optimizer):
        raise UndiffuseError(f"`optimizer` should make a torch.optim.Optimizer, and it made a {type(made).__name__}")
    return made


def given_tensors(optimizer: Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """All that the optimizer remembers.

    Raises:
        UndiffuseError: something that is neither a tensor nor a number.
    """
    found: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                found[f"{key}/{name}"] = whole(value)
            elif value is not None:
                found[f"{key}:{_type(key, value)}/{name}"] = torch.tensor(value)
    for number, group in enumerate(optimizer.param_groups):
        for key, value in group.items():
            if type(value).__name__ in NUMBERS and key != "lr":
                found[f"*{number}:{key}:{type(value).__name__}"] = torch.tensor(
                    value, dtype=torch.float64 if isinstance(value, float) else None
                )
    return found


def load_given(optimizer: Optimizer, network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Set the optimizer's memory from what `given_tensors` gave.

    Raises:
        UndiffuseError: it is of other parameters or groups.
    """
    parameters = dict(network.named_parameters())
    for name, value in tensors.items():
        if name.startswith("*"):
            number, key, kind = name[1:].split(":")
            if int(number) >= len(optimizer.param_groups):
                raise _other(where, name)
            optimizer.param_groups[int(number)][key] = NUMBERS[kind](value.item())
            continue
        what, _, owner = name.partition("/")
        if owner not in parameters:
            raise _other(where, name)
        key, _, kind = what.partition(":")
        parameter = parameters[owner]
        state = optimizer.state[parameter]
        if kind:
            state[key] = NUMBERS[kind](value.item())
        elif value.shape == parameter.shape:
            state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(placed(value, parameter))
        else:
            fused = bool(optimizer.defaults.get("fused") or optimizer.defaults.get("capturable"))
            state[key] = value.to("cpu" if key == "step" and not fused else parameter.device, copy=True)


def _type(key: str, value: object) -> str:
    if (name := type(value).__name__) not in NUMBERS:
        raise UndiffuseError(
            f"The optimizer keeps a {name} as '{key}', which a checkpoint cannot hold: it may keep tensors and numbers"
        )
    return name


def _other(where: str, name: str) -> UndiffuseError:
    return UndiffuseError(f"{where} has an unknown '{name}': another network or optimizer made it")
