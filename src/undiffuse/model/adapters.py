"""Adapters on a model: what trainings with `lora_rank` learned, added to weights, alone or several together."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from undiffuse.checkpoints.find import locate
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.config.distillation import student_of
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import drawing_settings, drawing_tensors, outline
from undiffuse.networks.lora import SUM, added, is_whole, learned_of
from undiffuse.provenance.adapter_names import AdapterName, adapters_in

BELOW = "without_adapters_sha256"
"""In a record of where weights came from: those that adapters were added to."""


def find_whole(name: str | Path, weights: str = "ema", above: tuple[str, ...] = ()) -> SavedModel:
    """The model of a name, with the adapters that it names, see `whole_model`."""
    base, adapters = adapters_in(name)
    return whole_model(locate(base, weights), adapters, weights, above)


def whole_model(
    found: SavedModel, adapters: Sequence[AdapterName] = (), weights: str = "ema", above: tuple[str, ...] = ()
) -> SavedModel:
    """What was found under a name as a model that draws: without what only trainings need, with adapters added.

    Args:
        adapters: to add; each is looked for.
        weights: of the adapters, where there are several.
        above: the sha256 of adapters that say themselves what they go on, and that this model is wanted for.

    Raises:
        UndiffuseError: an adapter is not there, is none, or does not fit.
    """
    if found.config.lora.lora_rank and not is_whole(found.tensors):
        found = put_on(_below(found, above), [(found, 1.0)])
    config, tensors = drawing_settings(found.config), drawing_tensors(found.config, found.tensors)
    whole = replace(found, config=config, tensors=tensors)
    return put_on(whole, [(locate(adapter.name, weights), adapter.scale) for adapter in adapters])


def _below(adapter: SavedModel, above: tuple[str, ...]) -> SavedModel:
    """The model that an adapter's file says it goes on: one that is here or ships, by a name without folders.

    A file may come from anywhere, and does not choose what is read or fetched.
    """
    name, base, own = (adapter.provenance["checkpoint"], adapter.config.start.start_from, adapter.provenance["sha256"])
    try:
        if own in above:
            raise UndiffuseError("it says that it goes on itself")
        if not base or "/" in base or "\\" in base:
            raise UndiffuseError(f"it says '{base[:80]}'")
        return find_whole(base, adapter.config.start.start_weights, (*above, own))
    except UndiffuseError as error:
        raise UndiffuseError(
            f"{name} is an adapter and no model, and what it goes on is not here ({error}): name both, as in "
            f"MODEL+{name}"
        ) from None


def put_on(base: SavedModel, adapters: Sequence[tuple[SavedModel, float]]) -> SavedModel:
    """A model with adapters added to it, each at its scale, in whatever order.

    Classes are told apart by their names: those that only adapters know come after the model's own.

    Raises:
        UndiffuseError: one is no adapter, or does not fit.
    """
    student, at = student_of(base.config.distillation), base.provenance.get("sha256")
    known = {at, base.provenance.get(BELOW), student.teacher_sha256 if student else None}
    for adapter, scale in adapters:
        _check_kind(base, adapter, known)
        base = _as_student(base, adapter)
        at = _sha256_with(at, adapter, scale)
        known.add(at)
    learned = [_learned(adapter) for adapter, _ in adapters]
    base, learned = _of_all_classes(base, [adapter for adapter, _ in adapters], learned)
    for (adapter, scale), parts in zip(adapters, learned, strict=True):
        base = _with(base, adapter, parts, scale)
    return base


def _learned(adapter: SavedModel) -> dict[str, Tensor]:
    """What an adapter holds, of a run or of a file, which may come from anywhere."""
    learned = learned_of(adapter.tensors) if is_whole(adapter.tensors) else dict(adapter.tensors)
    for name, tensor in learned.items():
        if not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UndiffuseError(f"{adapter.provenance['checkpoint']} is not valid: '{name}' is of the type {kind}")
    return learned


def _with(base: SavedModel, adapter: SavedModel, learned: Mapping[str, Tensor], scale: float) -> SavedModel:
    name, on = adapter.provenance["checkpoint"], base.provenance.get("checkpoint", "this model")
    try:
        tensors = added(base.tensors, learned, scale)
    except UndiffuseError as error:
        raise UndiffuseError(f"{name} {error}: it was learned on another kind of network than {on}") from None
    provenance = {
        **base.provenance,
        "checkpoint": f"{on}+{AdapterName(name, scale)}",
        "step": adapter.provenance["step"],
        "weights": base.provenance.get("weights", "raw"),
    }
    if below := base.provenance.get("sha256"):
        provenance |= {"sha256": _sha256_with(below, adapter, scale), BELOW: base.provenance.get(BELOW, below)}
    return replace(base, tensors=tensors, provenance=provenance)


def _sha256_with(below: str | None, adapter: SavedModel, scale: float) -> str:
    """The sha256 of weights with an adapter, by those of both."""
    return hashlib.sha256(f"{below} {adapter.provenance['sha256']} {scale!r}".encode()).hexdigest()


def _check_kind(base: SavedModel, adapter: SavedModel, known: Collection[str | None]) -> None:
    """Check that an adapter is one, and of a network that predicts the same of the same kind of samples.

    Args:
        known: the weights that an adapter may have been learned on without a warning, by their sha256.
    """
    name, on = adapter.provenance["checkpoint"], base.provenance.get("checkpoint", "this model")
    if not adapter.config.lora.lora_rank:
        raise UndiffuseError(f"{name} is no adapter: those are made by a training with `lora_rank`")
    its, own = adapter.config.diffusion.parameterization, base.config.diffusion.parameterization
    if its != own:
        raise UndiffuseError(f"{name} was learned on a network that predicts {its}, and {on} predicts {own}")
    if adapter.info.shape != base.info.shape:
        raise UndiffuseError(
            f"{name} was learned on samples of the shape {adapter.info.shape}, and {on} draws {base.info.shape}"
        )
    if adapter.config.start.start_sha256 not in known:
        warnings.warn(
            f"{name} was learned on {adapter.config.start.start_from}, and {on} has other weights; look at samples "
            "before you trust it",
            stacklevel=5,
        )


def _as_student(base: SavedModel, adapter: SavedModel) -> SavedModel:
    """The model with the settings by which an adapter draws in few steps, where it learned to."""
    student = student_of(adapter.config.distillation)
    if student is None:
        return base
    if student_of(base.config.distillation):
        raise UndiffuseError(
            f"{adapter.provenance['checkpoint']} draws in few steps, and so does what it would go on: take one of them"
        )
    return replace(base, config=replace(base.config, distillation=drawing_settings(adapter.config).distillation))


def _of_all_classes(
    base: SavedModel, adapters: Sequence[SavedModel], learned: Sequence[Mapping[str, Tensor]]
) -> tuple[SavedModel, list[dict[str, Tensor]]]:
    """The model and what each adapter learned, with a row for each class that one of them knows, and one for none."""
    own = _classes(base)
    everything = tuple(dict.fromkeys((*own, *(name for adapter in adapters for name in _classes(adapter)))))
    told = next((one.config.conditions for one in (base, *adapters) if _classes(one)), None)
    if told is None:
        return base, [dict(parts) for parts in learned]
    config = base.config if own else replace(base.config, conditions=told)
    whole = replace(base, config=config, info=replace(base.info, classes=everything))
    expected = outline(whole.config, whole.info)  # names in a file claim no memory that no network has
    row = {name: number for number, name in enumerate(everything)}
    tensors, grown = dict(base.tensors), []
    for adapter, parts in zip(adapters, learned, strict=True):
        its, parts = _classes(adapter), dict(parts)
        tables = [name for name, delta in parts.items() if name.endswith(f".{SUM}") and len(delta) == len(its) + 1]
        for name in tables if its else ():
            delta, weight = parts[name], name.removesuffix(f".{SUM}")
            table = base.tensors.get(weight, torch.zeros(1, *delta.shape[1:]))
            like = expected.get(weight, torch.empty(0, device="meta")).shape
            if len(table) == len(own) + 1 and like == (len(everything) + 1, *delta.shape[1:]):
                tensors[weight] = by_class(table, own, everything)
                known = torch.zeros(len(everything) + 1, *delta.shape[1:])
                known[[row[one] for one in its]] = delta[:-1]
                known[-1] = delta[-1]
                parts[name] = known
        grown.append(parts)
    return replace(whole, tensors=tensors), grown


def _classes(model: SavedModel) -> tuple[str, ...]:
    return model.info.classes if "class" in model.config.conditions.condition else ()


def by_class(table: Tensor, before: Sequence[str], now: Sequence[str]) -> Tensor:
    """The rows of a table of classes for other classes, by their names: a class that it does not know begins as none
    at all, the last row."""
    row = {name: number for number, name in enumerate(before)}
    return table[[*(row.get(name, len(before)) for name in now), len(before)]]
