"""Make pictures larger: by a model that learned to, or by one of pictures that large, which never did.

  undiffuse edit upscale runs/STAGE small.png             a run of undiffuse train --upscale: its own factor
  undiffuse edit upscale runs/NAME small.png --factor 4 -n 4

Any other model is led to pictures whose means over blocks are the small picture's values (--method); beyond the size
that it learned it works in tiles. A stage is told the small picture; --augmentation makes it believe less of it.
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from undiffuse.cli.edit.common import Desk, add_edit, add_method
from undiffuse.cli.parse_values import whole
from undiffuse.cli.parser import Parser
from undiffuse.errors import UndiffuseError

if TYPE_CHECKING:
    from torch import Tensor

    from undiffuse.editing import Editor


def configure(parser: Parser) -> None:
    from undiffuse.editing.defaults import SOLVE_DEFAULT, Method

    parser.surplus = "how much larger is said by --factor"
    group = add_edit(parser, "upscale")
    text = "how many times as large (default: 4, or what a stage learned)"
    group.add_argument("--factor", type=whole("--factor", 2), metavar="N", help=text)
    add_method(group, Method, SOLVE_DEFAULT)


def run(typed: Namespace) -> None:
    from undiffuse.editing import enlarge, upscale
    from undiffuse.editing.defaults import ADVISED, SOLVE_DEFAULT
    from undiffuse.editing.images import view

    options = vars(typed)
    method = options.get("method", SOLVE_DEFAULT)
    desk = Desk("upscale", options, ADVISED[method])
    learned = desk.model.config.conditions.upscale
    if learned > 1:
        check_stage(desk, learned)
        desk = Desk("upscale", options, ADVISED["stage"])
    factor = learned if learned > 1 else options.get("factor", 4)

    def enlarged(editor: Editor, small: Tensor) -> Tensor:
        if learned > 1:
            return enlarge(editor, small)
        return upscale(editor, small, factor, method=method, scale=options.get("scale", 1.0))

    for batch in desk.batches():
        height, width = (side * factor for side in batch.x0.shape[2:])
        made = enlarged(desk.editor(batch.indices, (height, width)), batch.x0)
        desk.write(batch, made, [[("given", view(x, desk.model.info, (height, width)))] for x in batch.x0])


def check_stage(desk: Desk, learned: int) -> None:
    """Refuse what a stage does not do."""
    if desk.model.below is not None:
        raise UndiffuseError(f"{desk.options['RUN']} is a cascade and draws its own small pictures; name a stage's run")
    if desk.options.get("factor", learned) != learned:
        raise UndiffuseError(f"{desk.options['RUN']} learned to enlarge {learned} times: leave out --factor")
    for name in ("method", "scale"):
        if name in desk.options:
            raise UndiffuseError(f"--{name} is for models that never learned to enlarge, and this one did")
