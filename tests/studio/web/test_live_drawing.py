"""Live drawing on the Create page: for fast models alone; the picture follows the sliders, and the newest wish wins."""

from __future__ import annotations

import base64
import io
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.students import Students
from tests.studio.conftest import serving

Visit = Callable[..., Any]
Until = Callable[[Any, str], None]
STUDENT = {
    "words": "4 evaluations (2 or 1 if asked), distilled from digits by halving, guidance from 1 to 4 is a choice",
    "teacher": "digits",
    "steps": [4, 2, 1],
    "sampler": "ddim",
    "strengths": {"4": [1, 0.75, 0.5, 0.25], "2": [1, 0.5], "1": [1]},
    "guidance": 1.0,
    "scales": [1.0, 4.0],
}


def png(text: str) -> str:
    """A picture for each request: what is asked decides its pixels."""
    packed = io.BytesIO()
    dice = np.random.default_rng(list(text.encode()))
    Image.fromarray(dice.integers(0, 256, (28, 28), np.uint8)).save(packed, "PNG")
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()


def picture(body: Any) -> str:
    return png(json.dumps(body, sort_keys=True))


def answer(body: Any) -> dict[str, Any]:
    steps = body["settings"].get("steps", 4)
    return {"index": 0, "id": None, "url": picture(body), "width": 28, "height": 28, "evaluations": steps, "recipe": {}}


@pytest.fixture
def fast(studio: Any) -> Any:
    """A second model, which is fast; a picture depends on all that is asked."""
    digits = studio.answers["/v1/models/digits"]
    sampling = {**digits["sampling"], "sampler": "ddim", "steps": 4, "guidance": 1.0, "classes": []}
    model = {**digits, "id": "fast", "name": "fast", "student": STUDENT, "sampling": sampling}
    studio.answers["/v1/models"]["models"].append({"id": "fast", "name": "fast", "kind": "run", "state": "ready"})
    studio.answers["/v1/models/fast"] = {**model, "live": {"steps": [4, 2, 1], "why": None}}
    studio.posts["/v1/live"] = answer
    return studio


def asked(studio: Any) -> list[Any]:
    return [body for _, path, body in studio.asked if path == "/v1/live"]


def enter(visit: Visit, width: int = 1280, **more: Any) -> Any:
    page = visit("#/create?model=fast", width=width, **more)
    page.get_by_role("tab", name="Live").click()
    return page


def slide(page: Any, name: str, value: float) -> None:
    page.get_by_role("slider", name=name, exact=True).fill(str(value))


def settled(page: Any, until: Until, **wanted: Any) -> str:
    """Wait until the picture is that of a request; its address."""
    url = picture({"model": "fast", "seed": wanted.pop("seed", 0), "settings": {"steps": 4, **PLAIN, **wanted}})
    until(page, f"document.querySelector('.live-picture img').src === {json.dumps(url)}")
    return url


PLAIN = {"classes": ["0"], "guidance": 1}


def test_it_is_there_for_fast_models_alone_and_others_say_why_not(visit: Visit, fast: Any) -> None:
    page = visit("#/create?model=digits")
    page.get_by_text("Live drawing takes a model that draws in at most 8 evaluations of its network.").wait_for()
    tab = page.get_by_role("tab", name="Live")
    assert tab.count() == 0
    page.get_by_label("Model", exact=True).select_option("fast")
    tab.wait_for()
    assert page.get_by_text("Live drawing takes").count() == 0
    tab.click()
    page.get_by_role("img", name="Seed 0, class 0, guidance 1").wait_for()
    page.get_by_label("Model", exact=True).select_option("digits")
    page.get_by_text("Live drawing takes").wait_for()
    assert page.get_by_role("tab", name="Draw anew").get_attribute("aria-selected") == "true"
    assert page.get_by_role("button", name="Draw", exact=True).is_visible()
    assert not page.locator(".live-stage").is_visible()


