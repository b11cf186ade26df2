"""Paint more around a picture, as far as you like: a panorama is a margin of many times its size.

  undiffuse edit outpaint runs/NAME photo.png --right 64 --bottom 16

What grows beyond the size that the model learned is denoised in overlapping tiles of that size (--overlap).
"""

from __future__ import annotations

from argparse import Namespace

from undiffuse.cli.edit.common import Desk, add_edit, add_method
from undiffuse.cli.edit.inpaint import add_returns, returns
from undiffuse.cli.parse_values import whole
from undiffuse.cli.parser import Parser
from undiffuse.errors import UndiffuseError

SIDES = ("top", "bottom", "left", "right")


def configure(parser: Parser) -> None:
    from undiffuse.editing.defaults import FILL_DEFAULT, FillMethod

    group = add_edit(parser, "outpaint")
    for side in SIDES:
        text = f"pixels to add at the {side} (default: 0)"
        group.add_argument(f"--{side}", type=whole(f"--{side}", 0), metavar="N", help=text)
    add_method(group, FillMethod, FILL_DEFAULT)
    add_returns(group)


def run(typed: Namespace) -> None:
    from undiffuse.editing import outpaint
    from undiffuse.editing.defaults import ADVISED, FILL_DEFAULT
    from undiffuse.editing.images import view
    from undiffuse.editing.inverse_problems import extended

    options = vars(typed)
    top, bottom, left, right = (options.get(side, 0) for side in SIDES)
    if not top + bottom + left + right:
        raise UndiffuseError("Nothing is added: say how many pixels with --top, --bottom, --left and --right")
    margins = ((top, bottom), (left, right))
    method = options.get("method", FILL_DEFAULT)
    desk = Desk("outpaint", vars(typed), ADVISED[method])
    for batch in desk.batches():
        canvas, _ = extended(batch.x0, margins)
        editor = desk.editor(batch.indices, canvas.shape[2:])
        made = outpaint(editor, batch.x0, margins, method=method, **returns(options))
        desk.write(batch, made, [[("given", view(x, desk.model.info))] for x in canvas])
