"""Paint anew what a mask marks in white; all else stays exactly as it is.

  undiffuse edit inpaint runs/NAME photo.png --mask mask.png -n 4
  undiffuse edit inpaint runs/NAME photos/ --mask masks/ --method dps

A mask has its picture's size. One mask serves all pictures of a folder; a folder of masks has one for each, by name.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undiffuse.cli.edit.common import Desk, add_edit, add_method
from undiffuse.cli.parse_values import whole
from undiffuse.cli.parser import Parser
from undiffuse.errors import UndiffuseError

if TYPE_CHECKING:
    from torch import Tensor

    from undiffuse.data.read_image import Picture


def configure(parser: Parser) -> None:
    from undiffuse.editing.defaults import FILL_DEFAULT, FillMethod

    parser.surplus = "the mask is named by --mask {}"
    group = add_edit(parser, "inpaint")
    text = "white is painted anew, black is kept; a file, or a folder with one for each picture"
    group.add_argument("--mask", type=Path, metavar="FILE", help=text)
    add_method(group, FillMethod, FILL_DEFAULT)
    add_returns(group)


def add_returns(group: Any) -> None:
    """--jump and --passes, of repaint."""
    text = "repaint: steps that are walked again and again (default: 10)"
    group.add_argument("--jump", type=whole("--jump", 1), metavar="N", help=text)
    group.add_argument("--passes", type=whole("--passes", 1), metavar="N", help="repaint: how often (default: 5)")


def returns(options: dict[str, Any]) -> dict[str, Any]:
    """What of these was typed, as `undiffuse.editing.inpaint` calls it."""
    names = {"scale": "scale", "jump": "jump", "passes": "repeats"}
    return {name: options[typed] for typed, name in names.items() if typed in options}


def run(typed: Namespace) -> None:
    import torch

    from undiffuse.data.read_image import find_pictures
    from undiffuse.editing import inpaint
    from undiffuse.editing.defaults import ADVISED, FILL_DEFAULT
    from undiffuse.editing.images import read_mask, view

    options = vars(typed)
    if "mask" not in options:
        raise UndiffuseError("This needs --mask FILE, a picture that is white where it should be painted anew")
    method = options.get("method", FILL_DEFAULT)
    masks = tuple(find_pictures(options["mask"]))
    desk = Desk("inpaint", vars(typed), ADVISED[method], others=masks)

    def known_of(picture: Picture) -> Tensor:
        path = mask_of(picture, options["mask"])
        return read_mask(path, picture.values.shape[1:], lambda how: print(f"{path}: {how}", file=sys.stderr))

    known = {picture.path: known_of(picture) for picture in desk.pictures}
    for batch in desk.batches():
        mask = torch.stack([known[picture.path] for picture in batch.pictures])[:, None]
        editor = desk.editor(batch.indices, mask.shape[2:])
        made = inpaint(editor, batch.x0, mask, method=method, **returns(options))
        info = desk.model.info
        given = [[("given", view(x * m, info))] for x, m in zip(batch.x0, mask, strict=True)]
        desk.write(batch, made, given)


def mask_of(picture: Picture, mask: Path) -> Path:
    """The picture's own mask of a folder, or the one there is."""
    if not mask.is_dir():
        return mask
    found = sorted(file for file in mask.iterdir() if file.stem == picture.path.stem)
    if not found:
        raise UndiffuseError(f"{mask} holds no mask called {picture.path.stem}, for {picture.path}")
    return found[0]
