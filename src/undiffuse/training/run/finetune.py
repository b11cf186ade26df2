"""Training that starts from another model's weights: fine-tuning, and conditions for a network that had none.

Notable choices:

* A network's shape and what it predicts belong to its weights, so they come along with its loss; what else is not typed
  is the recipe's choice.
* Only layers for conditions that the other model does not know may be new. They start without effect
  (`networks.conditions`), so the first sample of the new run is the other model's, bit for bit.
* Numbers are told in the standard of the model that first learned them, for its weights are meant for that one.
* Classes keep the rows that they have in the other model's table, whatever their numbers are now. A class that it does
  not know begins as none at all, the row that guidance leads away from.
* The new run's first checkpoint holds the weights, so nothing of the other one is needed to resume it.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from undiffuse.conditioning.request import CLASS, IMAGE, VECTOR
from undiffuse.conditioning.student import student_conditions
from undiffuse.config.distillation import NoDistillation, student_of
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import StartConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import build_network, drawing_settings, drawing_tensors, outline
from undiffuse.model import Model, load_model
from undiffuse.model.adapters import by_class
from undiffuse.networks.lora import own_names
from undiffuse.runtime.safe_tensors import check_tensors
from undiffuse.runtime.uninitialized import outlined

ADAPTING = {"optimizer": "adam", "lr": 5e-3}
"""Settings that adapters learn well with, in place of a recipe's: they are few numbers, which start at 0. The rate is
some five times that of the weights themselves; docs/develop/lab-notes.md has the others that were tried."""


def starting_model(start: StartConfig) -> Model | None:
    """The model whose weights a training starts from; None where it starts from chance."""
    return load_model(start.start_from, start.start_weights) if start.start_from else None


def check_start(config: TrainConfig, old: Model | None) -> None:
    """Check that nobody trains a student further as if its x0 were E[x0 | x_t], or as if it were told no guidance."""
    student = student_of(old.config.distillation) if old else None
    own = student and (student.student_steps or student.guidance_range)
    if student and own and student_of(config.distillation) is None:
        raise UndiffuseError(
            f"{config.start.start_from} was distilled by {student.CALLED}, and plain training would undo that: start "
            f"from its teacher, {student.first_teacher}, or go on by undiffuse distill"
        )


def started_from(config: TrainConfig, start: StartConfig) -> TrainConfig:
    """The recipe's settings with those that belong to the weights to start from, and to how these are adapted."""
    old = load_model(start.start_from, start.start_weights)
    return replace(
        config,
        network=old.config.network,
        diffusion=old.config.diffusion,
        conditions=old.config.conditions,
        objective=old.config.objective,
        start=replace(start, start_sha256=old.provenance["sha256"]),
    )


def in_its_standard(info: DataInfo, start: StartConfig, old: Model | None) -> DataInfo:
    """The data's description, with the scales of their numbers and pairs as the model to start from was told them."""
    if old is None:
        return info
    told = {condition.name for condition in old.conditions}
    pair, its_pair = info.pair, old.info.pair
    if IMAGE in told and pair and its_pair and pair.dtype == its_pair.dtype:
        info = replace(info, pair=replace(pair, low=its_pair.low, high=its_pair.high))
    if VECTOR not in told:
        return info
    if info.vectors != old.info.vectors:
        its, now = (",".join(names) or "none" for names in (old.info.vectors, info.vectors))
        raise UndiffuseError(f"{start.start_from} is told the numbers {its}, here they are {now}: add `vectors={its}`")
    return replace(info, numbers=old.info.numbers)


def take_weights(model: Model, old: Model | None) -> None:
    """Give a new model the weights of the one that it starts from, if it starts from one."""
    start = model.config.start
    if old is None:
        return
    if start.start_sha256 and start.start_sha256 != old.provenance["sha256"]:
        raise UndiffuseError(f"{start.start_from} has other weights now than when these settings were made")
    if old.info.shape != model.info.shape:
        raise UndiffuseError(
            f"{start.start_from} learned data of the shape {old.info.shape}, '{model.info.name}' has "
            f"{model.info.shape}: prepare them alike with `size` and `channels`"
        )
    for condition in old.conditions:
        if condition not in model.conditions and not (condition.name == CLASS and _told_classes(model)):
            now = {c.name: f"{c.size} of them" for c in model.conditions}.get(condition.name, "none")
            raise UndiffuseError(
                f"{start.start_from} is told a '{condition.name}' of {condition.size}, and here there would be {now}: "
                "conditions can be added to a network, not changed or taken away"
            )
    own = {condition.name for condition in (*old.conditions, *student_conditions(model.config.distillation))}
    if model.config.lora.lora_rank and (new := {condition.name for condition in model.conditions} - own - {CLASS}):
        raise UndiffuseError(
            f"`lora_rank` can teach new classes, and no '{min(new)}' to a network that is not told any: leave it out"
        )
    fill(model.network, model, old, start.start_from)


def _told_classes(model: Model) -> bool:
    return any(condition.name == CLASS for condition in model.conditions)


def fill(network: nn.Module, model: Model, old: Model, where: str) -> None:
    """Give a network of a model's kind the weights of another; what it alone is told has no effect at first.

    Args:
        where: the other model's name in messages.
    """
    weights = drawing_tensors(old.config, old.network.state_dict())
    with outlined():
        plain = build_network(
            replace(drawing_settings(model.config), distillation=NoDistillation()), model.info, old.conditions
        )
    check_tensors(weights, plain.state_dict(), where)
    if _told_classes(old) and _told_classes(model) and old.info.classes != model.info.classes:
        tables = _class_tables(model)
        weights = {
            name: by_class(tensor, old.info.classes, model.info.classes) if name in tables else tensor
            for name, tensor in weights.items()
        }
    network.load_state_dict(own_names(network, weights), strict=False)


def _class_tables(model: Model) -> set[str]:
    """The tensors of a network of the model's kind that have a row for each class: whose shapes another class changes.

    Equal numbers of rows say nothing: a layer of 32 outputs is no table of 31 classes.
    """
    config, info = replace(drawing_settings(model.config), distillation=NoDistillation()), model.info
    more = outline(config, replace(info, classes=(*info.classes, "another")))
    return {name for name, tensor in outline(config, info).items() if tensor.shape != more[name].shape}
