"""The ``undiffuse edit`` commands: a row of the table of edits, done to files."""

from __future__ import annotations

import warnings
from argparse import BooleanOptionalAction, Namespace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from undiffuse.cli.edit.edit_command import PICTURES, EditCommand
from undiffuse.cli.edit.pages import PAGES, SURPLUS
from undiffuse.cli.edit.results import write
from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.naming import add_model, folder_of_pictures
from undiffuse.cli.options import add_count, add_device, add_overwrite, add_seed
from undiffuse.cli.parse_values import Convert, OptionReader, number, show, whole
from undiffuse.cli.parser import Parser
from undiffuse.config.fields import Field
from undiffuse.config.flags import flag_of
from undiffuse.config.kinds import FLAG
from undiffuse.config.sampling import SampleConfig
from undiffuse.editing.edit import OF_SAMPLES
from undiffuse.editing.options import Rule, options_of, rules_of
from undiffuse.editing.registry import EDITS

Kinds = Literal["grey", "rgb", "rgba"]


# --- what can be typed ------------------------------------------------------------------------------------------------


def command(name: str) -> SimpleNamespace:
    """An edit as a command: its page of help, `configure` and `run`."""
    page = PAGES.get(name, f"{EDITS[name].summary[0].upper()}{EDITS[name].summary[1:]}.")
    return SimpleNamespace(__doc__=page, configure=partial(configure, name), run=partial(run, name))


def configure(name: str, parser: Parser) -> None:
    edit = EDITS[name]
    parser.surplus = SURPLUS.get(name, "")
    pictures = [PICTURES[each] for each in edit.inputs if each in PICTURES]
    alone = len(pictures) == 1
    add_model(parser)
    for each in pictures:
        parser.add_argument(each, type=Path, help=f"a picture{' or a folder of them' if alone else ''}")
    group = parser.add_argument_group("the edit")
    if "mask" in edit.inputs:
        text = "white is painted anew, black is kept; a file, or a folder with one for each picture"
        group.add_argument("--mask", type=Path, metavar="FILE", help=text)
    options, rules = options_of(edit.options), rules_of(edit.options)
    for each, option in options.items():
        _add_option(group, option, rules[each])
    for method, preset in edit.quick.items():
        more = " ".join(f"{flag_of(name)} {value:g}" for name, value in preset.options.items())
        text = (
            f"where you wait for it: {method} on {preset.settings.solver.steps} steps, with {more} below {preset.below}"
        )
        group.add_argument("--quick", action="store_true", help=text)
    group = parser.add_argument_group("which pictures")
    if alone:
        add_count(group, "-n", 1, "results of each (default: 1)")
    add_seed(group)
    text = "make grey of colour and so on; otherwise pictures must have the model's channels"
    group.add_argument("--channels", type=OptionReader("--channels", Kinds), metavar="grey|rgb|rgba", help=text)
    add_device(group)
    usual = edit.advised(SimpleNamespace(**{each: option.default for each, option in options.items()}))
    by = [f"--{each} {options[each].default}" for each in ("method", "way") if each in options]
    add_fields(parser, SampleConfig, " with ".join(["how", *by]), (*edit.omit, *OF_SAMPLES), usual=usual)
    group = parser.add_argument_group("where to")
    group.add_argument("--out", type=folder_of_pictures, metavar="DIR", help=f"folder (default: RUN/edits/{name})")
    group.add_argument("--no-strips", action="store_true", help="no strips of what was given and what was made")
    add_overwrite(group)


def _add_option(group: Any, option: Field, rule: Rule) -> None:
    flag = flag_of(rule.flag or option.name)
    default = "" if option.required or option.default is None else f" (default: {show(option.default)})"
    how: dict[str, Any] = {"dest": option.name, "help": f"{option.text}{default}"}
    if option.kind is FLAG:
        group.add_argument(flag, action=BooleanOptionalAction, **how)
    else:
        how |= {"type": _reader(flag, option, rule), "metavar": option.kind.metavar, "required": option.required}
        group.add_argument(flag, **how)


def _reader(flag: str, option: Field, rule: Rule) -> Convert:
    if rule.least is not None:
        return whole(flag, rule.least)
    return OptionReader(flag, option.kind) if rule.above is None else number(flag, rule.above)


# --- what is done -----------------------------------------------------------------------------------------------------


def run(name: str, typed: Namespace) -> None:
    command = EditCommand(name, vars(typed))
    command.check()
    known = command.masks()
    for batch in command.batches():
        height, width = batch.x0.shape[2:]
        how = command.edit.filled(command.how, command.model, (height, width))
        made = command.edit.work(command.input(batch, known), how)
        write(command, batch, made)
        if made.warning:
            warnings.warn(made.warning, stacklevel=1)
