"""Put a model on the Hugging Face hub: card, samples, weights and settings.

  undiffuse push runs/NAME ORG/NAME --dry-run     write the folder and look at it; nothing is sent
  undiffuse push runs/NAME ORG/NAME
  undiffuse push runs/NAME ORG/NAME --to diffusers

Afterwards ``undiffuse sample ORG/NAME`` and ``undiffuse.load("ORG/NAME")`` work everywhere. docs/use/interop.md says
more.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Literal

from undiffuse.cli.naming import add_model, load_named
from undiffuse.cli.options import add_choice, add_count, add_overwrite, add_weights
from undiffuse.cli.parser import Parser


def configure(parser: Parser) -> None:
    add_model(parser)
    parser.add_argument("NAME", help="the repository, ORG/NAME; made if it is not there")
    group = parser.add_argument_group("what")
    text = "file: one file for undiffuse, in half precision (default); diffusers: what its DDPMPipeline loads"
    add_choice(group, "--to", Literal["file", "diffusers"], text)
    add_count(group, "-n", 0, "samples in the grid (default: 16)")
    add_weights(group)
    group.add_argument("--device", metavar="TEXT", help="that draws them: auto, cpu, cuda, cuda:1, mps (default: auto)")
    group = parser.add_argument_group("where to")
    group.add_argument("--out", type=Path, metavar="DIR", help="folder of what is sent (default: RUN/hub/NAME)")
    add_overwrite(group)
    group.add_argument("--private", action="store_true", help="only you can see the repository, if it is new")
    group.add_argument("--dry-run", action="store_true", help="write the folder and send nothing")


def run(typed: Namespace) -> None:
    from undiffuse.checkpoints.hub import require_hub
    from undiffuse.export.push import check_repo, prepare, upload

    options = vars(typed)
    repo, sends = options["NAME"], "dry_run" not in options
    check_repo(repo)
    if sends:
        require_hub(repo)
    model = load_named(options)
    folder = options.get("out") or model.home / "hub" / repo.split("/")[1]
    made = prepare(model, repo, folder, options.get("to", "file"), options.get("n", 16), "overwrite" in options)
    print("\n".join(made))
    if sends:
        print(upload(folder, repo, "private" in options))
    else:
        print(f"nothing was sent; to send it to {repo}, put --overwrite in the place of --dry-run")
