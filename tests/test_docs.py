"""Code and commands of the documentation are understood, its links lead somewhere, its prose fits any editor."""

from __future__ import annotations

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from undiffuse import cli
from undiffuse.cli.parser import Parser

ROOT = Path(__file__).parents[1]
HEADS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
PAGES = [*HEADS, *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGE = ROOT / "src" / "undiffuse"
SNIPPETS = [
    pytest.param(code, id=f"{path.name}-{number}")
    for path in (ROOT / "README.md", ROOT / "docs" / "learn" / "derivation.md")
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL))
]
NAMED = r"(?<![\w/.(])(?!benchmarks/results)(?:docs|benchmarks|tests)/[\w/-]+\.\w+|-m (benchmarks(?:\.[a-z0-9_]+)+)"
"""A page, a picture or a script, as docstrings, sentences and code name it from the repository's root."""


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippet_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    exec(compile(code, "snippet", "exec"), {})


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a link may name of a page: its headings, in small letters, without punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)", prose(page))
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_fits_a_line_of_120(page):
    text = re.sub(r"\$\$.*?\$\$", "", prose(page), flags=re.DOTALL)
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_every_page_and_script_that_a_file_names_exists():
    files = [path for top in ("src", "tests", "benchmarks") for path in (ROOT / top).rglob("*.py")]
    missing, found = [], 0
    for path in [*files, *PAGES]:
        for match in re.finditer(NAMED, path.read_text(encoding="utf-8")):
            name = match[1].replace(".", "/") + ".py" if match[1] else match[0]
            found += 1
            if not (ROOT / name).exists():
                missing.append(f"{path}: {name}")
    assert found > 100
    assert missing == []


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, code) of every block of code in a language."""
    found = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [(page.name, code) for page in PAGES for code in found.findall(page.read_text(encoding="utf-8"))]


def test_what_a_page_imports_of_undiffuse_is_there():
    imports = [
        (page, node.module, name.name)
        for page, code in blocks("python")
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("undiffuse.")
        for name in node.names
    ]
    assert len(imports) > 10
    assert [found for found in imports if not hasattr(import_module(found[1]), found[2])] == []


def test_every_command_of_a_page_is_understood():
    lines = [line for _, code in blocks("sh") for line in code.splitlines() if line.startswith("undiffuse ")]
    assert len(lines) > 80
    for line in lines:
        name, rest = cli._command(shlex.split(line, comments=True)[1:])
        command, parser = cli._module(name), Parser(f"undiffuse {name}", "")
        command.configure(parser)
        parser.parse(rest)


def test_the_tree_of_the_house_names_every_room():
    tree = (ROOT / "docs/develop/architecture.md").read_text(encoding="utf-8").split("```")[1]
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(re.findall(r"^  (\w+)/", tree, flags=re.MULTILINE)) == rooms


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/develop/architecture.md"])
def test_where_things_go_is_there(page):
    places = re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", (ROOT / page).read_text(encoding="utf-8"))
    assert len(places) > 25
    assert [place for place in places if not (PACKAGE / place).exists() and not (ROOT / place).exists()] == []
