"""Adapters of low rank: what is learned of a weight is a small sum to it, and the weight itself stays as it is.

    W' = W + B A / sqrt(rank),    A of (rank, inputs), B of (outputs, rank)

B starts at 0, so at first the network is the one that it was, bit for bit. A starts with numbers of variance 1: then a
step of one rate moves W' about as far as it would move W itself, whatever the rank. A convolution's filter is a matrix
of (outputs, inputs x positions); the rows of a table of classes are moved each by itself, W' = W + D.

References:
    Hu et al. 2021, "LoRA: low-rank adaptation of large language models", https://arxiv.org/abs/2106.09685
    Kalajdzievski 2023, the scale that suits every rank, https://arxiv.org/abs/2312.03732
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from undiffuse.errors import UndiffuseError, one_of

ADAPTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weights get adapters."""
DOWN, UP, SUM = "lora_A", "lora_B", "delta"
"""What is learned of a weight: the two matrices of a low rank, or all of its numbers."""
_WEIGHT = "weight"
_ORIGINAL = f"parametrizations.{_WEIGHT}.original"
_LEARNED = re.compile(rf"parametrizations\.{_WEIGHT}\.0\.({DOWN}|{UP}|{SUM})$")


class LowRank(nn.Module):
    """W + B A / sqrt(rank)."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        inputs = weight[0].numel()
        self.lora_A = nn.Parameter(nn.init.normal_(torch.empty(rank, inputs, device=weight.device)))
        self.lora_B = nn.Parameter(torch.zeros(len(weight), rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return low_rank_sum(weight, self.lora_A, self.lora_B)


class Sum(nn.Module):
    """W + D."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(weight.shape, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.delta


def low_rank_sum(weight: Tensor, down: Tensor, up: Tensor, scale: float = 1.0) -> Tensor:
    """W + scale B A / sqrt(rank), in the weight's own type whatever autocast would have."""
    plain = nullcontext() if weight.is_meta else torch.autocast(weight.device.type, enabled=False)
    with plain:
        return weight + (up * (scale / math.sqrt(len(down))) @ down).view(weight.shape)


def adapt(network: nn.Module, rank: int, layers: Sequence[str] = ()) -> None:
    """Give a network's layers adapters, and have it learn nothing else.

    Args:
        rank: at most that of the matrix itself.
        layers: parts of the names of those that get one; all linear maps and convolutions without any. Tables of
            classes get theirs in either case: they are small, and what is new to a network is often a class.

    Raises:
        UndiffuseError: there is no such layer.
    """
    network.requires_grad_(False)
    layers_there, tables = _own(network, ADAPTED), _own(network, (nn.Embedding,))
    chosen = {name: one for name, one in layers_there.items() if not layers or any(part in name for part in layers)}
    if not chosen:
        raise UndiffuseError(
            f"`lora_layers={','.join(layers)}` is in no name of this network's layers; they begin with "
            f"{one_of(dict.fromkeys(name.partition('.')[0] for name in layers_there))}"
            if layers_there
            else "`lora_rank` is for networks with linear maps or convolutions, and this one has none"
        )
    for layer in chosen.values():
        weight = layer.weight
        assert isinstance(weight, Tensor)
        most = min(len(weight), weight[0].numel())
        parametrize.register_parametrization(layer, _WEIGHT, LowRank(weight, min(rank, most)))
    for table in tables.values():
        assert isinstance(table.weight, Tensor)
        parametrize.register_parametrization(table, _WEIGHT, Sum(table.weight))


def _own(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> dict[str, nn.Module]:
    """Layers of these kinds by name, but for those whose weight is another's, too, or is made of others already."""
    holders = Counter(id(p) for module in network.modules() for p in module.parameters(recurse=False))
    found = ((name, layer) for name, layer in network.named_modules() if isinstance(layer, kinds))
    return {
        name: layer
        for name, layer in found
        if not parametrize.is_parametrized(layer) and holders[id(layer.weight)] == 1
    }


def own_names(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a network without adapters, under the names that they have in one with some."""
    there = network.state_dict()
    return {own_name(name, there): tensor for name, tensor in tensors.items()}


def own_name(name: str, there: Mapping[str, Tensor]) -> str:
    """The name of a weight among the tensors of a network where it may have an adapter."""
    head = name.removesuffix(_WEIGHT)
    return f"{head}{_ORIGINAL}" if f"{head}{_ORIGINAL}" in there else name


def is_whole(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are those of a network with adapters, and not what the adapters learned alone."""
    return any(name.endswith(_ORIGINAL) for name in tensors)


def merged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network without adapters that computes the same as one with them."""
    learned = learned_of(tensors)
    plain = {
        name.removesuffix(_ORIGINAL) + _WEIGHT if name.endswith(_ORIGINAL) else name: tensor
        for name, tensor in tensors.items()
        if not _LEARNED.search(name)
    }
    return added(plain, learned)


def learned_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the adapters of a network hold: ``LAYER.weight.lora_A``, ``LAYER.weight.lora_B``, ``LAYER.weight.delta``."""
    found = ((name, _LEARNED.search(name)) for name in tensors)
    return {f"{name[: part.start()]}{_WEIGHT}.{part[1]}": tensors[name] for name, part in found if part}


def added(plain: Mapping[str, Tensor], learned: Mapping[str, Tensor], scale: float = 1.0) -> dict[str, Tensor]:
    """A network's tensors with what adapters hold, see `learned_of`, added to them.

    Args:
        scale: of the sum: 0 leaves the network as it is.

    Raises:
        UndiffuseError: an adapter is of no weight that is there, or of another shape.
    """
    tensors = dict(plain)
    for weight in dict.fromkeys(name.rpartition(".")[0] for name in learned):
        check_fits(weight, plain, learned)
        parts = [learned.get(f"{weight}.{part}") for part in (DOWN, UP, SUM)]
        down, up, delta = parts
        if delta is not None:
            tensors[weight] = tensors[weight] + scale * delta
        elif down is not None and up is not None:
            tensors[weight] = low_rank_sum(tensors[weight], down, up, scale)
    return tensors


def check_fits(weight: str, plain: Mapping[str, Tensor], learned: Mapping[str, Tensor]) -> None:
    """Check that what an adapter holds of a weight can be added to it, before anything is computed.

    Raises:
        UndiffuseError: it cannot.
    """
    if weight not in plain:
        raise UndiffuseError(f"has an adapter of '{weight}', and the model has no such weight")
    shape = tuple(plain[weight].shape)
    down, up, delta = (learned.get(f"{weight}.{part}") for part in (DOWN, UP, SUM))
    low = (
        down is not None
        and up is not None
        and delta is None
        and down.ndim == up.ndim == 2
        and up.shape[1] == len(down) > 0
        and (len(up), down.shape[1]) == (shape[0], math.prod(shape[1:]))
    )
    whole = delta is not None and down is None and up is None and tuple(delta.shape) == shape
    if not (low or whole):
        raise UndiffuseError(f"has an adapter of '{weight}' that does not fit the model's, which is of {shape}")
