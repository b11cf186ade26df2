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
from typing import Any

from undiffuse.cli.parse_values import OptionReader, show
from undiffuse.cli.parser import Parser
from undiffuse.config.fields import Field
from undiffuse.config.flags import flag_of, in_flags
from undiffuse.config.kinds import FLAG
from undiffuse.config.sections import flat_fields, flatten

WHOLE = ("classes",)
"""Lists that are not cut at commas here: names may have some, and which names there are the model knows."""


def add_fields(
    parser: Parser,
    cls: type,
    title: str = "",
    omit: Sequence[str] = (),
    defaults: bool = True,
    usual: object = None,
) -> None:
    """An option for every field of a dataclass.

    Args:
        title: heading of the group of options.
        omit: fields that are not for the command line.
        defaults: say the fields' defaults in the help.
        usual: settings whose values are the defaults here; by default the class's own.
    """
    group = parser.add_argument_group(title or "options")
    set_otherwise = flatten(usual) if usual else {}
    for field in flat_fields(cls).values():
        if field.name not in omit:
            default = set_otherwise.get(field.name, field.default)
            _add(group, field, f" (default: {show(default)})" if defaults else "")
            if any(kind.members for kind in field.kind.alternatives):
                parser.lists.add(flag_of(field.name))


def _add(group: Any, field: Field, default: str) -> None:
    flag, text = flag_of(field.name), in_flags(field.text).replace("%", "%%") + default
    if field.kind is FLAG:
        group.add_argument(flag, dest=field.name, action=argparse.BooleanOptionalAction, help=text)
    else:
        read = (lambda text: (text,)) if field.name in WHOLE else OptionReader(flag, field.kind)
        group.add_argument(flag, dest=field.name, type=read, metavar=field.kind.metavar, help=text)
