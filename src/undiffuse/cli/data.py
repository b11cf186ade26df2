"""Look at a data set as training would see it: counts, shapes, classes, duplicates, refused files, a contact sheet."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import fields
from pathlib import Path

from undiffuse.cli.options import add_fields
from undiffuse.cli.parser import Parser
from undiffuse.cli.preparing import SOURCE, data_word
from undiffuse.config import DataConfig


def configure(parser: Parser) -> None:
    parser.add_argument("DATA", type=data_word, help=f"{SOURCE}, or the built-in name 'digits'")
    add_fields(parser, DataConfig, "how it is prepared", omit=("source", "flip"))
    group = parser.add_argument_group("the contact sheet")
    group.add_argument("--out", type=Path, metavar="FILE", help="a .png file (default: NAME-contact.png)")
    group.add_argument("--overwrite", action="store_true", help="replace the file")


def run(typed: Namespace) -> None:
    from undiffuse.data.report import contact_sheet, describe
    from undiffuse.data.stream import open_data
    from undiffuse.pictures.png import check_free, write_png

    options = vars(typed)
    settings = {field.name: options[field.name] for field in fields(DataConfig) if field.name in options}
    dataset = open_data(DataConfig(source=options["DATA"], **settings))
    print(describe(dataset))
    sheet = options.get("out", Path(f"{dataset.info.name.replace('/', '-')}-contact.png"))
    if "out" not in options and sheet.exists() and "overwrite" not in options:
        print(f"sheet       {sheet} is there already and stays: replace it with --overwrite, or choose an --out")
        return
    check_free(sheet, "overwrite" in options)
    write_png(sheet, contact_sheet(dataset), overwrite="overwrite" in options, sheet="a contact sheet")
    print(f"sheet       {sheet}")
