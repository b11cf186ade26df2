"""Draw pictures from a trained model, or make one picture again.

  undiffuse sample digits --class seven              from the model that comes with undiffuse
  undiffuse sample runs/BARS --vector 30,2           by numbers, of a run of --condition vector
  undiffuse sample runs/PAIRS --image sketches/      for each picture there one, of a run of --condition image
  undiffuse sample runs/NAME -n 64 --seed 0 --sampler ddim --steps 50
  undiffuse sample runs/NAME -n 50000 --resume       go on where the same command was interrupted
  undiffuse sample --from picture.png
  torchrun --nproc-per-node 4 -m undiffuse sample runs/NAME -n 50000
  undiffuse sample runs/NAME --compare --samplers ddim,dpm++2m --evaluations 10,20

Picture i of a seed is the same whatever -n is. Each file carries how it was made, and appears as soon as it is drawn.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from undiffuse.cli.compare_samplers import add_comparison, check_options, compare
from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.naming import add_model, default_folder, folder_of_pictures, load_to_draw
from undiffuse.cli.options import add_count, add_device, add_overwrite, add_seed
from undiffuse.cli.parse_values import OptionReader
from undiffuse.cli.parser import Parser
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.sections import sections
from undiffuse.errors import UndiffuseError, counted
from undiffuse.provenance.pinned_path import path_of

if TYPE_CHECKING:
    from undiffuse.runtime.process_group import Group

DEFAULT = 64
"""Pictures."""


def configure(parser: Parser) -> None:
    parser.surplus = "how many pictures is said by -n, where they go by --out"
    add_model(parser, nargs="?", default=None)
    group = parser.add_argument_group("which pictures")
    add_count(group, "-n", 1, f"how many (default: {DEFAULT}, or a picture for each --image)")
    add_seed(group)
    add_count(group, "--first", 0, "number of the first one (default: 0)")
    group.add_argument("--from", type=Path, metavar="FILE", help="make this picture again and compare the pixels")
    add_device(group)
    text = "at the times that `undiffuse timesteps` chose: the same as --spacing learned"
    group.add_argument(
        "--timesteps", type=OptionReader("--timesteps", Literal["learned"]), metavar="learned", help=text
    )
    add_fields(parser, SampleConfig, "how")
    add_comparison(parser)
    group = parser.add_argument_group("where to")
    group.add_argument(
        "--out", type=folder_of_pictures, metavar="DIR", help="folder (default: RUN/pictures/SAMPLER-STEPS-seed-SEED)"
    )
    group.add_argument("--npz", action="store_true", help="the values as samples.npz, too")
    add_overwrite(group)
    text = "go on where the same command was interrupted: draw what is missing, keep what is there"
    group.add_argument("--resume", action="store_true", help=text)


def run(typed: Namespace) -> None:
    from undiffuse.cli.recreate import again
    from undiffuse.runtime.process_group import joined

    options = vars(typed)
    check_options(options)
    with joined() as group:
        if "from" not in options and options.get("RUN") is None:
            raise UndiffuseError("This needs RUN, a run's folder: undiffuse sample runs/NAME")
        settings = how(options)
        if "from" not in options and "compare" not in options:
            draw(options, settings, group)
        elif group.is_main and "from" in options:
            again(options)
        elif group.is_main:
            compare(options, settings)


def how(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that were typed, by name: a model refuses some that are at their defaults as well."""
    settings = {name: options[name] for name in sections(SampleConfig) if name in options}
    if "timesteps" not in options:
        return settings
    if "spacing" in options or "times" in options:
        raise UndiffuseError("Give one of --timesteps learned, --spacing and --times")
    return {**settings, "spacing": "learned"}


def draw(options: dict[str, Any], settings: dict[str, Any], group: Group) -> None:
    """Sample, and write pictures, grid and, where asked or needed, values as they come."""
    from undiffuse.data.read_image import find_pictures
    from undiffuse.model.sample_writer import Writing, draw_to, micro_batch_in
    from undiffuse.model.samples import GRID

    model = load_to_draw(options, group)
    plan = model.plan(**settings)
    image = plan.settings.prompt.image
    default = len(find_pictures(path_of(image))) if image else DEFAULT
    n, seed, first = options.get("n", default), options.get("seed", 0), options.get("first", 0)
    indices, folder = range(first, first + n), options.get("out") or default_folder(model, plan.settings, seed)
    writing = Writing("npz" in options or None, "overwrite" in options, "resume" in options)
    there = micro_batch_in(folder, indices, model.info) if writing.resume else None
    if there and "micro_batch" not in settings:
        plan = plan.with_micro_batch(there)
    try:
        drawn = draw_to(folder, plan, indices, seed, writing, group, progress=group.is_main)
    except KeyboardInterrupt:
        if group.is_main:
            print(f"\nWhat is drawn is in {folder}; the same command with --resume goes on.", file=sys.stderr)
        raise
    if not group.is_main:
        return
    shown = f" (the first {GRID})" if n > GRID else ""
    kept = f"; {drawn.kept:,} of them were there already" if drawn.kept and group.is_single else ""
    print(f"{folder}: {counted(n, 'picture')} and grid.png{shown}{' and samples.npz' if drawn.values else ''}{kept}")
    if not drawn.exact:
        print("A PNG file cannot hold these data as they are: the pictures are views, the values are in samples.npz.")
