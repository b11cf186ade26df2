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

from undiffuse.cli.options import add_fields
from undiffuse.cli.parser import Parser
from undiffuse.cli.values import Reader, number, whole
from undiffuse.config import DataConfig
from undiffuse.errors import UndiffuseError

if TYPE_CHECKING:
    from undiffuse.evaluate.images import Images
    from undiffuse.evaluate.likelihood import Table
    from undiffuse.model import Model

METHODS = Literal["bound", "ode", "both"]
VARIANCES = Literal["small", "large", "learned"]
PROBES = Literal["rademacher", "gaussian"]
THRESHOLDS = Literal["clip", "none"]


def configure(parser: Parser) -> None:
    parser.add_argument("RUN", type=Path, help="a run's folder or a checkpoint's")
    parser.add_argument("DATA", help="a folder, .zip, .tar, .npz, .npy or idx(.gz) file, or the built-in name 'digits'")
    group = parser.add_argument_group("which images")
    group.add_argument("--limit", type=whole("--limit", 1), metavar="N", help="this many, drawn at random (default: all)")
    add_fields(parser, DataConfig, "how they are prepared (default: as the run's data)", ("source", "flip"), False)
    group = parser.add_argument_group("how")
    _choice(group, "--method", METHODS, "(default: both)")
    _choice(group, "--variance", VARIANCES, "of the bound's steps (default: learned where it was learned, else small)")
    group.add_argument(
        "--timesteps", type=whole("--timesteps", 2), metavar="N", help="of the bound, an image (default: the whole chain)"
    )
    group.add_argument("--probes", type=whole("--probes", 1), metavar="K", help="of the ODE's trace, an image (default: 2)")
    _choice(group, "--probe", PROBES, "kind of the probes (default: rademacher)")
    group.add_argument("--rtol", type=number("--rtol", 0), metavar="X", help="relative tolerance (default: 1e-4)")
    group.add_argument("--atol", type=number("--atol", 0), metavar="X", help="absolute tolerance (default: 1e-4)")
    _choice(group, "--threshold", THRESHOLDS, "of x0 predictions (default: clip, as in sampling)")
    add_machine(group)
    group = parser.add_argument_group("where to")
    group.add_argument("--out", type=Path, metavar="FILE", help=".csv or .json (default: RUN/likelihood/DATA.csv)")
    group.add_argument("--curve", action="store_true", help="rate and distortion beside it: -curve.svg and -curve.csv")
    group.add_argument("--overwrite", action="store_true", help="replace files that are there")


def _choice(group: Any, flag: str, hint: Any, text: str) -> None:
    reader = Reader(flag, hint)
    group.add_argument(flag, type=reader, metavar="|".join(hint.__args__), help=text)


def add_machine(group: Any) -> None:
    """Options of all commands that judge images by a model."""
    group.add_argument("--batch", type=whole("--batch", 1), metavar="N", help="images at a time (default: 32)")
    group.add_argument("--seed", type=whole("--seed", 0), metavar="N", help="of every random stream (default: 0)")
    group.add_argument("--weights", metavar="TEXT", help="'ema', 'raw', or a rate such as '0.999' (default: ema)")
    group.add_argument("--device", metavar="TEXT", help="auto, cpu, cuda, cuda:1, mps (default: auto)")


