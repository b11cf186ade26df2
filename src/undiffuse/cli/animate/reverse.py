"""Pictures coming out of noise: x_t on the left, what the model takes the picture to be on the right.

  undiffuse animate reverse runs/NAME --sampler ddpm --steps 250

The last frame is what `undiffuse sample` draws with the same seed and settings.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from undiffuse.cli.animate.common import add_animation, save
from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.naming import add_model, load_to_draw
from undiffuse.cli.options import add_count, add_device, add_seed
from undiffuse.cli.parser import Parser
from undiffuse.config.sampling import SampleConfig

if TYPE_CHECKING:
    from undiffuse.visualization.frame import Frame


def configure(parser: Parser) -> None:
    add_model(parser)
    group = parser.add_argument_group("which pictures")
    add_count(group, "-n", 1, "how many (default: 9)")
    add_seed(group)
    add_device(group)
    add_fields(parser, SampleConfig, "how")
    add_animation(parser, "reverse.webp")


def run(typed: Namespace) -> None:
    from undiffuse.cli.sample import how
    from undiffuse.model.plan import check_numbers
    from undiffuse.visualization.reverse import reverse_frames
    from undiffuse.visualization.strip import evenly

    options = vars(typed)
    settings = how(options)
    count, seed = options.get("n", 9), options.get("seed", 0)
    model = load_to_draw(options)
    plan = model.plan(**settings)
    check_numbers(count, seed, 0)

    def frames(wanted: int) -> Iterator[Frame]:
        walk = plan.iterate(range(count), seed)
        return reverse_frames(walk, model.schedule, model.info, evenly(plan.steps + 1, wanted))

    save(typed, Path("reverse.webp"), frames)
