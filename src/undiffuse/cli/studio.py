"""A page on this machine: watch how diffusion works, train, make pictures, compare runs.

  undiffuse studio                                      the runs in ./runs and the models that come with undiffuse
  undiffuse studio elsewhere/NAME model.safetensors     these, too
  undiffuse studio --host 0.0.0.0 --token "$(openssl rand -hex 16)"      for other machines

Everything the page does is a call of an HTTP interface that /docs describes. Trainings are ordinary `undiffuse train`
processes: they go on when the studio ends, and the next one finds them.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from undiffuse.cli.options import add_device
from undiffuse.cli.parse_values import whole
from undiffuse.cli.parser import Parser
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.installing import install_extra


def configure(parser: Parser) -> None:
    text = "runs, checkpoints or models' files, beside those in the folder of runs"
    parser.add_argument("RUN", type=Path, nargs="*", default=[], help=text)
    group = parser.add_argument_group("where it listens")
    group.add_argument(
        "--port", type=whole("--port", 0, 65535), metavar="N", help="0 for one that is free (default: 8000)"
    )
    text = "an address; any but this machine's own needs --token (default: 127.0.0.1)"
    group.add_argument("--host", metavar="TEXT", help=text)
    group.add_argument("--token", metavar="TEXT", help="a secret that everybody must show, of 16 letters or more")
    text = "a name by which browsers call this machine, or NAME:PORT of a proxy; may be given as a list with commas"
    group.add_argument("--name", metavar="TEXT", help=text)
    text = "the sub-path below which a proxy serves the studio, as /tools/undiffuse; whether or not it takes that off"
    group.add_argument("--path", metavar="TEXT", help=text)
    group.add_argument("--open", action="store_true", help="open the page in a browser")
    group = parser.add_argument_group("what it works with")
    group.add_argument("--runs", type=Path, metavar="DIR", help="folder of runs (default: runs)")
    group.add_argument("--gallery", type=Path, metavar="DIR", help="pictures and uploads (default: RUNS/studio)")
    add_device(group)


def run(typed: Namespace) -> None:
    options = vars(typed)
    try:
        from undiffuse.studio.serve import Address, serve
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("fastapi", "starlette", "uvicorn", "pydantic", "multipart"):
            raise
        raise UndiffuseError(f"The studio needs FastAPI and uvicorn: {install_extra('studio')}") from None
    from undiffuse.model import load
    from undiffuse.runtime.devices import choose_device

    names = tuple(name.strip().lower() for name in options.get("name", "").split(",") if name.strip())
    path = "/".join(["", *(part for part in options.get("path", "").split("/") if part)])
    host, port, token = options.get("host", "127.0.0.1"), options.get("port", 8000), options.get("token", "")
    address = Address(host, token, names, port, path)
    for path in options["RUN"]:
        load(path)  # a misspelt name is noticed here, not at the page
    serve(
        address,
        options["RUN"],
        options.get("runs", Path("runs")),
        options.get("gallery"),
        str(choose_device(options.get("device", "auto"))),
        "open" in options,
        lambda sentence: print(sentence, file=sys.stdout, flush=True),
    )
