"""The samplers side by side: ``undiffuse sample RUN --compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from undiffuse.cli.data_options import add_data
from undiffuse.cli.options import add_list
from undiffuse.cli.parser import Parser
from undiffuse.cli.write_then_print import said_afterwards
from undiffuse.config.flags import flag_of
from undiffuse.config.registry import split
from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.model.sample_request import beside_times, warn

ALONE = ("samplers", "evaluations", "reference")
"""Options that go with --compare only."""
INSTEAD = {"from": "", "first": "", "npz": "", "resume": "", "sampler": "--samplers", "steps": "--evaluations"}
"""Options that do not go with it, and what does."""
AGAIN = ("RUN", "from", "device", "out", "overwrite")
"""Options that go with --from."""
WITH_REFERENCE = 256
"""Samples a cell where a distance is asked for."""


def add_comparison(parser: Parser) -> None:
    group = parser.add_argument_group("samplers side by side")
    group.add_argument("--compare", action="store_true", help="a table and a picture of samplers by evaluations")
    group.add_argument("--samplers", metavar="NAME,NAME,...", help="which ones (default: six of them)")
    add_list(parser, group, "--evaluations", tuple[int, ...], "of the network, a column each (default: 5,10,20,50,100)")
    text = f"measure the distance of -n samples (default then: {WITH_REFERENCE}) from images of this data set"
    add_data(group, "--reference", text)


def check_options(options: dict[str, Any]) -> None:
    if "compare" not in options:
        for name in ALONE:
            if name in options:
                raise UndiffuseError(f"--{name} goes with --compare: undiffuse sample RUN --compare --{name} ...")
        other = next((name for name in options if name not in AGAIN), "")
        if "from" in options and other:
            raise UndiffuseError(
                f"--from makes a picture again as its file says that it was made: leave out {flag_of(other)}"
            )
        return
    for name, other in INSTEAD.items():
        if name in options:
            raise UndiffuseError(f"--{name} does not go with --compare" + (f", which takes {other}" if other else ""))


def compare(options: dict[str, Any], typed: dict[str, Any]) -> None:
    from tqdm import tqdm

    from undiffuse.cli.evaluation_options import open_images
    from undiffuse.cli.naming import load_to_draw
    from undiffuse.evaluation.samplers.comparison import (
        BUDGETS,
        DEFAULT,
        SHOWN,
        Contest,
        EnergyReference,
        check_samplers,
    )
    from undiffuse.evaluation.samplers.comparison import compare as draw
    from undiffuse.model.student_request import check_denoises
    from undiffuse.provenance.png import check_free, write_png, write_text

    names = tuple(map(str.strip, split(options["samplers"]))) if "samplers" in options else DEFAULT
    check_samplers(names)
    warn(beside_times(typed))
    settings = SampleConfig.of(**typed)
    model = load_to_draw(options)
    check_denoises(model.config, "a comparison of samplers")
    budgets = options.get("evaluations") or tuple(n for n in BUDGETS if n <= model.config.diffusion.timesteps)
    if min(budgets) < 1:
        raise UndiffuseError(f"--evaluations takes whole numbers from 1 on, not {min(budgets)}")
    seed, overwrite = options.get("seed", 0), "overwrite" in options
    n = options.get("n", WITH_REFERENCE if "reference" in options else SHOWN)
    folder: Path = options.get("out") or model.home / "pictures" / f"compare-seed-{seed}"
    for name in ("compare.md", "compare.png"):
        check_free(folder / name, overwrite)
    reference = None
    if "reference" in options:
        images = open_images({"limit": 2 * n, "seed": seed}, options["reference"], model)
        reference = EnergyReference.of(images, n)
    with tqdm(total=len(names) * len(budgets), desc="comparing", unit="cell", disable=None) as bar:
        contest = Contest(names, budgets, n, seed)
        found = draw(model, contest, settings=settings, reference=reference, on_cell=bar.update)
    table = found.markdown()
    with said_afterwards(lambda: print(table)):
        write_text(folder / "compare.md", table, overwrite)
        write_png(folder / "compare.png", found.picture(), overwrite=overwrite, sheet="a comparison of samplers")
    print(f"{folder}: compare.md and compare.png")
