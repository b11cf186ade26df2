"""What to type to get a part that is missing, right for the way in which this undiffuse was installed.

An extra is asked for by the installed distribution's name: pip then takes the one that is there, from wherever it came,
and fetches what the extra adds alone. What has to be right is whose pip that is (the first on the PATH may be another
environment's, which would look up a package of this name), and what to do where nothing is installed: a source tree on
PYTHONPATH is named by its folder. A newer version comes from where this one came from.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from importlib import metadata, util
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from undiffuse.errors import UndiffuseError

NAME = "undiffuse"


def install_extra(extra: str, options: str = "") -> str:
    """The command that installs what an extra brings: ``pip install 'undiffuse[hub]'``.

    Args:
        extra: one of pyproject.toml.
        options: of pip install.
    """
    what = f"'{NAME}[{extra}]'"
    if _distribution() is None and (sources := _sources()) is not None:
        what = f"-e {shlex.quote(f'{sources}[{extra}]')}"
    return " ".join(filter(None, [pip(), "install", options, what]))


def need(module: str, sentence: str, extra: str) -> None:
    """Refuse to go on without a module that an extra brings.

    Raises:
        UndiffuseError: the sentence, and how to install the extra.
    """
    if util.find_spec(module) is None:
        raise UndiffuseError(f"{sentence}: {install_extra(extra)}")


def install(*packages: str, options: str = "") -> str:
    """The command that installs packages of others."""
    return " ".join(filter(None, [pip(), "install", options, *map(shlex.quote, packages)]))


def upgrade() -> str:
    """The command that brings a newer undiffuse, from where this one came."""
    origin = _origin()
    address = str(origin.get("url", ""))
    if "vcs_info" in origin:
        return install(f"{NAME} @ {origin['vcs_info'].get('vcs', 'git')}+{address}", options="--upgrade")
    if "dir_info" in origin:
        folder = shlex.quote(unquote(urlsplit(address).path))
        if origin["dir_info"].get("editable"):
            return f"git -C {folder} pull"
        return f"git -C {folder} pull && {pip()} install {folder}"
    if "archive_info" in origin:
        return f"{pip()} install FILE, a newer one than {address.rpartition('/')[2]}"
    if _distribution() is None and (sources := _sources()) is not None:
        return f"git -C {shlex.quote(str(sources))} pull"
    return install(NAME, options="--upgrade")


def check_format(version: object, newest: int, where: object, what: str = "format") -> None:
    """Check that a file's version, which may be anything, is one that this undiffuse reads."""
    if type(version) is not int or version > newest:
        raise UndiffuseError(
            f"{where} has {what} {version!r:.20}, this undiffuse reads up to {newest}; upgrade with: {upgrade()}"
        )


def pip() -> str:
    """``pip`` where that is this environment's, else by this environment's Python."""
    found, here = shutil.which("pip"), Path(sys.executable).parent
    return "pip" if found and Path(found).parent == here else f"{shlex.quote(sys.executable or 'python')} -m pip"


def _distribution() -> metadata.Distribution | None:
    try:
        return metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        return None


def _origin() -> dict[str, Any]:
    """The place where pip got it from (PEP 610); empty where that was an index by name."""
    found = _distribution()
    try:
        tree = json.loads((found and found.read_text("direct_url.json")) or "{}")
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}


def _sources() -> Path | None:
    """The source tree that this file stands in, if it is one."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").is_file() else None
