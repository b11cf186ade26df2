"""What images cost in bits under a model: by the variational bound, by the probability-flow ODE, or by both.

  undiffuse likelihood runs/NAME photos/ --limit 500
  undiffuse likelihood runs/NAME photos/ --method bound --timesteps 100 --curve

Bits per dimension for integers of 8 and 16 bits; for floats, nats per dimension of a density in the data's own units.
DATA is prepared as the run's data were. Image i has random streams of its own: its value does not depend on --limit.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from undiffuse.cli.evaluation_options import add_images, add_machine, load_alone, open_images, table_file
from undiffuse.cli.options import add_choice, add_count, add_number, add_overwrite
from undiffuse.cli.parser import Parser
from undiffuse.cli.write_then_print import said_afterwards
from undiffuse.config.without_effect import without_effect
from undiffuse.errors import UndiffuseError, counted
from undiffuse.model.sample_request import warn
from undiffuse.runtime.process_group import Group, joined

if TYPE_CHECKING:
    from undiffuse.evaluation.images import Images
    from undiffuse.evaluation.likelihood.evaluate import Table
    from undiffuse.model import Model

METHODS = Literal["bound", "ode", "both"]
VARIANCES = Literal["small", "large", "learned"]
PROBES = Literal["rademacher", "gaussian"]
THRESHOLDS = Literal["clip", "none"]
OF_METHODS = {"bound": ("variance", "timesteps"), "ode": ("probes", "probe", "rtol", "atol")}
"""Options that one method heeds."""


def configure(parser: Parser) -> None:
    parser.surplus = "the table's file is named by --out {}"
    add_images(parser)
    group = parser.add_argument_group("how")
    add_choice(group, "--method", METHODS, "(default: both)")
    add_choice(
        group, "--variance", VARIANCES, "of the bound's steps (default: learned where it was learned, else small)"
    )
    add_count(group, "--timesteps", 2, "of the bound, an image (default: the whole chain)")
    add_count(group, "--probes", 1, "of the ODE's trace, an image (default: 2)", "K")
    add_choice(group, "--probe", PROBES, "kind of the probes (default: rademacher)")
    add_number(group, "--rtol", "relative tolerance (default: 1e-4)", above=0)
    add_number(group, "--atol", "absolute tolerance (default: 1e-4)", above=0)
    add_choice(group, "--threshold", THRESHOLDS, "of x0 predictions (default: clip, as in sampling)")
    add_machine(group)
    group = parser.add_argument_group("where to")
    group.add_argument("--out", type=Path, metavar="FILE", help=".csv or .json (default: RUN/likelihood/DATA.csv)")
    group.add_argument("--curve", action="store_true", help="rate and distortion beside it: -curve.svg and -curve.csv")
    add_overwrite(group)


def run(typed: Namespace) -> None:
    with joined() as group:
        measure(vars(typed), group)


def measure(options: dict[str, Any], group: Group) -> None:
    """Measure, write the table and say what is in it; among many processes rank 0 writes and speaks."""
    from undiffuse.diffusion.dormand_prince import Tolerance
    from undiffuse.diffusion.losses.variational_bound import chain_of
    from undiffuse.evaluation.likelihood.evaluate import TOLERANCE, Table, bound, ode
    from undiffuse.evaluation.likelihood.units import Units
    from undiffuse.evaluation.options import MeasureOptions
    from undiffuse.provenance.png import check_free, write_text

    method, overwrite = options.get("method", "both"), "overwrite" in options
    if "curve" in options and method == "ode":
        raise UndiffuseError("The rate-distortion curve is made of the bound's terms; use --method bound or both")
    rules = {
        name: (method in (own, "both"), f"with `method={own}`") for own, names in OF_METHODS.items() for name in names
    }
    warn(without_effect(options, rules) if group.is_main else [])
    model = load_alone(options, "a likelihood", group)
    if method != "ode":
        chain_of(model.schedule)
    images = open_images(options, options["DATA"], model, group)
    out = table_file(options, model, "likelihood")
    beside = [out.with_name(f"{out.stem}-curve{suffix}") for suffix in (".svg", ".csv")] if "curve" in options else []
    for path in (out, *beside):
        check_free(path, overwrite)
    clip = options.get("threshold", "clip") == "clip"
    how = MeasureOptions(clip, options.get("seed", 0), options.get("batch"), progress=group.is_main)
    units, terms, density = Units.of(model.info), None, None
    if method != "ode":
        variance, count = options.get("variance"), options.get("timesteps")
        terms = bound(model, images, variance=variance, count=count, how=how, group=group)
    if method != "bound":
        tolerance = Tolerance(options.get("rtol", TOLERANCE.relative), options.get("atol", TOLERANCE.absolute))
        probes = {name: options[name] for name in ("probes", "probe") if name in options}
        density = ode(model, images, **probes, tolerance=tolerance, how=how, group=group)
    if not group.is_main:
        return
    table = Table(units, images, terms, density)
    content = table.json(_settings(options, model, images)) if out.suffix == ".json" else table.csv()
    with said_afterwards(lambda: _say(table)):
        write_text(out, content, overwrite)
        for path in beside:
            from undiffuse.evaluation.likelihood.rate_distortion import rate_distortion

            assert terms is not None
            curve = rate_distortion(terms, units)
            write_text(path, curve.svg() if path.suffix == ".svg" else curve.csv(), overwrite)
    for path in (out, *beside):
        print(f"file    {path}")


def _say(table: Table) -> None:
    """Means and standard errors, and what they mean."""
    from undiffuse.evaluation.likelihood.evaluate import mean_and_error

    units, info = table.units, table.images.dataset.info
    print(f"data    {info.name}: {len(table.images):,} of {counted(info.count, 'image')} of {info.shape}, {info.dtype}")
    if table.terms is not None:
        mean, error = mean_and_error(units.of_bound(table.terms.total))
        steps = counted(table.terms.size.shape[1], "timestep")
        print(f"bound   {mean:.4f} +- {error:.4f} {units.name} at most, {steps} an image")
    if table.density is not None:
        mean, error = mean_and_error(units.of_density(table.density.total))
        calls = float(table.density.evaluations.double().mean())
        print(f"ODE     {mean:.4f} +- {error:.4f} {units.name}, {calls:.0f} evaluations an image")
    print(f"units   {units.meaning}")
    print("error   +- is the standard error of the mean over the images")


def _settings(options: dict[str, Any], model: Model, images: Images) -> dict[str, Any]:
    """Everything that the numbers depend on, for the JSON file."""
    left_out = ("RUN", "out", "overwrite", "curve")
    typed = {name: value for name, value in options.items() if name not in left_out}
    data = images.dataset.info
    return {"model": model.provenance, "data": {"name": data.name, "fingerprint": data.fingerprint}, "typed": typed}