def test_the_picture_follows_every_slider(visit: Visit, fast: Any, until: Until) -> None:
    page = enter(visit)
    settled(page, until)
    slide(page, "Seed", 12)
    settled(page, until, seed=12)
    slide(page, "Class", 7)
    settled(page, until, seed=12, classes=["7"])
    slide(page, "Guidance", 2.5)
    settled(page, until, seed=12, classes=["7"], guidance=2.5)
    page.get_by_role("radio", name="2", exact=True).check()
    settled(page, until, seed=12, classes=["7"], guidance=2.5, steps=2)
    assert page.get_by_role("img", name="Seed 12, class 7, guidance 2.5").is_visible()
    page.get_by_text(" ms, 2 evaluations").wait_for()
    page.get_by_role("tab", name="Draw anew").click()
    assert page.get_by_label("Seed", exact=True).first.input_value() == "12"


def test_a_morph_ends_in_the_pictures_of_its_seeds(visit: Visit, fast: Any, until: Until) -> None:
    page = enter(visit)
    slide(page, "Seed", 3)
    slide(page, "Morph to seed", 8)
    ends = [settled(page, until, seed=3)]
    for part in (0.25, 0.75):
        slide(page, "Between the seeds", part)
        settled(page, until, seed=3, morph_to=8, morph=part)
        assert (
            page.get_by_role("img", name=f"{part:.0%}".replace("%", " % of the way from seed 3 to seed 8")).count() == 1
        )
    slide(page, "Between the seeds", 1)
    ends.append(settled(page, until, seed=8))
    shown = page.locator(".live-end img").evaluate_all("images => images.map((image) => image.src)")
    assert shown == ends
    page.get_by_role("button", name="Go to seed 3").click()
    settled(page, until, seed=3)
    assert page.get_by_role("slider", name="Between the seeds").input_value() == "0"


