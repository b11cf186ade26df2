"""Give grey pictures colour, by a model of colour pictures: their luma stays what it is.

undiffuse edit colorize runs/NAME grey.png -n 4
undiffuse edit colorize runs/NAME photo.jpg --channels grey      # of a colour picture take the grey

"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from undiffuse.cli.edit.common import Desk, add_edit, add_method
from undiffuse.cli.parser import Parser


def configure(parser: Parser) -> None:
    from undiffuse.editing.defaults import SOLVE_DEFAULT, Method

    add_method(add_edit(parser, "colorize"), Method, SOLVE_DEFAULT)


def run(typed: Namespace) -> None:
    from undiffuse.editing import colorize
    from undiffuse.editing.defaults import ADVISED, SOLVE_DEFAULT
    from undiffuse.editing.images import view
    from undiffuse.editing.inverse_problems import check_colour

    options = vars(typed)
    method = options.get("method", SOLVE_DEFAULT)
    desk = Desk("colorize", options, ADVISED[method], channels=1)
    check_colour(desk.model.info)
    grey = replace(desk.model.info, shape=(1, *desk.model.info.spatial))
    for batch in desk.batches():
        editor = desk.editor(batch.indices, batch.x0.shape[2:])
        made = colorize(editor, batch.x0, method=method, scale=options.get("scale", 1.0))
        desk.write(batch, made, [[("given", view(y, grey))] for y in batch.x0])
