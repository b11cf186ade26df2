"""What may be set, as JSON for forms: each field of a dataclass of settings with its type, default and help."""

from __future__ import annotations

from typing import Any

from undiffuse.config.fields import NOTHING, Field, fields_of
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.editing.registry import EDITS
from undiffuse.studio.limits import FOR_THE_COMMAND_LINE

NAMES = {"integer": "int", "number": "float", "string": "str", "boolean": "bool"}
"""The types of JSON Schema as forms know them."""


def described(cls: type, omit: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The fields of a dataclass, its parents' ones after its own."""
    found = sorted(fields_of(cls).values(), key=lambda field: field.owner is not cls)
    return [_described(field) for field in found if field.name not in omit]


def _described(field: Field) -> dict[str, Any]:
    options = [kind for kind in field.kind.alternatives if kind is not NOTHING]
    one = options[0].each
    return {
        "name": field.name,
        "type": NAMES[one.schema["type"]],
        "default": field.plain_default,
        "help": field.text,
        "choices": list(one.choices) or None,
        "list": any(kind.members for kind in options),
        "optional": NOTHING in field.kind.options,
    }


def all_fields() -> dict[str, Any]:
    """Everything that can be set: of samples, of trainings by section, of edits by name."""
    return {
        "sample": described(SampleConfig, FOR_THE_COMMAND_LINE["sample"]),
        "train": {
            name: described(field.kind.section, FOR_THE_COMMAND_LINE.get(name, ()))
            for name, field in fields_of(TrainConfig).items()
            if field.kind.section
        },
        "edits": {name: described(row.options) for name, row in EDITS.items()},
    }
