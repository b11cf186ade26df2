"""What may be set, as JSON for forms: each field of a dataclass of settings with its type, default and help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from undiffuse.config.fields import Field, fields_of
from undiffuse.config.flags import in_flags
from undiffuse.config.kinds import FLAG, NOTHING, NUMBER, WHOLE
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flat_fields
from undiffuse.editing.edit import Edit
from undiffuse.editing.options import rules_of
from undiffuse.editing.registry import EDITS
from undiffuse.studio.limits import FOR_THE_COMMAND_LINE

NAMES = {WHOLE: "int", NUMBER: "float", FLAG: "bool"}
"""The types of values, as forms know them; all others are texts."""


def described(cls: type, omit: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The fields of a dataclass, its parents' ones after its own.

    `choices` are all that a field takes, `words` what it takes beside numbers.
    """
    order = {owner: place for place, owner in enumerate(cls.__mro__)}  # a union's owners are below it
    found = sorted(flat_fields(cls).values(), key=lambda field: order.get(field.owner, 0))
    return [_described(field) for field in found if field.name not in omit]


def _described(field: Field) -> dict[str, Any]:
    options = [kind for kind in field.kind.alternatives if kind is not NOTHING]
    one = options[0].each
    return {
        "name": field.name,
        "type": NAMES.get(one, "str"),
        "default": list(field.default) if isinstance(field.default, tuple) else field.default,
        "help": in_flags(field.text),
        "choices": list(one.choices) or None,
        "words": [word for kind in options[1:] for word in kind.choices] or None,
        "list": any(kind.members for kind in options),
        "optional": NOTHING in field.kind.options,
    }


@dataclass(frozen=True)
class Fitting:
    fit: Literal["none", "convert"] = "none"
    """'convert' brings a picture to the model's channels and size; 'none' refuses those that do not fit."""


def edit_options(edit: Edit) -> list[dict[str, Any]]:
    """An edit's options, and how its pictures come in; `acts_with` names values of another beside which one acts."""
    rules = rules_of(edit.options)
    own = described(edit.options)
    for option in own:
        beside = rules[option["name"]].acts_with
        option["acts_with"] = {beside[0]: list(beside[1])} if beside else None
    return own + described(Fitting)


def all_fields() -> dict[str, Any]:
    """Everything that can be set: of samples, of trainings by section, of edits by name."""
    return {
        "sample": described(SampleConfig, FOR_THE_COMMAND_LINE["sample"]),
        "train": {
            name: described(field.kind.section, FOR_THE_COMMAND_LINE.get(name, ()))
            for name, field in fields_of(TrainConfig).items()
            if field.kind.section and name != "distillation"  # a student is made by undiffuse distill
        },
        "edits": {name: edit_options(row) for name, row in EDITS.items()},
    }
