"""Learn from a data set. Everything of the run goes to runs/NAME.

  undiffuse train photos/ --size 64 --crop center --minutes 60
  undiffuse train digits --recipe digits --name demo
  undiffuse train --resume runs/demo
  undiffuse train --resume runs/demo --minutes 10                  ten minutes more for a run that is finished
  undiffuse train --config runs/photos/config.yaml --lr 1e-4       the settings of another run, one of them changed
  undiffuse train photos/ --from runs/photos --condition class     teaches a trained network classes
  torchrun --nproc-per-node 4 -m undiffuse train photos/ --size 64    on four GPUs: the same batch, the same result

What is not typed is the recipe's choice (see undiffuse recipes), which may depend on the data. Lists are typed with
commas or spaces: --multipliers 1,2,2 or 1 2 2.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from undiffuse.checkpoints.pretrained import written_as_path
from undiffuse.checkpoints.run_lock import has_begun
from undiffuse.cli.data_options import SOURCE
from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.parser import Parser
from undiffuse.config.fields import fields_of
from undiffuse.config.files import BUDGETS
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError, quoted


def configure(parser: Parser) -> None:
    parser.surplus = "the run's name is given by --name {}"
    parser.add_argument("DATA", nargs="?", default=None, help=f"{SOURCE}, or the built-in name 'digits'")
    group = parser.add_argument_group("the run")
    group.add_argument(
        "--recipe", metavar="TEXT", help="settings to start from (default: digits for digits, else small)"
    )
    group.add_argument("--config", metavar="FILE", type=Path, help="settings to start from: another run's config.yaml")
    group.add_argument("--name", metavar="TEXT", help="of the run (default: the data's)")
    group.add_argument("--runs", metavar="DIR", type=Path, help="folder of runs (default: runs)")
    text = "go on with a run from its newest checkpoint: runs/NAME, or the only run that fits DATA or --name"
    group.add_argument("--resume", metavar="RUN", nargs="?", const="", help=text)
    group.add_argument("--quiet", action="store_true", help="print nothing")
    for name, field in fields_of(TrainConfig).items():
        if field.kind.section and name != "distillation":  # a student is made by undiffuse distill
            add_fields(parser, field.kind.section, name, omit=("source", "start_sha256"), defaults=False)


def run(typed: Namespace) -> None:
    options = {name: value for name, value in vars(typed).items() if value is not None or name != "DATA"}
    source = options.pop("DATA", None)
    if "resume" in options:
        options |= run_to_resume(options.pop("resume"), options)
    elif goes_on(options):
        options = {name: value for name, value in options.items() if name not in BUDGETS}  # the run has its own
        options["resume"] = True
    elif source is None and "config" not in options:
        raise UndiffuseError("This needs DATA to learn from, such as a folder of images: undiffuse train photos/")
    if "quiet" not in options and os.environ.get("RANK", "0") == "0" and (line := first_line(source, options)):
        print(line, file=sys.stderr, flush=True)

    from undiffuse.training.api import train  # PyTorch's import takes seconds

    train(source, **options)


def first_line(source: str | None, options: dict[str, Any]) -> str:
    """A line for the seconds to minutes until there is a run; empty where a mistake is about to be told.

    It is said before PyTorch is imported, so what can be checked without it is.
    """
    from undiffuse.config.files import BUDGETS, override, read_config
    from undiffuse.config.sections import sections
    from undiffuse.recipes import get_recipe
    from undiffuse.training.run.validate import check

    given = {name: value for name, value in options.items() if name in sections(TrainConfig)}
    try:
        settings = read_config(options["config"]) if "config" in options else TrainConfig()
        source = source or settings.data.source
        check(override(settings, **({} if given.keys() & set(BUDGETS) else {"steps": 1}), **given))
        get_recipe(options.get("recipe", "small"))
    except UndiffuseError:
        return ""
    folder = Path(options.get("runs", "runs"), options.get("name", ""))
    if "resume" in options:
        return f"going on with {folder}: loading PyTorch, then the newest checkpoint" if folder.is_dir() else ""
    there = "name" not in options or not folder.exists()
    known = source == "digits" or any(sign in (source or "") for sign in ":*?[{") or Path(source or "").exists()
    return f"learning from {source}: loading PyTorch, then the data" if there and known else ""


def goes_on(options: dict[str, Any]) -> bool:
    """Whether torchrun has started this again after a failure, and there is a checkpoint to go on from."""
    from undiffuse.runtime.torchrun import may_restart, restarts

    if may_restart() and "name" not in options:
        raise UndiffuseError("torchrun --max-restarts goes on with a run by its name: give it a --name")
    return restarts() > 0 and any(Path(options.get("runs", "runs"), options["name"], "checkpoints").glob("step-*"))


def run_to_resume(which: str, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `train` for ``--resume``, ``--resume NAME`` and ``--resume FOLDER/NAME``."""
    if not which:
        return {"resume": True}
    if "name" in options:
        raise UndiffuseError(f"--resume {which} and --name {options['name']} name a run each; leave one of them out")
    folder = Path(which)
    if len(folder.parts) == 1 and not written_as_path(which):
        other = Path(options.get("runs", "runs"), which)
        here, there = ((place / "checkpoints").is_dir() or has_begun(place) for place in (folder, other))
        if here and there and folder.resolve() != other.resolve():
            raise UndiffuseError(
                f"{which} is a run here and in {other.parent}: say which by --resume ./{which} or --resume "
                f"{quoted(other)}"
            )
        if not here:  # a folder of this name may be the data that the run learned from
            return {"resume": True, "name": which}
    folder = folder.resolve() if folder.name in ("", "..") else folder
    return {"resume": True, "name": folder.name, "runs": folder.parent}
