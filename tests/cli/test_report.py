"""The report stands alone and tells the truth."""

from __future__ import annotations

import base64
import io
import re
import shlex
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from undiffuse.cli import main
from undiffuse.config.files import read_config
from undiffuse.errors import UndiffuseError
from undiffuse.reports import write_report
from undiffuse.reports.page import MAX_SIDE, data_uri, figure, table

Command = Callable[..., Any]
"""The fixture `undiffuse`: words to what came of them."""


class Page(HTMLParser):
    """Checks that elements close in order, and collects what a page loads and says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []
        self.headings: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in ("meta", "img", "line", "polyline", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "polyline", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def test_the_page_is_whole_and_loads_nothing(run: Path) -> None:
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.sources) > 20
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "<script" not in text
    assert not re.search(r"url\(|@import", text)
    assert page.headings == [
        "Samples",
        "Through training",
        "Into noise",
        "Out of noise",
        "Curves",
        "Schedule",
        "Commands",
        "Everything it depends on",
    ]


def test_the_last_grid_of_the_training_is_the_first_picture(run: Path) -> None:
    first = Page(write_report(run).read_text(encoding="utf-8")).sources[0]
    with (
        Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2]))) as shown,
        Image.open(run / "samples" / "step-00000006.png") as drawn,
    ):
        assert shown.tobytes() == drawn.tobytes()


def test_the_command_that_it_shows_makes_the_same_settings(run: Path, tmp_path: Path) -> None:
    text = "".join(Page(write_report(run).read_text(encoding="utf-8")).words)
    command = next(line for line in text.splitlines() if "undiffuse train " in line)
    words = shlex.split(command[command.index("undiffuse train ") :])
    assert "--gamma" not in words  # the recipe's choice goes without saying
    assert main([*words[1:], "--runs", str(tmp_path / "again"), "--quiet"]) == 0
    assert read_config(tmp_path / "again" / "tiny" / "config.yaml") == read_config(run / "config.yaml")


def test_the_command_that_it_shows_names_the_folder_of_the_runs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(path: Path) -> str:
        text = "".join(Page(write_report(path).read_text(encoding="utf-8")).words)
        return next(line for line in text.splitlines() if "undiffuse train " in line)

    assert shlex.join(["--name", "tiny", "--runs", str(run.parent)]) in shown(run)
    monkeypatch.chdir(tmp_path)
    assert "--runs" not in shown(Path("runs/tiny"))
    assert "--runs" not in shown(run)
    monkeypatch.chdir(run.parent)
    assert "--name tiny --runs ." in shown(Path("tiny"))


def test_a_report_without_data_grids_and_curves_says_what_is_missing(run: Path, data: Path) -> None:
    shutil.rmtree(run / "samples")
    (run / "metrics.jsonl").unlink()
    kept = data.read_bytes()
    data.unlink()
    try:
        text = write_report(run).read_text(encoding="utf-8")
    finally:
        data.write_bytes(kept)
    assert "are not where they were" in text
    assert "nothing to draw yet" in text
    assert "for comparison" not in text


def test_names_are_escaped(run: Path) -> None:
    strange = run.rename(run.with_name("<b>&amp;"))
    text = write_report(strange).read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;amp;" in text
    assert "<i>" not in figure(Image.new("L", (2, 2)), "<i>") + table({"<i>": "<i>"}, "<i>")


def test_a_report_is_written_anew_by_the_command(undiffuse: Command, run: Path) -> None:
    for _ in range(2):
        said = undiffuse("report", run)
        assert said.status == 0, said.err
        assert str(run / "report.html") in said.out


def test_large_pictures_are_packed_small() -> None:
    large = data_uri(Image.effect_noise((3000, 1500), 80))
    with Image.open(io.BytesIO(base64.b64decode(large.partition(",")[2]))) as image:
        assert image.size == (MAX_SIDE, MAX_SIDE // 2)


def test_what_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UndiffuseError, match="neither"):
        write_report(tmp_path)
