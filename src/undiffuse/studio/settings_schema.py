"""What may be set, as JSON for forms: each field of a dataclass of settings with its type, default and help."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from undiffuse.config.fields import field_texts
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.editing.registry import EDITS
from undiffuse.studio.limits import FOR_THE_COMMAND_LINE


def described(cls: type, omit: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The fields of a dataclass, its parents' ones after its own."""
    hints = get_type_hints(cls)
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__[:-1]):
        texts |= field_texts(owner)
    own = inspect.get_annotations(cls)
    found = sorted(fields(cls), key=lambda field: field.name not in own)
    return [
        _described(field, hints[field.name], texts.get(field.name, "")) for field in found if field.name not in omit
    ]


def _described(field: Field[Any], hint: Any, text: str) -> dict[str, Any]:
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    plain = [option for option in options if option is not NoneType]
    kind, several = plain[0], any(get_origin(option) is tuple for option in plain)
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    choices = list(get_args(kind)) if get_origin(kind) is Literal else None
    default = None if field.default is MISSING else field.default
    return {
        "name": field.name,
        "type": "str" if choices else kind.__name__,
        "default": list(default) if isinstance(default, tuple) else default,
        "help": text,
        "choices": choices,
        "list": several,
        "optional": NoneType in options,
    }


def all_fields() -> dict[str, Any]:
    """Everything that can be set: of samples, of trainings by section, of edits by name."""
    train = {name: hint for name, hint in get_type_hints(TrainConfig).items() if is_dataclass(hint)}
    return {
        "sample": described(SampleConfig, FOR_THE_COMMAND_LINE["sample"]),
        "train": {
            name: described(cls, FOR_THE_COMMAND_LINE.get(name, ()))
            for name, cls in train.items()
            if isinstance(cls, type)
        },
        "edits": {name: described(row.options) for name, row in EDITS.items()},
    }
