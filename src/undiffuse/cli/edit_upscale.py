"""Make pictures larger by a model of pictures that large, which never learned to enlarge.

  undiffuse edit upscale runs/NAME small.png --factor 4 -n 4

The means over blocks of the result are the picture's values. Beyond the size that the model learned it works in tiles.
"""

from __future__ import annotations

from argparse import Namespace

from undiffuse.cli.editing import Desk, add_edit, add_method
from undiffuse.cli.parser import Parser
from undiffuse.cli.values import whole


def configure(parser: Parser) -> None:
    from undiffuse.edit.methods import SOLVE_DEFAULT, Method

    group = add_edit(parser, "upscale")
    group.add_argument("--factor", type=whole("--factor", 2), metavar="N", help="how many times as large (default: 4)")
    add_method(group, Method, SOLVE_DEFAULT)


def run(typed: Namespace) -> None:
    from undiffuse.edit import upscale
    from undiffuse.edit.methods import ADVISED, SOLVE_DEFAULT
    from undiffuse.edit.pictures import view

    options = vars(typed)
    method, factor = options.get("method", SOLVE_DEFAULT), options.get("factor", 4)
    desk = Desk("upscale", vars(typed), ADVISED[method])
    for batch in desk.batches():
        height, width = (side * factor for side in batch.x0.shape[2:])
        editor = desk.editor(batch.indices, (height, width))
        made = upscale(editor, batch.x0, factor, method=method, scale=options.get("scale", 1.0))
        desk.write(batch, made, [[("given", view(x, desk.model.info, (height, width)))] for x in batch.x0])
