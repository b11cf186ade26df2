"""From one picture to another, through pictures.

  undiffuse edit interpolate runs/NAME a.png b.png --frames 9
  undiffuse edit interpolate runs/NAME a.png b.png --way shared --strength 0.6

slerp goes by the arc between the latents of both (its ends are their reconstructions), shared by the straight line
between both in the same noise (Ho et al. 2020).
"""

from __future__ import annotations

from argparse import Namespace

from undiffuse.cli.edit.common import Desk, add_edit
from undiffuse.cli.parse_values import Reader, number, whole
from undiffuse.cli.parser import Parser
from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.durable_files import shortened


def configure(parser: Parser) -> None:
    from undiffuse.editing.defaults import Way

    group = add_edit(parser, "interpolate", ("A", "B"))
    group.add_argument("--way", type=Reader("--way", Way), metavar="slerp|shared", help="(default: slerp)")
    text = "pictures, A and B among them (default: 9)"
    group.add_argument("--frames", type=whole("--frames", 2), metavar="N", help=text)
    text = "shared: how far into noise, 0..1 (default: 0.5)"
    group.add_argument("--strength", type=number("--strength"), metavar="X", help=text)
    group.add_argument("--exact", action="store_true", help="slerp: invert by fixed-point iteration")


def run(typed: Namespace) -> None:
    import torch

    from undiffuse.data.scaling import encode
    from undiffuse.editing import Inverter, interpolate
    from undiffuse.editing.defaults import check_strength
    from undiffuse.editing.images import view
    from undiffuse.provenance.png import check_free

    options = vars(typed)
    way, count, strength = options.get("way", "slerp"), options.get("frames", 9), options.get("strength", 0.5)
    check_strength(strength)
    default = SampleConfig(sampler="ddim", steps=100, spacing="linspace") if way == "slerp" else SampleConfig(steps=50)
    desk = Desk("interpolate", vars(typed), default, images=("A", "B"))
    if way == "slerp" and (desk.settings.sampler != "ddim" or desk.settings.eta != 0):
        raise UndiffuseError("slerp inverts DDIM without noise: leave out --sampler and --eta, or take --way shared")
    a, b = desk.pictures
    if a.values.shape != b.values.shape:
        sizes = [" x ".join(map(str, picture.values.shape[1:])) for picture in (a, b)]
        raise UndiffuseError(f"Only pictures of one size can be joined; A has {sizes[0]} pixels and B {sizes[1]}")
    stem = shortened(f"{a.path.stem}-{b.path.stem}", 200)
    places = [desk.folder / f"{stem}-{k}.png" for k in range(count)]
    for place in places:
        check_free(place, "overwrite" in options)
    first, second = (encode(picture.values, desk.model.info) for picture in (a, b))
    editor = desk.editor((0,), first.shape[1:])
    made = interpolate(editor, first, second, count, way=way, strength=strength, inverter=Inverter("exact" in options))
    results = [desk.result(x, 0) for x in torch.unbind(made)]
    for result, place in zip(results, places, strict=True):
        for path in result.save(place, "overwrite" in options):
            print(path)
    info = desk.model.info
    ends = ("A", view(first, info)), ("B", view(second, info))
    between = [("", view(result.x, info)) for result in results]
    desk.write_strip(stem, [ends[0], *between, ends[1]], results[0].origin)
