"""Variations of a picture: into noise for a part of the way, and home again (SDEdit).

  undiffuse edit vary runs/NAME photo.png --strength 0.4 -n 8

Strength 0 gives the picture back, 1 a new one that has nothing of it.
"""

from __future__ import annotations

from argparse import Namespace

from undiffuse.cli.edit.common import Desk, add_edit
from undiffuse.cli.parse_values import number
from undiffuse.cli.parser import Parser
from undiffuse.config.sampling import SampleConfig


def configure(parser: Parser) -> None:
    group = add_edit(parser, "vary")
    text = "how far into noise, 0..1 (default: 0.5)"
    group.add_argument("--strength", type=number("--strength"), metavar="X", help=text)


def run(typed: Namespace) -> None:
    from undiffuse.editing import vary
    from undiffuse.editing.defaults import check_strength
    from undiffuse.editing.images import view

    strength = vars(typed).get("strength", 0.5)
    check_strength(strength)
    desk = Desk("vary", vars(typed), SampleConfig(steps=50))
    for batch in desk.batches():
        made = vary(desk.editor(batch.indices, batch.x0.shape[2:]), batch.x0, strength)
        desk.write(batch, made, [[("given", view(x, desk.model.info))] for x in batch.x0])
