"""Command-line options out of the fields of the settings.

The name, the type and the help of ``--lr`` come from the field `OptimizerConfig.lr` and the string below it; nothing is
written twice. This is a thin layer over argparse rather than a library that turns dataclasses into parsers (tyro,
typer, jsonargparse), for three reasons:

* The defaults of ``undiffuse train`` are a recipe's, and a recipe looks at the data first. So parsing must give back
  what was *typed* and nothing else, which argparse can (``SUPPRESS``) and those libraries, which return whole
  objects, cannot.
* A wrong value is answered by one sentence, where they draw a box of ten lines.
* It takes 10 ms instead of 80.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any, get_type_hints

from undiffuse.cli.parse_values import Reader, is_list, metavar, show
from undiffuse.cli.parser import Parser
from undiffuse.config.fields import field_texts

FLAGS = {"classes": "--class", "start_from": "--from", "meant_for": "--for"}
"""Fields whose option is called otherwise: ``class``, ``from`` and ``for`` are easy to type and no names in Python."""

WHOLE = ("classes",)
"""Lists that are not cut at commas here: names may have some, and which names there are the model knows."""


def flag_of(name: str) -> str:
    """The option that sets a field, as it is typed."""
    return FLAGS.get(name, ("-" if len(name) == 1 else "--") + name.replace("_", "-"))


def add_fields(parser: Parser, cls: type, title: str = "", omit: Sequence[str] = (), defaults: bool = True) -> None:
    """An option for every field of a dataclass.

    Args:
        parser: the command's parser.
        cls: a dataclass of settings.
        title: heading of the group of options.
        omit: fields that are not for the command line.
        defaults: say the fields' defaults in the help.
    """
    group = parser.add_argument_group(title or "options")
    hints, texts = get_type_hints(cls), field_texts(cls)
    for field in fields(cls):
        if field.name not in omit:
            flag = flag_of(field.name)
            _add(group, flag, field, hints[field.name], texts[field.name], defaults)
            if is_list(hints[field.name]):
                parser.lists.add(flag)


def _add(group: Any, flag: str, field: Field[Any], hint: Any, text: str, defaults: bool) -> None:
    text = text.replace("%", "%%")
    if defaults:
        text += f" (default: {show(field.default)})"
    if hint is bool:
        group.add_argument(flag, dest=field.name, action=argparse.BooleanOptionalAction, help=text)
    elif field.name in WHOLE:
        group.add_argument(flag, dest=field.name, type=lambda text: (text,), metavar=metavar(hint), help=text)
    else:
        group.add_argument(flag, dest=field.name, type=Reader(flag, hint), metavar=metavar(hint), help=text)
