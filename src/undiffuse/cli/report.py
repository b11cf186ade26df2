"""Write runs/NAME/report.html: samples, strips, curves and settings in one file that stands alone."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from undiffuse.cli.options import add_overwrite
from undiffuse.cli.parser import Parser


def configure(parser: Parser) -> None:
    parser.surplus = "another place for the page is named by --out {}"
    parser.add_argument("RUN", type=Path, help="a run's folder")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to (default: RUN/report.html)")
    add_overwrite(parser, "replace the file that --out names")


def run(typed: Namespace) -> None:
    from undiffuse.reports import write_report

    options = vars(typed)
    print(f"{write_report(typed.RUN, options.get('out'), 'overwrite' in options)}: open it in a browser")
