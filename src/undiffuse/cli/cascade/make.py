"""Set models that enlarge upon one that draws small pictures: one folder, one model.

  undiffuse train photos/ --size 32 --name base
  undiffuse train photos/ --size 64 --upscale 2 --name up
  undiffuse cascade make runs/base runs/up --name photos64
  undiffuse sample runs/photos64 --augmentation 0.2

Several stages stand upon each other: undiffuse cascade make runs/base runs/up2 runs/up4 --name NAME
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from undiffuse.cli.parser import Parser
from undiffuse.errors import UndiffuseError, quoted


def configure(parser: Parser) -> None:
    parser.add_argument("BASE", type=Path, help="a run of small pictures")
    parser.add_argument("STAGE", type=Path, nargs="+", help="runs that enlarge, trained with --upscale, in order")
    parser.add_argument("--name", metavar="TEXT", required=True, help="of the cascade")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder of runs (default: runs)")
    parser.add_argument("--weights", metavar="TEXT", help="of each model: ema, raw or a rate (default: ema)")


def run(typed: Namespace) -> None:
    from undiffuse.model.make_cascade import make_cascade

    options = vars(typed)
    name = options["name"]
    if Path(name).name != name:
        raise UndiffuseError(f"--name is a folder's name in runs/, not '{name}'; --runs says another place")
    folder = options.get("runs", Path("runs")) / name
    model = make_cascade([options["BASE"], *options["STAGE"]], folder, options.get("weights", "ema"))
    size = " x ".join(map(str, model.info.spatial))
    print(f"{folder}: {1 + len(options['STAGE'])} models that draw {size}; try: undiffuse sample {quoted(folder)}")
