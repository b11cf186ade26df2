"""Pictures of one class as pictures of another: the noise that they come from, seen as the other class.

  undiffuse edit translate digits seven.png --from seven --to three
  undiffuse edit translate runs/NAME photos/ --from cats --to dogs --guidance 1 --strength 0.9

Without --from no class is told on the way into noise. Less strength and less --guidance, which is 2 unless typed, keep
more of the picture.
"""

from __future__ import annotations

import warnings
from argparse import Namespace

from undiffuse.cli.edit.common import Desk, add_edit
from undiffuse.cli.parse_values import number, whole
from undiffuse.cli.parser import Parser
from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError


def configure(parser: Parser) -> None:
    group = add_edit(parser, "translate", omit=("classes", "text", "weak", "classifier"))
    group.add_argument("--to", metavar="CLASS", required=True, help="the class that is wanted, its whole name")
    group.add_argument("--from", metavar="CLASS", help="the class that the pictures are of (default: none is told)")
    text = "how far into noise, above 0 and up to 1 (default: 1)"
    group.add_argument("--strength", type=number("--strength"), metavar="X", help=text)
    group.add_argument("--exact", action="store_true", help="invert each step by fixed-point iteration")
    text = "evaluations that an exact step may take (default: 20)"
    group.add_argument("--iterations", type=whole("--iterations", 1), metavar="N", help=text)


def run(typed: Namespace) -> None:
    from undiffuse.conditioning.class_names import NONE
    from undiffuse.editing import Inverter, translate
    from undiffuse.editing.defaults import check_strength
    from undiffuse.editing.images import view
    from undiffuse.editing.translation import check_classes

    options = vars(typed)
    strength, to, source = options.get("strength", 1.0), options["to"], options.get("from", NONE)
    check_strength(strength)
    desk = Desk("translate", options, SampleConfig(sampler="ddim", steps=100, spacing="linspace", guidance=2.0))
    if desk.settings.sampler != "ddim" or desk.settings.eta != 0:
        raise UndiffuseError("Only DDIM without noise is inverted: leave out --sampler and --eta")
    if desk.copies > 1:
        raise UndiffuseError("A picture has one latent: leave out -n")
    check_classes(desk.model, to, source)
    inverter, info = Inverter("exact" in options, options.get("iterations", 20)), desk.model.info
    for batch in desk.batches():
        editor = desk.editor(batch.indices, batch.x0.shape[2:])
        found = translate(editor, batch.x0, to, source, strength=strength, inverter=inverter)
        inversion = found.inversion
        for picture, error, psnr in zip(batch.pictures, inversion.error.tolist(), inversion.psnr.tolist(), strict=True):
            print(f"{picture.path}: its inversion gives it back within {error * 127.5:.2f} / 255, {psnr:.1f} dB")
        shown = [
            [("given", view(x, info)), ("given back", view(same, info))]
            for x, same in zip(batch.x0, inversion.reconstructions, strict=True)
        ]
        desk.write(batch, found.pictures, shown)
        if inversion.warning:
            warnings.warn(inversion.warning, stacklevel=1)
