"""Which tensor of somebody else's network is which of ours, as data.

A table is a list of `NameRule`: pairs of layers' names in which ``{}`` stands for a number.

    Rule("down.{}.blocks.{}.embed", "down_blocks.{}.resnets.{}.time_emb_proj")

names the same layer twice; its tensors (weight, bias) keep their own names. Where a layer of ours is several of theirs
(queries, keys and values), or has another shape there, the rule has a `Change`, which works both ways. `pair` applies a
table to the names of a network of ours, and `read` and `write` carry tensors over. All of it is checked: every tensor
of ours has a rule, every tensor of theirs is used, once, and every shape fits, before any value is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.checkpoints.foreign.tensors import Shape, Tensors
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class Change:
    """A tensor of ours out of those of theirs, and back. Both must also work on torch's meta device."""

    to_ours: Callable[[Sequence[Tensor]], Tensor]
    to_theirs: Callable[[Tensor], Sequence[Tensor]]


SAME = Change(lambda theirs: theirs[0], lambda ours: [ours])


def of_weights(to_ours: Callable[[Tensor], Tensor], to_theirs: Callable[[Tensor], Tensor]) -> Change:
    """A change of a layer's weight; its bias, which has one dimension, is the same."""

    def changed(change: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
        return change(tensor) if tensor.ndim > 1 else tensor

    return Change(lambda theirs: changed(to_ours, theirs[0]), lambda ours: [changed(to_theirs, ours)])


POINTWISE = of_weights(lambda kernel: kernel.flatten(1), lambda matrix: matrix[:, :, None, None])
"""A kernel of 1 x 1 there, a matrix here."""


def stacked(parts: int) -> Change:
    """Several layers of theirs, one over the other in one of ours."""
    return Change(lambda theirs: torch.cat(list(theirs)), lambda ours: ours.chunk(parts))


HALVES_SWAPPED = of_weights(lambda w: w.roll(w.shape[1] // 2, 1), lambda w: w.roll(w.shape[1] // 2, 1))
"""A linear layer whose input comes with its two halves in the other order."""


WITHOUT_NULL = Change(
    lambda theirs: torch.cat([theirs[0], torch.zeros_like(theirs[0][:1])]),
    lambda ours: [ours[:-1]],
)
"""A table of classes without a row for no class; ours gets one of zeros, which nobody trained."""


@dataclass(frozen=True)
class NameRule:
    """A layer of ours and the one or several of theirs that it is; ``{}`` stands for the same numbers in each.

    Its tensors keep their own names, or have the name ``leaf`` there.
    """

    ours: str
    theirs: str | tuple[str, ...]
    change: Change = SAME
    leaf: str | None = None


@dataclass(frozen=True)
class TensorPair:
    """A tensor of ours and those of theirs that it is made of."""

    ours: str
    theirs: tuple[str, ...]
    change: Change = SAME


def pair(names: Iterable[str], rules: Sequence[NameRule]) -> list[TensorPair]:
    """A pair for each of our tensors' names, by the first rule for its layer."""
    patterns = [(re.compile(re.escape(rule.ours).replace(r"\{\}", r"(\d+)") + r"\.(\w+)"), rule) for rule in rules]
    pairs = []
    for name in names:
        found = next(((match, rule) for pattern, rule in patterns if (match := pattern.fullmatch(name))), None)
        if found is None:
            raise UndiffuseError(f"The network's '{name}' has no counterpart in the other layout")
        match, rule = found
        *numbers, leaf = match.groups()
        theirs = (rule.theirs,) if isinstance(rule.theirs, str) else rule.theirs
        pairs.append(
            TensorPair(name, tuple(f"{layer.format(*numbers)}.{rule.leaf or leaf}" for layer in theirs), rule.change)
        )
    return pairs


def check(pairs: Sequence[TensorPair], ours: Mapping[str, Tensor], theirs: Mapping[str, Shape], where: str) -> None:
    """Compare names and shapes; no value is looked at.

    Args:
        ours: the network's tensors; on the meta device will do.
        theirs: shape of each tensor in the file.
        where: the file's name in messages.
    """
    wanted = [name for one in pairs for name in one.theirs]
    if missing := [name for name in wanted if name not in theirs]:
        raise UndiffuseError(
            f"{where} lacks '{missing[0]}' ({len(missing)} tensors in all), which its settings promise"
        )
    if unknown := sorted(theirs.keys() - set(wanted)):
        raise UndiffuseError(
            f"{where} has a '{unknown[0]}' ({len(unknown)} in all) that a network of its settings does not have"
        )
    for one in pairs:
        expected = one.change.to_theirs(torch.empty_like(ours[one.ours], device="meta"))
        for name, promised in zip(one.theirs, (tuple(tensor.shape) for tensor in expected), strict=True):
            if theirs[name] != promised:
                raise UndiffuseError(
                    f"{where} has '{name}' of the shape {theirs[name]}, where its settings promise {promised}"
                )


def read(pairs: Sequence[TensorPair], ours: Mapping[str, Tensor], theirs: Tensors, where: str) -> dict[str, Tensor]:
    """Our tensors, float32, out of theirs by name, after a `check`."""
    check(pairs, ours, theirs.shapes, where)
    return {one.ours: one.change.to_ours([theirs(name).float() for name in one.theirs]).contiguous() for one in pairs}


def write(pairs: Sequence[TensorPair], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors, each with memory of its own, out of ours."""
    found = {}
    for one in pairs:
        parts = one.change.to_theirs(ours[one.ours].detach().cpu())
        found.update({name: part.clone().contiguous() for name, part in zip(one.theirs, parts, strict=True)})
    return found
