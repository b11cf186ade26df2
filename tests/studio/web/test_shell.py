"""The studio's frame: home, navigation, light and dark, and pages that cannot be shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from undiffuse.studio.page_files import FOLDER

Visit = Callable[..., Any]
Until = Callable[[Any, str], None]
CALM = {"reduced_motion": "reduce"}
BACKGROUND = "getComputedStyle(document.documentElement).backgroundColor"


def imports_of(module: Path) -> list[Path]:
    found = re.findall(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""", module.read_text())
    return [(module.parent / each).resolve() for each in found]


def test_no_two_modules_of_the_page_need_each_other() -> None:
    graph = {module.resolve(): imports_of(module) for module in (FOLDER / "js").rglob("*.js")}
    assert len(graph) > 40
    assert {each for needed in graph.values() for each in needed} <= set(graph)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_home_page_opens_every_door(visit: Visit, studio: Any, until: Until) -> None:
    studio.answers["/v1/pictures"] = {"shape": [1, 28, 28], "pictures": []}
    page = visit("#/", **CALM)
    doors = page.locator(".door")
    doors.nth(3).wait_for()
    assert [page.locator(".door h2").nth(k).text_content() for k in range(doors.count())] == [
        "Learn",
        "Create",
        "Train",
        "Compare",
    ]
    page.get_by_role("link", name="Understand it in ten minutes").click()
    page.get_by_role("heading", name="How pictures come out of noise").wait_for()
    assert page.url.endswith("#/learn")
    until(page, "document.activeElement.id === 'main'")  # a screen reader begins at the new page
    page.go_back()
    page.get_by_role("heading", name="Noise, taken back one step at a time.").wait_for()


def test_the_keyboard_skips_the_navigation(visit: Visit) -> None:
    page = visit("#/", **CALM)
    page.locator(".hero").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_digits_of_the_home_page_stand_still_where_motion_is_unwelcome(visit: Visit, until: Until) -> None:
    page = visit("#/", **CALM)
    page.get_by_role("button", name="Play again").wait_for()
    bytes_of = "(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    shot = f"{bytes_of}(document.querySelector('.hero-picture canvas')).reduce((a, b) => a + b)"
    until(page, f"{shot} > 0")  # the walks have come
    first = page.evaluate(shot)
    page.wait_for_timeout(200)
    assert page.evaluate(shot) == first
    page.get_by_role("button", name="Play again").click()
    until(page, f"{shot} !== {first}")


def test_dark_follows_the_system_until_a_person_chooses_and_is_remembered(visit: Visit) -> None:
    page = visit("#/", color_scheme="dark", **CALM)
    page.locator(".hero").wait_for()
    dark = page.evaluate(BACKGROUND)
    page.emulate_media(color_scheme="light")
    page.get_by_role("button", name="Use dark colours").wait_for()
    assert page.evaluate(BACKGROUND) != dark
    page.get_by_role("button", name="Use dark colours").click()
    assert page.evaluate(BACKGROUND) == dark
    page.reload()
    page.get_by_role("button", name="Use light colours").wait_for()
    assert page.evaluate(BACKGROUND) == dark


def test_an_embedding_page_may_ask_for_the_dark(visit: Visit) -> None:
    page = visit("page/learn.html?panel=guidance&theme=dark", **CALM)
    assert page.get_attribute("html", "data-theme") == "dark"


def test_an_address_that_is_no_page_shows_the_home_page(visit: Visit) -> None:
    page = visit("#/nowhere", **CALM)
    page.locator(".hero").wait_for()


def test_the_page_names_no_other_host_and_runs_no_inline_code() -> None:
    allowed = ("http://www.w3.org/",)  # names of SVG and MathML, never fetched
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix not in (".js", ".css", ".html", ".svg"):
            continue
        text = path.read_text()
        for mark in ("http://", "https://", "//cdn"):
            for part in text.split(mark)[1:]:
                assert (mark + part).startswith(allowed), (path.name, part[:40])
        assert "eval(" not in text, path.name
        assert "innerHTML" not in text, path.name
        if path.suffix == ".html":
            assert all("src=" in tag for tag in text.split("<script")[1:]), path.name
            assert "style=" not in text, path.name
