"""Ink in water: particles that only shake become a Gaussian cloud, with the histogram against the exact density."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from undiffuse.cli.animate.common import add_animation, save
from undiffuse.cli.options import add_count, add_number, add_seed
from undiffuse.cli.parser import Parser


def configure(parser: Parser) -> None:
    group = parser.add_argument_group("the ink")
    add_count(group, "--particles", 1, "how many (default: 6000)")
    add_number(group, "--diffusivity", "D (default: 0.5)", above=0)
    add_number(group, "--radius", "radius of the drop (default: 0.35)", above=0)
    add_number(group, "--centre", "horizontal place of the drop (default: 0)")
    add_number(
        group,
        "--theta",
        "restoring force of the Ornstein-Uhlenbeck process dx = -theta x dt + sqrt(2D) dW (default: 0, pure "
        "Brownian motion)",
    )
    add_seed(group, "every particle's path")
    add_number(group, "--duration", "last t shown (default: 1)", above=0)
    add_animation(parser, "brownian.webp")


def run(typed: Namespace) -> None:
    from undiffuse.visualization.brownian import Water
    from undiffuse.visualization.brownian_render import ink_frames

    options = vars(typed)
    names = ("particles", "diffusivity", "radius", "centre", "theta", "seed")
    water = Water(**{name: options[name] for name in names if name in options})
    save(typed, Path("brownian.webp"), lambda count: ink_frames(water, count, options.get("duration", 1.0)))
