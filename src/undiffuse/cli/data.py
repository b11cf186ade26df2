"""Look at a data set as training would see it: counts, shapes, classes, duplicates, refused files, a contact sheet."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import fields
from pathlib import Path

from undiffuse.cli.data_options import SOURCE, data_word
from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.options import add_overwrite
from undiffuse.cli.parser import Parser
from undiffuse.cli.write_then_print import said_afterwards
from undiffuse.config.data import DataConfig
from undiffuse.runtime.durable_files import shortened


def configure(parser: Parser) -> None:
    parser.surplus = "the contact sheet's file is named by --out {}"
    parser.add_argument("DATA", type=data_word, help=f"{SOURCE}, or the built-in name 'digits'")
    add_fields(parser, DataConfig, "how it is prepared", omit=("source", "flip"))
    group = parser.add_argument_group("the contact sheet")
    group.add_argument("--out", type=Path, metavar="FILE", help="a .png file (default: NAME-contact.png)")
    add_overwrite(group, "replace the file")


def run(typed: Namespace) -> None:
    from undiffuse.data.stream import open_data
    from undiffuse.provenance.png import check_free, write_png
    from undiffuse.visualization.data_summary import contact_sheet, describe

    options = vars(typed)
    settings = {field.name: options[field.name] for field in fields(DataConfig) if field.name in options}
    if "out" in options:
        check_free(options["out"], "overwrite" in options)
    dataset = open_data(DataConfig(source=options["DATA"], **settings))
    name = shortened(dataset.info.name.replace("/", "-"))
    sheet = options.get("out", Path(f"{name}-contact.png"))
    kept = "out" not in options and sheet.exists() and "overwrite" not in options
    with said_afterwards(lambda: print(describe(dataset))):
        if not kept:
            write_png(sheet, contact_sheet(dataset), overwrite="overwrite" in options, sheet="a contact sheet")
    stays = " is there already and stays: replace it with --overwrite, or choose an --out"
    print(f"sheet       {sheet}{stays if kept else ''}")
