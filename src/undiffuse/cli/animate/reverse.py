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
from undiffuse.cli.naming import add_model, say_left_out
from undiffuse.cli.parse_values import whole
from undiffuse.cli.parser import Parser
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.sections import sections

if TYPE_CHECKING:
    from undiffuse.visualization.frame import Frame


def configure(parser: Parser) -> None:
    add_model(parser)
    group = parser.add_argument_group("which pictures")
    group.add_argument("-n", type=whole("-n", 1), metavar="N", help="how many (default: 9)")
    group.add_argument("--seed", type=whole("--seed", 0), metavar="N", help="of the noise (default: 0)")
    group.add_argument("--device", metavar="TEXT", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    add_fields(parser, SampleConfig, "how")
    add_animation(parser, "reverse.webp")


def run(typed: Namespace) -> None:
    from undiffuse.model import load
    from undiffuse.model.plan import check_numbers
    from undiffuse.model.sample_request import beside_times, warn
    from undiffuse.runtime.devices import choose_device
    from undiffuse.visualization.reverse import reverse_frames
    from undiffuse.visualization.strip import evenly

    options = vars(typed)
    warn(beside_times(options))
    settings = SampleConfig.of(**{name: options[name] for name in sections(SampleConfig) if name in options})
    count, seed = options.get("n", 9), options.get("seed", 0)
    model = load(options["RUN"], settings.compute.weights, str(choose_device(options.get("device", "auto"))))
    say_left_out(model)
    plan = model.plan(settings)
    check_numbers(count, seed, 0)

    def frames(wanted: int) -> Iterator[Frame]:
        walk = plan.iterate(range(count), seed)
        return reverse_frames(walk, model.schedule, model.info, evenly(plan.steps + 1, wanted))

    save(typed, Path("reverse.webp"), frames)
