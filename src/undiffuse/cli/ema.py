"""Averages of any length from a training that is over, without training again.

  undiffuse train photos/ --ema-std 0.05,0.1
  undiffuse ema runs/photos --std 0.02,0.05,0.1
  undiffuse sample runs/photos/averages/std-0.02.safetensors

--std is the average's relative width: the part of the training that it remembers, as a standard deviation. The copies
that --ema-std left are combined by least squares; docs/use/guide.md says how to choose.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from undiffuse.cli.options import add_count, add_list, add_overwrite
from undiffuse.cli.parser import Parser
from undiffuse.errors import UndiffuseError, counted, quoted

POOR = 0.1
"""A mismatch that is worth a word."""


def configure(parser: Parser) -> None:
    parser.add_argument("RUN", type=Path, help="a run's folder")
    add_list(parser, parser, "--std", tuple[float, ...], "relative widths, each up to 0.28", required=True)
    add_count(parser, "--step", 1, "the last step that is averaged over (default: that of the last copies)")
    add_overwrite(parser, "replace averages that were made before")


def run(typed: Namespace) -> None:
    from undiffuse.checkpoints.model_file import to_bytes
    from undiffuse.runtime.durable_files import NO_OUT, check_writable, replace_bytes
    from undiffuse.training.optim.posthoc_ema import FOLDER, copies_of, made_name, make_average
    from undiffuse.training.optim.power_ema import check_widths

    options = vars(typed)
    widths, folder = options["std"], options["RUN"]
    check_widths(widths)
    last = max(profile.step for profile in copies_of(folder))
    check_writable(folder / FOLDER / "made", NO_OUT)
    for std in widths:
        made = make_average(folder, std, options.get("step"))
        path = folder / FOLDER / made_name(made.profile, last)
        if path.exists() and "overwrite" not in options:
            raise UndiffuseError(f"{path} exists already; replace it with --overwrite")
        replace_bytes(path, to_bytes(made.model))
        poor = ": the copies are too few or too wide for it" if made.mismatch > POOR else ""
        print(f"{path}: of {counted(made.copies, 'copy', 'copies')}, {made.mismatch:.1%} from the exact profile{poor}")
    print(f"try: undiffuse sample {quoted(path)}")
