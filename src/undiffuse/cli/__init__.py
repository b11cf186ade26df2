"""The command line: ``undiffuse COMMAND ...``.

* A command is a module of this package with two functions, ``configure(parser)`` and ``run(typed)``, or made of the row
  of a table (`TABLES`), and one row in `COMMANDS`. It calls the functions of Python's users and adds nothing but words.
* Only the command that was named is imported, and torch only where it is used: ``--help`` answers at once.
* A mistake of the user is one sentence on standard error and exit status 2, and so is what the system refuses. A
  traceback is a bug of ours.
* Standard output takes any text (`standard_streams`), and a command writes its files before it says what is in them.
* Whatever is printed calls settings by their options (`spelling`).
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, TextIO

from undiffuse.cli.parser import Parser
from undiffuse.cli.spelling import spelled_streams
from undiffuse.config.registry import load_packages
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.runtime.allocator import keep_freed_memory
from undiffuse.runtime.rank_failure import speaks
from undiffuse.runtime.standard_streams import open_streams
from undiffuse.runtime.torchrun import follows
from undiffuse.version import __version__

COMMANDS = {
    "train": "learn from a data set: undiffuse train photos/ --size 64",
    "sweep": "trainings whose settings vary, compared: undiffuse sweep photos/ --vary lr=1e-4,3e-4 --minutes 10",
    "train-classifier": "a classifier of noisy images that leads a run: undiffuse train-classifier photos/ --run RUN",
    "distill": "a fast model of a slow one, 1 to 4 evaluations: undiffuse distill runs/NAME",
    "sample": "draw pictures from a run, or one picture again: undiffuse sample runs/NAME -n 64",
    "studio": "a page on this machine: understand, train, make pictures, compare: undiffuse studio",
    "report": "write runs/NAME/report.html: samples, curves, settings in one file",
    "evaluate": "how good images are: FID and the like with floors: undiffuse evaluate runs/NAME -n 5000",
    "compare": "runs side by side in one HTML file: undiffuse compare runs/A runs/B",
    "likelihood": "bits per dimension of images under a model: undiffuse likelihood runs/NAME photos/",
    "anomaly": "which images a model finds strange, and where: undiffuse anomaly runs/NAME photos/",
    "memorization": "whether samples are copies of training images: undiffuse memorization runs/NAME --held-out DATA",
    "ema": "averages of any length after a training with --ema-std: undiffuse ema runs/NAME --std 0.02,0.05",
    "timesteps": "choose the times of a few steps for a run: undiffuse timesteps runs/NAME --evaluations 5,10",
    "info": "what a picture, a run or a checkpoint says of itself",
    "bench": "how fast a run or a recipe is here, and what to change: undiffuse bench runs/NAME",
    "data": "look at a data set before training: counts, shapes, refused files, a contact sheet",
    "animate forward": "a picture dissolving into noise",
    "animate reverse": "pictures coming out of noise, as a run's model sees them",
    "animate brownian": "ink in water becoming a Gaussian cloud",
    "edit inpaint": "paint anew what a mask marks: undiffuse edit inpaint runs/NAME photo.png --mask mask.png",
    "edit outpaint": "paint more around a picture: undiffuse edit outpaint runs/NAME photo.png --right 64",
    "edit upscale": "make pictures larger: undiffuse edit upscale runs/NAME small.png --factor 4",
    "edit colorize": "give grey pictures colour, by a model of colour pictures",
    "edit deblur": "sharpen pictures blurred by a Gaussian: undiffuse edit deblur runs/NAME photo.png --std 1.5",
    "edit denoise": "find how noisy a picture is and take the noise off",
    "edit vary": "variations of a picture: undiffuse edit vary runs/NAME photo.png --strength 0.4 -n 8",
    "edit translate": "to another class: undiffuse edit translate digits seven.png --from seven --to three",
    "edit interpolate": "from one picture to another: undiffuse edit interpolate runs/NAME a.png b.png",
    "edit invert": "the noise that a picture comes from, and how well it gives it back",
    "cascade make": "set models that enlarge upon one of small pictures: undiffuse cascade make BASE STAGE --name NAME",
    "convert": "a model for other programs: undiffuse convert runs/NAME DIR --to diffusers, or onnx, pt2, file",
    "push": "a model to the Hugging Face hub: undiffuse push runs/NAME ORG/NAME --dry-run",
    "recipes": "the recipes of undiffuse train, what they need and what they reached",
    "samplers": "the samplers of undiffuse sample",
    "doctor": "versions, device, memory, optional parts: what to send with a question",
}

ALIASES = {"memorisation": "memorization"}
"""Other spellings of commands."""
TOGETHER = ("train", "distill", "sample", "likelihood", "evaluate")
"""Commands that share their work out where torchrun starts several processes; in the others rank 0 works alone."""
SERVERS = ("studio",)
"""Commands that run for days and should give memory back after a large request."""

TABLES = ("edit",)
"""First words of commands that are made from a table, by `command` of their package's module of that name."""

