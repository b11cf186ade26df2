"""Every page by keyboard, by its accessibility tree, and on the narrowest screens."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

Visit = Callable[..., Any]
CALM = {"reduced_motion": "reduce"}
PAGES = {
    "": ".door",
    "learn": "#few .transport",
    "create": ".go-row",
    "train": ".start",
    "compare": ".sampler-table, .bench",
}

STOP = """() => {
  const element = document.activeElement;
  const around = [element, element.closest('label'), element.parentElement].filter(Boolean);
  const lines = around.map((each) => getComputedStyle(each));
  const box = element.getBoundingClientRect();
  return {
    what: element.outerHTML.slice(0, 120),
    name: element.ariaLabel || element.labels?.[0]?.textContent || element.textContent.trim(),
    ring: lines.some((style) => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2),
    seen: box.bottom > 0 && box.top < innerHeight && box.width > 0,
    end: element === document.body,
  };
}"""
"""What the keyboard is at: its name, whether a line is drawn around it, and whether it is on the screen."""

LEVELS = "[...document.querySelectorAll('h1, h2, h3, h4')].filter((e) => e.checkVisibility()).map((e) => +e.tagName[1])"


@pytest.fixture
def furnished(studio: Any) -> Any:
    """Something on every page."""
    studio.keep(1, 0)
    run = {"id": "demo", "name": "demo", "state": "done", "step": 1000, "total": 1000, "mine": True, "model": "demo"}
    studio.answers |= {
        "/v1/pictures": {"shape": [1, 28, 28], "pictures": []},
        "/v1/recipes": {"recipes": [{"name": "digits", "description": "The demo.", "needs": ""}]},
        "/v1/runs": {"runs": [run]},
        "/v1/data": {"data": []},
    }
    return studio


@pytest.mark.parametrize("name", PAGES)
def test_the_keyboard_reaches_everything_and_it_is_seen_where(visit: Visit, furnished: Any, name: str) -> None:
    page = visit(f"#/{name}", **CALM)
    page.locator(PAGES[name]).first.wait_for()
    stops = []
    for _ in range(150):
        page.keyboard.press("Tab")
        stop = page.evaluate(STOP)
        if stop["end"]:
            break
        stops.append(stop)
    assert len(stops) >= 8
    assert [stop for stop in stops if not (stop["name"] and stop["ring"] and stop["seen"])] == []
    # all of them: what can be reached is one stop each, radio buttons one a group
    reachable = (
        "() => { const all = [...document.querySelectorAll('a[href], button:not(:disabled), select, textarea, summary,"
        ' [tabindex="0"], input:not([tabindex="-1"])\')].filter((e) => e.checkVisibility() && e.tabIndex >= 0);'
        " const radios = all.filter((e) => e.type === 'radio');"
        " return all.length - radios.length + new Set(radios.map((e) => e.name)).size; }"
    )
    assert len(stops) == page.evaluate(reachable)


@pytest.mark.parametrize("name", PAGES)
def test_headings_leave_no_level_out_and_references_lead_somewhere(visit: Visit, furnished: Any, name: str) -> None:
    page = visit(f"#/{name}", **CALM)
    page.locator(PAGES[name]).first.wait_for()
    levels = page.evaluate(LEVELS)
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    lost = (
        "() => ['aria-describedby', 'aria-labelledby', 'aria-controls'].flatMap((kind) =>"
        " [...document.querySelectorAll(`[${kind}]`)].filter((e) => !document.getElementById(e.getAttribute(kind))))"
        ".map((e) => e.outerHTML.slice(0, 120))"
    )
    assert page.evaluate(lost) == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    tree = page.locator("body").aria_snapshot()
    for part in ("banner", "navigation", "main", "heading"):
        assert part in tree


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [320, 390, 768])
def test_no_page_is_wider_than_its_screen(visit: Visit, furnished: Any, name: str, width: int) -> None:
    page = visit(f"#/{name}", width=width, **CALM)
    page.locator(PAGES[name]).first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    header = page.locator(".shell-header").bounding_box()
    assert header["height"] <= 70, "the navigation is one line"


def test_what_plays_does_not_talk(visit: Visit, furnished: Any) -> None:
    page = visit("#/learn", **CALM)
    page.locator("#few .transport").wait_for()
    assert page.locator("output:not([aria-live=off])").count() == 0
    assert (
        page.get_by_role("slider", name="Time since the drop fell").get_attribute("aria-valuetext").startswith("t = ")
    )
