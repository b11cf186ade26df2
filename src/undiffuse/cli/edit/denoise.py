"""Take the noise off a photograph: find how noisy it is, which t of the model's process that is, and walk home.

  undiffuse edit denoise runs/NAME noisy.png
  undiffuse edit denoise runs/NAME noisy.png --noise 25 --steps 1

Noise is said as a standard deviation in parts of 255. One step gives the mean of what the picture may have been, the
least error; more steps of a stochastic sampler give one of these pictures, with detail.
"""

from __future__ import annotations

from argparse import Namespace

from undiffuse.cli.edit.common import Desk, add_edit
from undiffuse.cli.parse_values import number
from undiffuse.cli.parser import Parser
from undiffuse.config.sampling import SampleConfig


def configure(parser: Parser) -> None:
    group = add_edit(parser, "denoise")
    text = "standard deviation of the noise, in parts of 255 (default: estimated)"
    group.add_argument("--noise", type=number("--noise", 0), metavar="X", help=text)


def run(typed: Namespace) -> None:
    from undiffuse.editing import denoise
    from undiffuse.editing.images import view

    noise = vars(typed).get("noise")
    desk = Desk("denoise", vars(typed), SampleConfig(sampler="ddim", steps=50))
    for batch in desk.batches():
        editor = desk.editor(batch.indices, batch.x0.shape[2:])
        made, stds = denoise(editor, batch.x0, None if noise is None else noise * 2 / 255)
        for picture, copy, std in zip(batch.pictures, batch.copies, stds.tolist(), strict=True):
            if copy == 0:
                said = "seems to have noise of" if noise is None else "taken to have noise of"
                print(f"{picture.path}: {said} {std * 127.5:.1f} / 255")
        desk.write(batch, made, [[("given", view(y, desk.model.info))] for y in batch.x0])
