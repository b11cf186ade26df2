"""The optimiser, its learning rate over time, and clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from undiffuse.config.training import OptimizerConfig
from undiffuse.training.optim.given import given_optimizer
from undiffuse.training.optim.learning import learning
from undiffuse.training.optim.muon import CONDITIONS, ENDS, MOMENTUM, Muon, split
from undiffuse.training.parallel.batch_shards import placed, whole

FUSED_DEVICES = ("cpu", "cuda", "mps")
"""Devices with a fused Adam: one pass over all tensors. On a CPU it takes a third of the time of the foreach form."""

OWN = ("adam", "adamw", "muon")
"""Optimizers of the library itself; others are registered or given, see `given`."""

RELATIVE = "relative_lr"
"""Key of a group's learning rate in units of the others'."""

FOREACH_DEVICES = ("cpu", "cuda")
"""Devices with one call for many tensors; PyTorch refuses it elsewhere, on Apple's among them, or does without."""


def make_optimizer(config: OptimizerConfig, network: nn.Module, rates: Mapping[str, float] | None = None) -> Optimizer:
    """Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019), Muon or a given optimizer of all parameters.

    Args:
        rates: learning rates of modules by name, in units of the others'; each is a group of its own, as what embeds
            conditions is with ``condition_lr`` other than 1.
    """
    parameters, betas = [parameter for _, parameter in learning(network)], (config.beta1, config.beta2)
    optimizer: Optimizer
    fused = parameters[0].device.type in FUSED_DEVICES
    if config.optimizer not in OWN:
        optimizer = given_optimizer(config, parameters)
    elif config.optimizer == "muon":
        optimizer = Muon(*split(network), lr=config.lr, betas=betas)
    elif config.optimizer == "adamw":
        optimizer = AdamW(parameters, lr=config.lr, betas=betas, weight_decay=config.weight_decay, fused=fused)
    else:
        optimizer = Adam(parameters, lr=config.lr, betas=betas, fused=fused)
    for module, rate in {CONDITIONS: config.condition_lr, **(rates or {})}.items():
        own = {id(p) for name, p in learning(network) if name.startswith(f"{module}.")}
        if rate == 1 or not own:
            continue
        for group in list(optimizer.param_groups):
            moved = [p for p in group["params"] if id(p) in own]
            group["params"] = [p for p in group["params"] if id(p) not in own]
            alike = {key: value for key, value in group.items() if key != "params"}
            if moved:
                optimizer.add_param_group({**alike, "params": moved, RELATIVE: rate})
    set_learning_rate(optimizer, config.lr)
    return optimizer


FALL: Mapping[str, Callable[[float], float]] = {
    "linear": lambda p: 1 - p,
    "cosine": lambda p: (1 + math.cos(math.pi * p)) / 2,
    "wsd": lambda p: min(1.0, 4 * (1 - p)),
}
"""Of the learning rate to 0, by the part of the training that is done."""


def learning_rate(config: OptimizerConfig, step: int, total: int) -> float:
    """Learning rate of step ``step`` in 0..total-1: a pure function, so that resuming needs no scheduler's state.

    With peak ``lr`` and ``w`` warm-up steps, n = step + 1 being the step's number counted from 1,

        n <= w:         lr n / w
        constant:       lr
        linear:         lr (1 - p)                  p = (step - w) / (total - w) in [0, 1)
        cosine:         lr (1 + cos(pi p)) / 2
        wsd:            lr min(1, 4 (1 - p))        warm-up, stable, decay: https://arxiv.org/abs/2405.18392
        inverse-sqrt:   lr sqrt(max(w, 1) / n)

    The first step already moves (n / w, not step / w), and 0 is reached after the last step, so that no step is wasted.
    """
    n, w = step + 1, config.warmup
    if n <= w:
        return config.lr * n / w
    if config.decay == "constant":
        return config.lr
    if config.decay == "inverse-sqrt":
        return config.lr * math.sqrt(max(w, 1) / n)
    return config.lr * FALL[config.decay]((step - w) / (total - w))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of every group, in units of which some have their own."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(RELATIVE, 1.0)


def clip_gradient(parameters: Iterable[nn.Parameter], clip: float | None) -> Tensor:
    """Scale the gradient to a global norm of at most ``clip``; return the norm that it had, as a tensor of shape ().

    The norm stays on the device: whoever needs it as a number decides when to wait for it. It is not finite exactly
    when some gradient, or the sum of the squares, is not.
    """
    parameters = list(parameters)
    foreach = parameters[0].device.type in FOREACH_DEVICES or None
    return whole(torch.nn.utils.clip_grad_norm_(parameters, math.inf if clip is None else clip, foreach=foreach))


def optimizer_tensors(optimizer: Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state as ``{"exp_avg/PARAMETER": tensor, ...}``; empty before the first step."""
    return {
        f"{key}/{name}": whole(value)
        for name, parameter in learning(network)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def expected_optimizer_tensors(optimizer: Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The names, shapes and types that `optimizer_tensors` gives after a step, for checking a file against them."""
    count = torch.zeros(())
    return {
        f"{key}/{name}": count if key == "step" else parameter.detach()
        for name, parameter, keys in _state_keys(optimizer, network)
        for key in keys
    }


def follow_groups(optimizer: Optimizer, network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Have an optimizer that has taken no step move by Muon what the training that left ``tensors`` moved by it.

    Muon moved the embeddings of conditions, too, before Adam did; a run of that time goes on as it was.
    """
    if isinstance(optimizer, Muon) and any(name.startswith(f"{MOMENTUM}/{CONDITIONS}.") for name in tensors):
        for group, parameters in zip(optimizer.param_groups, split(network, ENDS), strict=True):
            group["params"] = parameters


def load_optimizer_tensors(optimizer: Optimizer, network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Set the optimiser's state from what `optimizer_tensors` gave, in the parameters' devices and memory formats."""
    fused = bool(optimizer.defaults.get("fused"))  # which counts its steps where the parameters are; others on the CPU
    for name, parameter, keys in _state_keys(optimizer, network):
        found = {key: tensors[f"{key}/{name}"] for key in keys if f"{key}/{name}" in tensors}
        if found:
            optimizer.state[parameter] = {
                key: value.to(parameter.device if fused else "cpu", copy=True)
                if key == "step"
                else torch.empty_like(parameter).copy_(placed(value, parameter))
                for key, value in found.items()
            }


def _state_keys(optimizer: Optimizer, network: nn.Module) -> Iterator[tuple[str, nn.Parameter, tuple[str, ...]]]:
    """Name, parameter and what the optimiser keeps of it."""
    matrices = {id(p) for group in optimizer.param_groups if group.get("muon") for p in group["params"]}
    for name, parameter in learning(network):
        yield name, parameter, (MOMENTUM,) if id(parameter) in matrices else ("step", "exp_avg", "exp_avg_sq")
