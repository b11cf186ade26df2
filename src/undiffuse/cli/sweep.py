"""Train every combination of settings that vary, and set the runs side by side.

  undiffuse sweep photos/ --vary lr=1e-4,3e-4 --vary base=32,64 --name widths --size 32 --minutes 10
  undiffuse sweep photos/ --vary "multipliers=1,2;1,2,2" --name levels --jobs 2 --steps 2000

Values stand with commas between them; with semicolons where values have commas themselves. The runs are
runs/NAME/lr-0.0001-base-32 and so on, the page is runs/NAME/compare.html. The same command again goes on with what is
not finished. Other options are those of undiffuse train.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from undiffuse.cli.data_options import SOURCE
from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.options import add_count
from undiffuse.cli.parse_values import OptionReader
from undiffuse.cli.parser import Parser
from undiffuse.config.fields import fields_of
from undiffuse.config.registry import split
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flat_fields
from undiffuse.errors import UndiffuseError, perhaps


def configure(parser: Parser) -> None:
    parser.add_argument("DATA", help=f"{SOURCE}, or the built-in name 'digits'")
    group = parser.add_argument_group("the sweep")
    text = "a setting and the values that it takes, lr=1e-4,3e-4; as often as settings vary"
    group.add_argument("--vary", metavar="NAME=VALUES", action="append", help=text)
    group.add_argument("--name", metavar="TEXT", help="of the folder of its runs (default: sweep)")
    group.add_argument("--runs", metavar="DIR", type=Path, help="folder of runs (default: runs)")
    group.add_argument("--recipe", metavar="TEXT", help="settings to start from")
    add_count(group, "--jobs", 1, "trainings at a time (default: one for two cores)")
    group.add_argument("--quiet", action="store_true", help="print nothing")
    for name, field in fields_of(TrainConfig).items():
        if field.kind.section and name != "distillation":
            add_fields(parser, field.kind.section, name, omit=("source", "start_sha256"), defaults=False)


def run(typed: Namespace) -> None:
    options: dict[str, Any] = vars(typed)
    pairs = list(map(varied, options.pop("vary", [])))
    vary = dict(pairs)
    if not vary or len(vary) < len(pairs):
        what = "each setting that varies once" if vary else "a setting that varies"
        raise UndiffuseError(f"A sweep needs {what}, such as --vary lr=1e-4,3e-4")
    from undiffuse.sweeps import sweep

    sweep(options.pop("DATA"), vary, options.pop("name", "sweep"), **options)


def varied(word: str) -> tuple[str, list[Any]]:
    """The setting and the values of one ``--vary``."""
    name, equals, text = word.partition("=")
    name = name.lstrip("-").replace("-", "_")
    known = flat_fields(TrainConfig)
    if not equals or not text:
        raise UndiffuseError(f"--vary takes a setting and its values, such as lr=1e-4,3e-4, and not '{word}'")
    if name not in known:
        raise UndiffuseError(f"--vary: there is no setting '{name}'{perhaps(name, known)}")
    read = OptionReader(f"--vary {name}", known[name].kind)
    return name, [read(value.strip()) for value in (text.split(";") if ";" in text else split(text))]