USAGE = """undiffuse: denoising diffusion models, from a data set to new pictures.

usage: undiffuse COMMAND [OPTIONS]

{commands}

  undiffuse COMMAND --help    the options of a command
  undiffuse --version         the version
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 2 for a mistake, 130 for Ctrl-C."""
    with open_streams(), spelled_streams():
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                load_packages()
                _dispatch(list(sys.argv[1:] if argv is None else argv))
            sys.stdout.flush()
        except UndiffuseError as error:
            if speaks(error):
                _tell(f"undiffuse: {error}")
            return error.status
        except KeyboardInterrupt:
            _tell("\nundiffuse: stopped")
            return 130
        except BrokenPipeError:
            # `undiffuse ... | head` has read enough.
            _forget(sys.stdout)
        except RuntimeError as error:
            if "home directory" not in str(error):  # Path.home's and expanduser's, called by libraries
                raise
            _tell("undiffuse: a library looks for the home folder, and this user has none: set HOME to a folder")
            return UndiffuseError.status
        except OSError as error:
            if error.errno is None:
                raise  # no word of the system's: a bug of ours
            _tell(f"undiffuse: {_refusal(error)}")
            return UndiffuseError.status
    return 0


def _tell(sentence: str) -> None:
    """A sentence on standard error, if anybody is there to hear it: a terminal may have been closed."""
    with suppress(OSError, ValueError):
        print(sentence, file=sys.stderr, flush=True)


def _refusal(error: OSError) -> str:
    """A sentence for what the system refused."""
    what = error.strerror or str(error)
    if error.filename is not None:
        do = "name a shorter one" if error.errno == errno.ENAMETOOLONG else "mend that, or name another place"
        return f"the system refused {os.fsdecode(error.filename)}: {what}; {do}"
    frames = list(traceback.walk_tb(error.__traceback__))
    if frames[-1][0].f_globals["__name__"].startswith(__name__):  # commands print and leave files to others
        _forget(sys.stdout)
        return f"could not write to standard output: {what}; mend that, what was written to files is there"
    return f"the system refused to go on: {what}; mend that, and start again"


def _forget(stream: TextIO) -> None:
    """Send the rest of the buffer nowhere, so that the interpreter does not complain when it flushes it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _show_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    """A warning as one line, without the place in the code that raised it."""
    print(f"undiffuse: {message}", file=sys.stderr)


def _dispatch(argv: list[str]) -> None:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
    elif argv[0] in ("--version", "-V"):
        print(f"undiffuse {__version__}")
    else:
        name, rest = _command(argv)
        module = _module(name)
        parser = Parser(f"undiffuse {name}", module.__doc__ or "")
        module.configure(parser)
        if "-h" in rest or "--help" in rest:
            print(parser.format_help(), end="")
        elif name in TOGETHER or not follows():
            typed = parser.parse(rest)
            if name not in SERVERS:
                keep_freed_memory()
            module.run(typed)


def _module(name: str) -> Any:
    """The module of a command, or what the module of a table makes of its row."""
    group, _, row = name.partition(" ")
    if group in TABLES:
        return import_module(f"undiffuse.cli.{group}.make_commands").command(row)
    return import_module(f"undiffuse.cli.{name.replace(' ', '.').replace('-', '_')}")


def usage() -> str:
    """The page of ``undiffuse --help``."""
    rows = "\n".join(f"  {name:<18}{summary}" for name, summary in COMMANDS.items())
    return USAGE.format(commands=rows)


def _command(argv: list[str]) -> tuple[str, list[str]]:
    """The command, of one word or two, and its arguments."""
    first, rest = ALIASES.get(argv[0], argv[0]), argv[1:]
    if first in COMMANDS:
        return first, rest
    seconds = [name.split()[1] for name in COMMANDS if name.startswith(f"{first} ")]
    if first in TABLES and not (rest and rest[0] in seconds):  # importing the table takes a while
        seconds = list(dict.fromkeys([*seconds, *import_module(f"undiffuse.cli.{first}.make_commands").EDITS]))
    if seconds:
        second = rest[0] if rest else ""
        if second in seconds:
            return f"{first} {second}", rest[1:]
        if second in ("", "-h", "--help"):
            raise UndiffuseError(f"undiffuse {first} needs one of {', '.join(seconds)}: undiffuse {first} {seconds[0]}")
        raise UndiffuseError(f"There is no command '{first} {second}'{perhaps(second, seconds)}")
    raise UndiffuseError(f"There is no command '{first}'{perhaps(first, {name.split()[0] for name in COMMANDS})}")
