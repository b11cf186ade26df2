"""Make a fast model of a trained one: a student that draws in 1, 2 or 4 evaluations. Everything goes to runs/.

  undiffuse distill runs/NAME                                  4, 2 or 1 steps by one model, runs/NAME-distribution
  undiffuse distill digits --steps 1 --minutes 30              the model that comes with undiffuse
  undiffuse distill runs/NAME --guidance 2                     guidance is inside; --guidance 1,4: it stays a choice
  undiffuse distill runs/NAME --method progressive --steps 4   halving from 16, to runs/NAME-4-steps
  undiffuse distill runs/NAME --method jump                    1, 2, 4 or 8 steps by one model
  undiffuse distill runs/NAME --method consistency --steps 2,1
  undiffuse distill runs/NAME --method guidance --guidance 2   one evaluation where guidance took two
  undiffuse distill google/ddpm-cifar10-32 images/ --size 32   somebody else's model, and data like those it knows
  undiffuse distill runs/NAME --resume                         go on where the same command was interrupted
  undiffuse sample runs/NAME-distribution                      the student knows how it is to be sampled

What is not typed is what students do well with; see docs/use/distillation.md.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import get_args

from undiffuse.cli.data_options import SOURCE
from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.options import add_count
from undiffuse.cli.parse_values import OptionReader
from undiffuse.cli.parser import Parser
from undiffuse.config.data import DataConfig
from undiffuse.config.distillation import FILLED_IN, MethodName, StudentConfig, ThresholdName
from undiffuse.config.fields import fields_of
from undiffuse.config.files import BUDGETS
from undiffuse.config.schema import METHODS
from undiffuse.config.training import EMAConfig, LoopConfig, LoRAConfig, ObjectiveConfig, OptimizerConfig


def configure(parser: Parser) -> None:
    parser.surplus = "the student's name is given by --name {}"
    parser.add_argument("RUN", help="the teacher: a run, a checkpoint, a model's file, or 'digits'")
    text = f"what the teacher learned from (default: as its settings say): {SOURCE}"
    parser.add_argument("DATA", nargs="?", default=None, help=text)
    group = parser.add_argument_group("the student")
    names = ", ".join(get_args(MethodName))
    group.add_argument(
        "--method", type=OptionReader("--method", MethodName), metavar="NAME", help=f"{names} (default: distribution)"
    )
    text = "evaluations that it is to draw in, the default first (default: the method's)"
    group.add_argument("--steps", type=OptionReader("--steps", tuple[int, ...]), metavar="N,N", help=text)
    text = "guidance that it has inside, or LOW,HIGH between which it stays a choice"
    group.add_argument("--guidance", type=OptionReader("--guidance", tuple[float, ...]), metavar="W", help=text)
    parser.lists |= {"--steps", "--guidance"}
    add_count(
        group,
        "--teacher-steps",
        2,
        "steps of the teacher's walk that is learned from (default: 16; fewer by better samplers)",
    )
    group.add_argument(
        "--threshold",
        type=OptionReader("--threshold", ThresholdName),
        metavar="NAME",
        help="what happens to x0 outside [-1, 1] (default: clip; none by halving and jumps without guidance)",
    )
    group.add_argument("--weights", metavar="NAME", help="the teacher's: ema, raw or a rate (default: ema)")
    group = parser.add_argument_group("the training")
    text = "minutes in all (default: 25; 5 for a halving, 10 for one to 2 or 1; 20 for other methods)"
    group.add_argument("--minutes", type=OptionReader("--minutes", float), metavar="NUMBER", help=text)
    add_count(group, "--updates", 1, "optimiser steps of the shortest stage, in place of minutes")
    text = "of the student's run (default: the teacher's with the method or the steps)"
    group.add_argument("--name", metavar="TEXT", help=text)
    group.add_argument("--runs", metavar="DIR", type=Path, help="folder of runs (default: runs)")
    group.add_argument("--resume", action="store_true", help="go on where the same command was interrupted")
    group.add_argument("--quiet", action="store_true", help="print nothing")
    there = {*fields_of(StudentConfig), *FILLED_IN}
    for name, cls in METHODS.classes.items():
        add_fields(parser, cls, f"the method {name}", omit=tuple(there))
        there |= fields_of(cls).keys()  # a setting of several methods is one option
    add_fields(parser, DataConfig, "the data (default: as the teacher's)", omit=("source",), defaults=False)
    measured = ("weighting", "gamma", "p2_gamma", "distance", "clipped_error")
    add_fields(parser, ObjectiveConfig, "distance", omit=_others(ObjectiveConfig, *measured), defaults=False)
    add_fields(parser, OptimizerConfig, "optimizer", defaults=False)
    add_fields(parser, LoRAConfig, "adapters", defaults=False)
    add_fields(parser, EMAConfig, "ema", defaults=False)
    add_fields(parser, LoopConfig, "loop", omit=(*BUDGETS, "meant_for"), defaults=False)


def _others(cls: type, *names: str) -> tuple[str, ...]:
    return tuple(name for name in fields_of(cls) if name not in names)


def run(typed: Namespace) -> None:
    options = vars(typed)
    teacher, data = options.pop("RUN"), options.pop("DATA", None)

    from undiffuse.training.distillation.api import distill  # PyTorch's import takes seconds

    distill(teacher, data, **options)