def run(typed: Namespace) -> None:
    from undiffuse.evaluate.likelihood import Table, bound, ode
    from undiffuse.evaluate.units import Units
    from undiffuse.objectives.bound import chain_of
    from undiffuse.pictures.png import write_file

    options = vars(typed)
    method, overwrite = options.get("method", "both"), "overwrite" in options
    if "curve" in options and method == "ode":
        raise UndiffuseError("The rate-distortion curve is made of the bound's terms; use --method bound or both")
    model = load_model(options)
    if method != "ode":
        chain_of(model.schedule)
    images = open_images(options, options["DATA"], model)
    out = free_file(options, model, "likelihood", images)
    beside = [out.with_name(f"{out.stem}-curve{suffix}") for suffix in (".svg", ".csv")] if "curve" in options else []
    check_all_free([out, *beside], overwrite)
    same = {"seed": options.get("seed", 0), "batch": options.get("batch", 32)}
    same |= {"clip": options.get("threshold", "clip") == "clip", "progress": True}
    units, terms, density = Units.of(model.info), None, None
    if method != "ode":
        terms = bound(model, images, variance=options.get("variance"), count=options.get("timesteps"), **same)
    if method != "bound":
        how = {name: options[name] for name in ("probes", "probe", "rtol", "atol") if name in options}
        density = ode(model, images, **how, **same)
    table = Table(units, images, terms, density)
    content = table.json(_settings(options, model)) if out.suffix == ".json" else table.csv()
    write_file(out, content.encode(), overwrite)
    for path in beside:
        from undiffuse.evaluate.rate_distortion import rate_distortion

        assert terms is not None
        curve = rate_distortion(terms, units)
        write_file(path, (curve.svg() if path.suffix == ".svg" else curve.csv()).encode(), overwrite)
    _say(table, [out, *beside])


def _say(table: Table, files: list[Path]) -> None:
    """Means and standard errors, and what they mean."""
    from undiffuse.evaluate.likelihood import mean_and_error

    units, info = table.units, table.images.dataset.info
    print(f"data    {info.name}: {len(table.images):,} of {info.count:,} images of {info.shape}, {info.dtype}")
    if table.terms is not None:
        mean, error = mean_and_error(units.of_bound(table.terms.total))
        print(f"bound   {mean:.4f} +- {error:.4f} {units.name} at most, {len(table.terms.size)} timesteps an image")
    if table.density is not None:
        mean, error = mean_and_error(units.of_density(table.density.total))
        calls = float(table.density.evaluations.double().mean())
        print(f"ODE     {mean:.4f} +- {error:.4f} {units.name}, {calls:.0f} evaluations an image")
    print(f"units   {units.meaning}")
    print("error   +- is the standard error of the mean over the images")
    for path in files:
        print(f"file    {path}")


def _settings(options: dict[str, Any], model: Model) -> dict[str, Any]:
    """What the numbers depend on, for the JSON file."""
    left_out = ("RUN", "out", "overwrite", "curve")
    typed = {name: value for name, value in options.items() if name not in left_out}
    return {"model": model.provenance, "typed": typed}


def load_model(options: dict[str, Any]) -> Model:
    from undiffuse.model import load
    from undiffuse.train.setup import choose_device

    return load(options["RUN"], options.get("weights", "ema"), str(choose_device(options.get("device", "auto"))))


def open_images(options: dict[str, Any], source: str, model: Model) -> Images:
    """Images prepared as the run's own were, unless the options say otherwise."""
    from dataclasses import replace

    from undiffuse.data.prepare import prepare
    from undiffuse.evaluate.images import choose

    given = {name: options[name] for name in ("size", "crop", "channels") if name in options}
    dataset = prepare(replace(model.config.data, source=source, **given))
    return choose(dataset, model.info, options.get("limit"), options.get("seed", 0))


def free_file(options: dict[str, Any], model: Model, folder: str, images: Images) -> Path:
    """Where the table goes.

    Raises:
        UndiffuseError: it is called neither .csv nor .json.
    """
    from undiffuse.cli.sample import home_of

    name = images.dataset.info.name.replace("/", "-").split(".")[0] or "data"
    out: Path = options.get("out") or home_of(model) / folder / f"{name}.csv"
    if out.suffix not in (".csv", ".json"):
        raise UndiffuseError(f"--out should end in .csv or .json, and '{out}' does not")
    return out


def check_all_free(paths: list[Path], overwrite: bool) -> None:
    from undiffuse.pictures.png import check_free

    for path in paths:
        check_free(path, overwrite)
