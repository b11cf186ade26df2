"""Runs side by side: what differs in their settings, curves, samples from the same noise, what was measured of them.

  undiffuse compare runs/A runs/B
  undiffuse compare runs/A runs/B runs/C -n 36 --seed 1 --out ../mail/abc.html

A table for the terminal, and one HTML file with everything inside. Runs that are not finished are shown as they are.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from undiffuse.cli.options import add_count, add_device, add_overwrite, add_seed
from undiffuse.cli.parser import Parser
from undiffuse.cli.write_then_print import said_afterwards


def configure(parser: Parser) -> None:
    parser.add_argument("RUN", type=Path, nargs="+", help="folders of two runs or more")
    group = parser.add_argument_group("samples from the same noise, by the default sampler")
    add_count(group, "-n", 1, "how many of each run (default: 16)")
    add_seed(group)
    add_device(group)
    group = parser.add_argument_group("where to")
    group.add_argument("--out", type=Path, metavar="FILE", help="(default: compare-A-B.html beside the first run)")
    add_overwrite(group, "replace a file that is there")


def run(typed: Namespace) -> None:
    from undiffuse.provenance.png import check_free, write_text
    from undiffuse.reports.compare import SAMPLES, SEED, compare, default_file
    from undiffuse.reports.run_comparison import check_runs
    from undiffuse.runtime.devices import choose_device

    options = vars(typed)
    runs, overwrite = options["RUN"], "overwrite" in options
    check_runs(runs)
    out: Path = options.get("out") or default_file(runs)
    check_free(out, overwrite)  # before the work, not after it
    device = str(choose_device(options.get("device", "auto")))
    found = compare(runs, options.get("n", SAMPLES), options.get("seed", SEED), device=device, progress=True)
    with said_afterwards(lambda: print(found.text())):
        write_text(out, found.html(out), overwrite)
    print(f"{out}: open it in a browser")