def test_of_many_moves_one_is_asked_at_a_time_and_the_last_one_stays(visit: Visit, fast: Any, until: Until) -> None:
    """The server is slow: what was passed over on the way is never asked, and no old answer comes after a newer one."""
    page = enter(visit)
    settled(page, until)
    until(page, "[...document.querySelectorAll('.live-end img')].every((image) => image.src)")
    fast.asked.clear()
    inside, most, first, go = [0], [0], threading.Event(), threading.Event()

    def slow(body: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        first.set()
        assert go.wait(20)
        time.sleep(0.02)
        inside[0] -= 1
        return answer(body)

    fast.posts["/v1/live"] = slow
    page.evaluate("""() => {
      window.seen = [];
      new MutationObserver(() => seen.push(document.querySelector('.live-picture img').src))
        .observe(document.querySelector('.live-picture img'), { attributeFilter: ['src'] });
    }""")
    slide(page, "Between the seeds", 0.01)
    assert first.wait(20)
    for k in range(2, 60):
        slide(page, "Between the seeds", k / 100)
    go.set()
    settled(page, until, morph_to=1, morph=0.59)
    page.wait_for_timeout(200)
    assert most[0] == 1
    assert [body["settings"].get("morph") for body in asked(fast)] == [0.01, 0.59]
    seen = page.evaluate("seen")
    assert seen == [picture(body) for body in asked(fast)]


def test_the_answer_of_a_model_that_was_left_is_not_shown(visit: Visit, fast: Any, until: Until) -> None:
    other = {**fast.answers["/v1/models/fast"], "id": "other", "name": "other"}
    fast.answers["/v1/models/other"] = other
    fast.answers["/v1/models"]["models"].append({"id": "other", "name": "other", "kind": "run", "state": "ready"})
    late = threading.Event()
    fast.posts["/v1/live"] = lambda body: (body["model"] == "other" or late.wait(20)) and answer(body)
    page = enter(visit)
    until(page, "document.querySelector('.live-stage').checkVisibility()")
    page.get_by_label("Model", exact=True).select_option("other")
    page.get_by_role("img", name="Seed 0, class 0, guidance 1").wait_for()
    late.set()
    page.wait_for_timeout(300)
    mine = picture({"model": "other", "seed": 0, "settings": {"steps": 4, **PLAIN}})
    assert page.locator(".live-picture img").get_attribute("src") == mine


def test_a_picture_is_kept_as_it_is_seen(visit: Visit, fast: Any, until: Until) -> None:
    page = enter(visit)
    slide(page, "Between the seeds", 0.4)
    settled(page, until, morph_to=1, morph=0.4)
    page.get_by_role("button", name="Keep this picture").click()
    page.get_by_text("Kept: 40 % of the way from seed 0 to seed 1, class 0, guidance 1.").wait_for()
    (body,) = [body for _, path, body in fast.asked if path == "/v1/samples"]
    seen = {"model": "fast", "seed": 0, "settings": {"steps": 4, **PLAIN, "morph_to": 1, "morph": 0.4}}
    assert body == {**seen, "n": 1, "previews": 0}
    page.locator(".gallery-grid button").wait_for()


def test_a_morph_in_the_gallery_names_both_seeds(visit: Visit, fast: Any) -> None:
    item = fast.keep(3, 0)
    item["recipe"]["settings"] |= {"morph_to": 8, "morph": 0.5}
    page = visit("#/create?model=fast")
    page.get_by_text("seed 3 to 8", exact=True).wait_for()
    page.get_by_role("button", name="digits, drawn, seed 3 to 8, number 0").click()
    page.get_by_role("dialog").get_by_text("Morph to", exact=True).wait_for()
    assert page.locator(".recipe").get_by_text("0.5", exact=True).count() == 1
    page.get_by_role("button", name="Use its settings").click()
    page.get_by_text("More settings").click()
    assert page.get_by_label("Morph to", exact=True).input_value() == "8"
    page.get_by_role("tab", name="Change a picture").click()
    assert not page.get_by_label("Morph to", exact=True).is_visible(), "an edit begins with a picture"


def test_what_cannot_be_drawn_is_said_and_the_next_move_is_tried(visit: Visit, fast: Any, until: Until) -> None:
    page = enter(visit, refused=True)
    settled(page, until)
    fast.refusal = (429, "The studio is busy; try again in 1 s")
    slide(page, "Seed", 5)
    page.get_by_role("alert").get_by_text("The studio is busy").wait_for()
    tried = len(asked(fast))
    page.wait_for_timeout(300)
    assert len(asked(fast)) == tried, "it is not asked over and over"
    fast.refusal = None
    slide(page, "Seed", 6)
    settled(page, until, seed=6)
    assert page.get_by_text("The studio is busy").count() == 0


def test_a_text_is_followed_as_it_is_typed(visit: Visit, fast: Any, until: Until) -> None:
    """A model of texts without classes and with one number of steps: what it lacks has no slider."""
    student = {**STUDENT, "steps": [4], "scales": []}
    more = {"conditions": ["text"], "classes": [], "student": student, "live": {"steps": [4], "why": None}}
    fast.answers["/v1/models/fast"] |= more
    page = enter(visit)
    page.get_by_role("img", name="Seed 0", exact=True).wait_for()
    for name in ("Class", "Guidance"):
        assert page.get_by_role("slider", name=name).count() == 0
    assert page.get_by_role("group", name="Evaluations").count() == 0
    page.get_by_label("What it shows").press_sequentially("a dot")
    until(page, f"document.querySelector('.live-picture img').src === {json.dumps(png(DOT))}")


DOT = json.dumps({"model": "fast", "seed": 0, "settings": {"text": "a dot"}}, sort_keys=True)


def test_a_move_that_came_while_a_request_failed_is_drawn(visit: Visit, fast: Any, until: Until) -> None:
    page = enter(visit, refused=True)
    settled(page, until)
    asked_for, go = threading.Event(), threading.Event()

    def once(body: Any) -> Any:
        if body["seed"] != 5:
            return answer(body)
        asked_for.set()
        go.wait(20)
        return {"error": "The studio is busy; try again in 1 s"}, 429

    fast.posts["/v1/live"] = once
    slide(page, "Seed", 5)
    assert asked_for.wait(20)
    slide(page, "Seed", 6)
    go.set()
    settled(page, until, seed=6)
    assert page.get_by_text("The studio is busy").count() == 0


def test_a_model_that_cannot_be_loaded_leaves_nothing_to_move(visit: Visit, fast: Any, until: Until) -> None:
    page = enter(visit, refused=True)
    settled(page, until)
    fast.answers["/v1/models/digits"] = ({"error": "The checkpoint is damaged."}, 422)
    page.get_by_label("Model", exact=True).select_option("digits")
    page.get_by_text("The checkpoint is damaged.").wait_for()
    fast.asked.clear()
    slide(page, "Between the seeds", 0.3)
    page.wait_for_timeout(200)
    assert asked(fast) == []
    assert page.get_by_role("button", name="Keep this picture").is_disabled()


def test_it_is_drawn_with_the_keyboard_alone(visit: Visit, fast: Any, until: Until) -> None:
    page = visit("#/create?model=fast")
    page.get_by_role("tab", name="Draw anew").focus()
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("tab", name="Live").get_attribute("aria-selected") == "true"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    settled(page, until, seed=1)
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert page.get_by_role("slider", name="Class").get_attribute("aria-valuetext") == "9"
    until(page, "document.querySelector('.live-picture img').alt.startsWith('Seed 1, class 9')")
    assert [path for _, path, _ in fast.asked if path != "/v1/live"] == []
    buttons = page.locator(".live-stage, [role=tabpanel]:not([hidden])").get_by_role("button")
    names = buttons.evaluate_all("buttons => buttons.map((each) => each.ariaLabel || each.textContent)")
    assert names == ["Another seed", "Another seed to morph to", "Go to seed 1", "Go to seed 1", "Keep this picture"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 768, 1280])
