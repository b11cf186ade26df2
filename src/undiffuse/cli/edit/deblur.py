"""Sharpen pictures that were blurred by a Gaussian of known width.

undiffuse edit deblur runs/NAME blurred.png --std 1.5

"""

from __future__ import annotations

from argparse import Namespace

from undiffuse.cli.edit.common import Desk, add_edit, add_method
from undiffuse.cli.parse_values import number
from undiffuse.cli.parser import Parser
from undiffuse.errors import UndiffuseError


def configure(parser: Parser) -> None:
    from undiffuse.editing.defaults import SOLVE_DEFAULT, Method

    group = add_edit(parser, "deblur")
    text = "standard deviation of the blur in pixels"
    group.add_argument("--std", type=number("--std", 0), metavar="X", help=text)
    text = "standard deviation of the picture's noise, in parts of 255 (default: 0.29, the rounding to 8 bits)"
    group.add_argument("--noise", type=number("--noise", 0), metavar="X", help=text)
    add_method(group, Method, SOLVE_DEFAULT)


def run(typed: Namespace) -> None:
    from undiffuse.editing import deblur
    from undiffuse.editing.defaults import ADVISED, ROUNDING, SOLVE_DEFAULT
    from undiffuse.editing.images import view

    options = vars(typed)
    if "std" not in options:
        raise UndiffuseError("This needs --std X, the standard deviation of the blur in pixels: --std 1.5, say")
    method = options.get("method", SOLVE_DEFAULT)
    noise = options["noise"] * 2 / 255 if "noise" in options else ROUNDING
    desk = Desk("deblur", vars(typed), ADVISED[method])
    for batch in desk.batches():
        editor = desk.editor(batch.indices, batch.x0.shape[2:])
        how = {"method": method, "scale": options.get("scale", 1.0)}
        made = deblur(editor, batch.x0, options["std"], noise=noise, **how)
        desk.write(batch, made, [[("given", view(y, desk.model.info))] for y in batch.x0])
