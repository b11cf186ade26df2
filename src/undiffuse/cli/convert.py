"""Write a model in a format of other programs, and check that it is still the same.

  undiffuse convert runs/NAME model.onnx --to onnx
  undiffuse convert digits digits.pt2 --to pt2

docs/formats.md says what is in each of them.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Literal

from undiffuse.cli.parser import Parser
from undiffuse.cli.values import Reader
from undiffuse.errors import UndiffuseError
from undiffuse.export import TARGETS


def configure(parser: Parser) -> None:
    text = "a run's folder, a checkpoint's, a model's file, or 'digits', which comes with undiffuse"
    parser.add_argument("RUN", type=Path, help=text)
    parser.add_argument("OUT", type=Path, help="the file or folder to write")
    group = parser.add_argument_group("how")
    formats = "; ".join(f"{name}: {target.what}" for name, target in TARGETS.items())
    hint = Literal[tuple(TARGETS)]
    group.add_argument("--to", type=Reader("--to", hint), metavar="|".join(TARGETS), help=formats)
    group.add_argument("--weights", metavar="TEXT", help="'ema', 'raw', or a rate such as '0.999' (default: ema)")
    group.add_argument("--overwrite", action="store_true", help="replace what is there")


def run(typed: Namespace) -> None:
    from undiffuse.export import convert
    from undiffuse.model import load

    options = vars(typed)
    if "to" not in options:
        raise UndiffuseError(f"--to says in which format: one of {', '.join(TARGETS)}")
    model = load(options["RUN"], options.get("weights", "ema"))
    print("\n".join(convert(model, options["OUT"], options["to"], "overwrite" in options)))