def test_picture_and_sliders_are_in_sight_together(
    visit: Visit, fast: Any, until: Until, width: int, theme: str
) -> None:
    page = enter(visit, width=width, color_scheme=theme)
    settled(page, until)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in ("Seed", "Morph to seed", "Class", "Guidance", "Between the seeds"):
        handle = page.get_by_role("slider", name=name, exact=True)
        handle.focus()
        handle.scroll_into_view_if_needed()
        page.keyboard.press("ArrowRight")
        free = handle.evaluate("""(slider) => {
          const at = (box) => document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
          const picture = document.querySelector('.live-picture');
          const mine = at(slider.getBoundingClientRect());
          return { slider: mine === slider, picture: picture.contains(at(picture.getBoundingClientRect())) };
        }""")
        assert free == {"slider": True, "picture": True}, name


def test_a_real_server_draws_as_the_page_asks(browser: Any, until: Until, students: Students, tmp_path: Path) -> None:
    """The ends of a morph are the samples of both seeds, and what is kept is what was seen."""
    shutil.copy(students.consistency, tmp_path / "fast.safetensors")
    with serving(tmp_path, "fast.safetensors") as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{address}/#/create?model=fast")
        page.get_by_role("tab", name="Live").click()
        shown = "document.querySelector('.live-picture img')"
        until(page, f"{shown}.alt.startsWith('Seed 0, class')")
        until(page, "[...document.querySelectorAll('.live-end img')].every((image) => image.src)")
        ends = page.locator(".live-end img").evaluate_all("images => images.map((image) => image.src)")
        assert page.evaluate(f"{shown}.src") == ends[0]
        slide(page, "Between the seeds", 1)
        until(page, f"{shown}.alt.startsWith('Seed 1, class')")
        assert page.evaluate(f"{shown}.src") == ends[1]
        slide(page, "Between the seeds", 0.5)
        until(page, f"{shown}.alt.startsWith('50 %')")
        seen = page.evaluate(f"{shown}.src")
        assert seen not in ends
        page.get_by_role("button", name="Keep this picture").click()
        page.locator(".gallery-grid img").wait_for()
        (kept,) = sorted((tmp_path / "runs" / "studio").glob("*.png"))
        with Image.open(kept) as old, Image.open(io.BytesIO(base64.b64decode(seen.partition(",")[2]))) as new:
            assert np.array_equal(np.asarray(old), np.asarray(new))
            assert '"morph_to": 1' in old.text["undiffuse"]
        context.close()
