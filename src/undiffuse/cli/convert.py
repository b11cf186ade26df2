"""Write a model in a format of other programs, and check that it is still the same.

  undiffuse convert runs/NAME model.onnx --to onnx
  undiffuse convert digits digits.pt2 --to pt2
  undiffuse convert runs/NAME DIR --to diffusers

docs/use/formats.md says what is in each of them, docs/use/interop.md what each can hold.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

from undiffuse.cli.naming import add_model
from undiffuse.cli.options import add_choice, add_overwrite, add_weights
from undiffuse.cli.parser import Parser
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.export import TARGETS


def configure(parser: Parser) -> None:
    parser.surplus = "the format is named by --to"
    add_model(parser)
    parser.add_argument("OUT", type=Path, help="the file or folder to write")
    group = parser.add_argument_group("how")
    formats = "; ".join(f"{name}: {target.what}" for name, target in TARGETS.items())
    add_choice(group, "--to", Literal[tuple(TARGETS)], formats)
    add_weights(group)
    add_overwrite(group, "replace what is there")
    text = "with --to diffusers: add a card and samples, and send the folder to the hub, as undiffuse push does"
    group.add_argument("--push", metavar="ORG/NAME", help=text)


def run(typed: Namespace) -> None:
    from undiffuse.export import convert
    from undiffuse.model import load

    options = vars(typed)
    if "to" not in options:
        raise UndiffuseError(f"--to says in which format: one of {', '.join(TARGETS)}")
    if "push" in options:
        check_push(options)
    model = load(options["RUN"], options.get("weights", "ema"))
    print("\n".join(convert(model, options["OUT"], options["to"], "overwrite" in options)))
    if "push" in options:
        from undiffuse.export.push import describe, upload

        overwrite = "overwrite" in options
        print("\n".join(describe(model, options["push"], options["OUT"], options["to"], 16, overwrite)))
        print(upload(options["OUT"], options["push"]))


def check_push(options: dict[str, Any]) -> None:
    """Check a push before anything is written."""
    from undiffuse.checkpoints.hub import require_hub
    from undiffuse.export.push import check_repo

    check_repo(options["push"])
    if options["to"] != "diffusers":
        raise UndiffuseError(
            f"--push goes with --to diffusers; for a file of undiffuse: undiffuse push {quoted(options['RUN'])}"
        )
    require_hub(options["push"])
