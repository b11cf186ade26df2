"""How fast a run or a recipe trains and samples here, how near that is to the machine's limit, and what to change.

  undiffuse bench runs/NAME
  undiffuse bench ho2020-cifar10 --batch 16 --seconds 60
  undiffuse bench runs/NAME --precision bfloat16
  undiffuse bench runs/NAME --compile

Random images stand for the data: what they show does not change the speed. Close other programs first.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undiffuse.cli.naming import MODEL
from undiffuse.cli.options import add_count, add_device, add_number, add_overwrite
from undiffuse.cli.parse_values import OptionReader
from undiffuse.cli.parser import Parser
from undiffuse.cli.write_then_print import said_afterwards
from undiffuse.config.network import PrecisionName
from undiffuse.errors import counted

if TYPE_CHECKING:
    from undiffuse.model import Model
    from undiffuse.reports.speed.measure import Bench


def configure(parser: Parser) -> None:
    parser.add_argument("RUN", metavar="RUN|RECIPE", help=f"the name of a recipe, or {MODEL}")
    group = parser.add_argument_group("how")
    text = "of the data, for a recipe: CHANNELS,HEIGHT,WIDTH (default: the first that the recipe takes)"
    group.add_argument("--shape", type=OptionReader("--shape", tuple[int, ...]), metavar="N,N,...", help=text)
    add_count(group, "--batch", 1, "images a step (default: the settings')")
    text = "of training and sampling (default: the settings', and float32 for samples)"
    read = OptionReader("--precision", PrecisionName)
    group.add_argument("--precision", type=read, metavar=read.kind.metavar, help=text)
    text = "measure what --compile takes and saves, too: minutes more"
    group.add_argument("--compile", action="store_true", help=text)
    add_number(group, "--seconds", "to spend (default: 20)", above=0)
    add_device(group)
    group.add_argument("--out", type=Path, metavar="FILE", help="the figures as .json, too")
    add_overwrite(group)


def run(typed: Namespace) -> None:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own chatter; read when torch is imported
    from undiffuse.provenance.png import check_free, write_text
    from undiffuse.reports.speed.advice import advice
    from undiffuse.reports.speed.measure import bench

    options = vars(typed)
    if "out" in options:
        check_free(options["out"], "overwrite" in options)
    model = _model(options)
    seconds, batch, precision = options.get("seconds", 20.0), options.get("batch"), options.get("precision")
    compiles = "compile" in options
    found = bench(model, options["RUN"], seconds=seconds, batch=batch, precision=precision, compiles=compiles)
    said = [*rows(found), *(("advice", sentence) for sentence in advice(found, model.config))]
    with said_afterwards(lambda: print("\n".join(f"{name:<12}{value}" for name, value in said))):
        if "out" in options:
            write_text(options["out"], json.dumps(found.to_json(), indent=1), "overwrite" in options)
    if "out" in options:
        print(f"{'file':<12}{options['out']}")


def _model(options: dict[str, Any]) -> Model:
    from undiffuse.checkpoints.find import is_model
    from undiffuse.checkpoints.pretrained import PREFIX, is_here, names
    from undiffuse.model import load
    from undiffuse.model.cascade import check_alone
    from undiffuse.recipes import RECIPES
    from undiffuse.reports.speed.measure import recipe_model
    from undiffuse.runtime.devices import choose_device

    device, word = options.get("device", "auto"), options["RUN"]
    recipe = word in RECIPES and not is_here(word)  # as of all that is typed, what is here goes first
    if word in RECIPES and not recipe and word not in names():  # of what ships `load` says it
        print(
            f"{word} is the {'file' if Path(word).is_file() else 'run'} ./{word} here, not the recipe", file=sys.stderr
        )
    elif recipe and word in names():
        print(
            f"{word} is the recipe; the model of that name that comes with undiffuse is {PREFIX}{word}", file=sys.stderr
        )
    if recipe or not (Path(word).exists() or is_model(word) or len(Path(word).parts) > 1):  # no recipe is a path
        return recipe_model(word, options.get("shape"), device)
    return check_alone(load(word, device=str(choose_device(device))), "a benchmark")


def rows(found: Bench) -> list[tuple[str, str]]:
    """(what, value) in the order of printing."""
    giga = 1e9
    ceilings = ", ".join(f"{rate / giga:,.0f} GFLOP/s in {name}" for name, rate in found.ceilings.items())
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in found.kinds.items() if share >= 0.005)
    return [
        ("model", f"{found.name}: {found.parameters:,} parameters, data of {found.shape}"),
        ("machine", f"{found.device}, {counted(found.threads, 'thread')}"),
        ("ceiling", f"{ceilings} in a large matrix product"),
        ("training", f"{1e3 * found.step_seconds:,.1f} ms a step of {found.batch}, in {found.precision}"),
        ("", f"{found.batch / found.step_seconds:,.1f} images/s"),
        ("", f"{found.step_flops / found.step_seconds / giga:,.0f} GFLOP/s, {_of_ceiling(found.step_share)}"),
        ("", f"{found.loading_share:.1%} of the step makes the next batch, of images in memory"),
        (
            "sampling",
            f"{1e3 * found.evaluation_seconds:,.1f} ms an evaluation of {counted(found.micro_batch, 'image')}, "
            f"in {found.sampling_precision}",
        ),
        ("", f"{1 / found.seconds_per_image:,.2f} images/s in {counted(found.evaluations, 'evaluation')} each"),
        (
            "",
            f"{found.evaluation_flops / found.evaluation_seconds / giga:,.0f} GFLOP/s, "
            f"{_of_ceiling(found.evaluation_share)}",
        ),
        *_compiled(found),
        ("memory", f"{found.peak_memory / 2**20:,.0f} MiB at most"),
        ("time in", kinds),
    ]


def _of_ceiling(share: float) -> str:
    """Nothing is above a ceiling: where it seems so, the machine was another one while that was measured."""
    if share <= 1:
        return f"{share:.0%} of the ceiling"
    return "above the ceiling, so that was measured while other programs were at work: run this again when they are not"


def _compiled(found: Bench) -> list[tuple[str, str]]:
    measured = {"a step": found.compiled_step, "an evaluation": found.compiled_evaluation}
    texts = [
        f"{1e3 * c.compiled:,.1f} ms {what}, {c.gain:.2f} times as fast, after {c.first:,.1f} s for the first"
        for what, c in measured.items()
        if c is not None
    ]
    return [("" if row else "compiled", text) for row, text in enumerate(texts)]
