"""Look at a data set as training would see it: counts, shapes, classes, duplicates, refused files, a contact sheet."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from undiffuse.cli.parser import Parser
from undiffuse.cli.preparing import add_preparation, typed_preparation
from undiffuse.config import DataConfig


def configure(parser: Parser) -> None:
    parser.add_argument("DATA", help="a folder, .zip, .tar, .npz, .npy or idx(.gz) file, or the built-in name 'digits'")
    add_preparation(parser, "how it is prepared", defaults=True)
    group = parser.add_argument_group("the contact sheet")
    group.add_argument("--out", type=Path, metavar="FILE", help="a .png file (default: NAME-contact.png)")
    group.add_argument("--overwrite", action="store_true", help="replace the file")


def run(typed: Namespace) -> None:
    from undiffuse.data.prepare import prepare
    from undiffuse.data.report import contact_sheet, describe
    from undiffuse.pictures.png import check_free, write_png

    options = vars(typed)
    settings = typed_preparation(options)
    dataset = prepare(DataConfig(source=options["DATA"], **settings))
    print(describe(dataset))
    sheet = options.get("out", Path(f"{dataset.info.name.replace('/', '-')}-contact.png"))
    if "out" not in options and sheet.exists() and "overwrite" not in options:
        print(f"sheet       {sheet} is there already and stays: replace it with --overwrite, or choose an --out")
        return
    check_free(sheet, "overwrite" in options)
    write_png(sheet, contact_sheet(dataset), overwrite="overwrite" in options)
    print(f"sheet       {sheet}")
