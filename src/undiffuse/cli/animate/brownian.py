"""Ink in water: particles that only shake become a Gaussian cloud, with the histogram against the exact density."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from undiffuse.cli.animate.common import add_animation, save
from undiffuse.cli.parse_values import number, whole
from undiffuse.cli.parser import Parser


def configure(parser: Parser) -> None:
    group = parser.add_argument_group("the ink")
    group.add_argument("--particles", type=whole("--particles", 1), metavar="N", help="how many (default: 6000)")
    group.add_argument("--diffusivity", type=number("--diffusivity", 0), metavar="X", help="D (default: 0.5)")
    group.add_argument("--radius", type=number("--radius", 0), metavar="X", help="radius of the drop (default: 0.35)")
    group.add_argument(
        "--centre", type=number("--centre"), metavar="X", help="horizontal place of the drop (default: 0)"
    )
    group.add_argument(
        "--theta",
        type=number("--theta"),
        metavar="X",
        help="restoring force of the Ornstein-Uhlenbeck process dx = -theta x dt + sqrt(2D) dW (default: 0, pure "
        "Brownian motion)",
    )
    group.add_argument("--seed", type=whole("--seed", 0), metavar="N", help="of every particle's path (default: 0)")
    group.add_argument("--duration", type=number("--duration", 0), metavar="X", help="last t shown (default: 1)")
    add_animation(parser, "brownian.webp")


def run(typed: Namespace) -> None:
    from undiffuse.visualization.brownian import Water
    from undiffuse.visualization.brownian_render import ink_frames

    options = vars(typed)
    names = ("particles", "diffusivity", "radius", "centre", "theta", "seed")
    water = Water(**{name: options[name] for name in names if name in options})
    save(typed, Path("brownian.webp"), lambda count: ink_frames(water, count, options.get("duration", 1.0)))
