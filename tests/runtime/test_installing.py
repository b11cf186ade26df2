"""Hints of what to install are right for how this undiffuse was installed, and name this environment's pip."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from undiffuse.runtime import installing
from undiffuse.runtime.installing import install, install_extra, upgrade


class Installed:
    """A distribution that says where it came from."""

    def __init__(self, origin: dict[str, Any] | None) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.origin is None else json.dumps(self.origin)


@pytest.fixture
def pip_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This environment's pip is the first on the PATH."""
    monkeypatch.setattr(installing.shutil, "which", lambda name: str(Path(sys.executable).parent / name))


def came_from(monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(origin))


@pytest.mark.parametrize(
    ("origin", "newer"),
    [
        (None, "pip install --upgrade undiffuse"),
        ({"url": "file:///a%20b/c", "dir_info": {"editable": True}}, "git -C '/a b/c' pull"),
        ({"url": "file:///a/c", "dir_info": {}}, "git -C /a/c pull && pip install /a/c"),
        (
            {"url": "https://x.org/r.git", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            "pip install --upgrade 'undiffuse @ git+https://x.org/r.git'",
        ),
        ({"url": "file:///w/u-1.whl", "archive_info": {}}, "pip install FILE, a newer one than u-1.whl"),
        ([], "pip install --upgrade undiffuse"),
    ],
)
def test_a_newer_version_comes_from_where_this_one_came_from(
    monkeypatch: pytest.MonkeyPatch, pip_of: None, origin: Any, newer: str
) -> None:
    came_from(monkeypatch, origin)
    assert upgrade() == newer
    assert install_extra("hub") == "pip install 'undiffuse[hub]'"


def test_a_source_tree_that_is_not_installed_is_named_by_its_folder(
    monkeypatch: pytest.MonkeyPatch, pip_of: None
) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", missing)
    monkeypatch.setattr(installing, "_sources", lambda: Path("/a clone"))
    assert install_extra("hub") == "pip install -e '/a clone[hub]'"
    assert upgrade() == "git -C '/a clone' pull"


def test_another_environments_pip_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    came_from(monkeypatch, None)
    python = shlex.quote(sys.executable)
    for found in (None, "/usr/bin/pip"):
        monkeypatch.setattr(installing.shutil, "which", lambda name, found=found: found)
        assert install_extra("hub") == f"{python} -m pip install 'undiffuse[hub]'"
        assert install("a>=1", options="--no-deps") == f"{python} -m pip install --no-deps 'a>=1'"


@pytest.mark.slow
def test_pip_takes_the_undiffuse_that_is_there_for_an_extra() -> None:
    """Without any index: only what the extra adds would be fetched."""
    if not metadata.distribution("undiffuse").read_text("RECORD"):
        pytest.skip("undiffuse is on the path and not installed")
    words = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "undiffuse[onnx]"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert "Requirement already satisfied: undiffuse[onnx]" in done.stdout
