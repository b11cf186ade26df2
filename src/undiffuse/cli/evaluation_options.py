"""What the commands that judge images by a model share: which images, by which model, into which file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undiffuse.cli.data_options import add_preparation, data_word, typed_preparation
from undiffuse.cli.naming import add_model, load_named
from undiffuse.cli.options import add_count, add_device, add_seed, add_weights
from undiffuse.cli.parser import Parser
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.durable_files import shortened
from undiffuse.runtime.process_group import ALONE, Group

if TYPE_CHECKING:
    from undiffuse.evaluation.images import Images
    from undiffuse.model import AnyModel, Model


def add_images(parser: Parser) -> None:
    add_model(parser)
    parser.add_argument(
        "DATA",
        type=data_word,
        help="a folder, .zip, .tar, .npz, .npy or idx(.gz) file, or the built-in name 'digits'",
    )
    group = parser.add_argument_group("which images")
    add_count(group, "--limit", 1, "this many, drawn at random (default: all)")
    add_preparation(parser, "how they are prepared (default: as the run's data)")


def add_machine(group: Any) -> None:
    add_count(group, "--batch", 1, "images at a time (default: 16, 4 or 1, by their size)")
    add_seed(group, "every random stream")
    add_weights(group)
    add_device(group)


def load_alone(options: dict[str, Any], what: str, group: Group = ALONE) -> Model:
    """The model that is asked for ``what``, which neither a stage nor a cascade can do."""
    from undiffuse.model.cascade import check_denoiser

    return check_denoiser(load_named(options, group), what)


def open_images(options: dict[str, Any], source: str, model: AnyModel, group: Group = ALONE) -> Images:
    """Images prepared as the run's own were, unless the options say otherwise."""
    from undiffuse.data.preparation.prepare import prepare
    from undiffuse.evaluation.images import choose

    given = typed_preparation(options)
    with group.main_first():
        dataset = prepare(replace(model.config.data.of_others(source), **given), progress=group.is_main)
    return choose(dataset, model.info, options.get("limit"), options.get("seed", 0))


def table_file(options: dict[str, Any], model: Model, folder: str) -> Path:
    """The table's file: --out, or one in the model's folder."""
    from undiffuse.data.formats.builtin import BUILTIN_PREFIX

    data = Path(options["DATA"].removeprefix(BUILTIN_PREFIX)).resolve().name.split(".")[0]
    out: Path = options.get("out") or model.home / folder / f"{shortened(data)}.csv"
    if out.suffix not in (".csv", ".json"):
        raise UndiffuseError(f"--out should end in .csv or .json, and '{out}' does not")
    return out
