"""Write runs/NAME/report.html: samples, strips, curves and settings in one file that stands alone."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from undiffuse.cli.parser import Parser


def configure(parser: Parser) -> None:
    parser.add_argument("RUN", type=Path, help="a run's folder")


def run(typed: Namespace) -> None:
    from undiffuse.report import write_report

    print(f"{write_report(typed.RUN)}: open it in a browser")
