"""Create, as a person uses it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

Visit = Callable[..., Any]


def posted(studio: Any, path: str) -> Any:
    """The last request to a path."""
    return [body for method, asked, body in studio.asked if method == "POST" and asked == path][-1]


def part(body: bytes, name: str) -> bytes:
    """One part of a multipart body."""
    head, content = body.split(b'name="' + name.encode() + b'"', 1)[1].split(b"\r\n\r\n", 1)
    assert head is not None
    return content.split(b"\r\n--", 1)[0]


def draw(page: Any, count: int) -> None:
    page.get_by_label("Pictures", exact=True).fill(str(count))
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_text(f"{count} pictures in").wait_for()


def test_drawing_streams_previews_and_fills_the_gallery(visit: Any, studio: Any) -> None:
    page = visit("#/create")
    page.get_by_text("28 × 28, grey, 0.7 million parameters").wait_for()
    page.get_by_label("7", exact=True).check()
    page.get_by_label("Seed", exact=True).fill("3")
    page.get_by_label("Steps", exact=True).fill("6")
    draw(page, 4)
    asked = posted(studio, "/v1/samples")
    assert (asked["model"], asked["n"], asked["seed"], asked["previews"]) == ("digits", 4, 3, 4)
    assert asked["settings"]["classes"] == ["7"]
    assert asked["settings"]["guidance"] == 2.0, "the recipe's advice"
    assert asked["settings"]["steps"] == 6
    assert page.locator(".canvas button.tile").count() == 4
    page.locator(".gallery-grid button").nth(3).wait_for()
    # the walk can be looked back on: the six steps and the pictures themselves
    scrub = page.get_by_label("The way out of the noise", exact=True)
    scrub.fill("0")
    assert page.locator(".canvas button.tile img").first.get_attribute("src").startswith("data:image/png")
    scrub.fill("6")
    assert page.locator(".canvas button.tile img").first.get_attribute("src").startswith("/v1/gallery/")


def test_cancel_ends_a_job(visit: Any, studio: Any) -> None:
    studio.pace = 0.2
    page = visit("#/create")
    page.get_by_text("million parameters").wait_for()
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_text("step 1 of 20").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()
    assert ("DELETE", "/v1/samples/job0", None) in studio.asked
    assert page.get_by_role("button", name="Draw", exact=True).is_enabled()


def test_what_the_studio_refuses_is_said_as_it_says_it(visit: Any, studio: Any) -> None:
    page = visit("#/create", refused=True)
    page.get_by_text("million parameters").wait_for()
    studio.refusal = (429, "The queue is full: 64 requests wait already.")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_role("status").get_by_text("The queue is full: 64 requests wait already.").wait_for()
    page.get_by_label("Seed", exact=True).fill("many")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_text("The seed is a whole number from 0, and “many” is none.").wait_for()
    assert page.get_by_label("Seed", exact=True).get_attribute("aria-invalid") == "true"


def test_a_picture_has_its_recipe_and_can_be_made_again_saved_and_deleted(visit: Any, studio: Any) -> None:
    studio.keep(3, 0)
    page = visit("#/create")
    page.get_by_role("button", name="digits, drawn, seed 3, number 0").click()
    dialog = page.get_by_role("dialog")
    assert "ddim" in dialog.inner_text()
    dialog.get_by_role("button", name="Make it again").click()
    dialog.get_by_text("Made again: the same picture, pixel by pixel.").wait_for()
    for name, ending in (("PNG", "digits-3-0.png"), ("Strip", "-strip.png"), ("GIF", ".gif"), ("MP4", ".mp4")):
        with page.expect_download() as saved:
            dialog.get_by_role("button", name=name, exact=True).click()
        assert saved.value.suggested_filename.endswith(ending)
    dialog.get_by_role("button", name="Use its settings").click()
    assert page.get_by_label("Seed", exact=True).input_value() == "3"
    assert page.get_by_label("7", exact=True).is_checked()
    page.get_by_role("button", name="seed 3, number 0").last.click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete it").click()
    page.get_by_role("dialog").first.wait_for(state="detached")
    assert any(method == "DELETE" for method, _, _ in studio.asked)


def masked(body: bytes) -> Any:
    """The mask of a request as an array."""
    import io

    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(part(body, "mask"))).convert("L"))


@pytest.mark.parametrize("how", ["pointer", "keyboard"])
def test_a_mask_is_drawn_and_painted_anew(visit: Any, studio: Any, how: str) -> None:
    item = studio.keep(3, 0)
    page = visit("#/create")
    page.get_by_text("million parameters").wait_for()
    page.get_by_role("button", name="digits, drawn, seed 3, number 0").click()
    page.get_by_role("dialog").get_by_role("button", name="Paint anew").click()
    queue = page.get_by_role("application")
    queue.wait_for()
    page.get_by_role("button", name="Change it").click()
    page.get_by_text("Mark the part that is to be painted anew").wait_for()
    if how == "pointer":
        box = queue.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2, steps=3)
        page.mouse.up()
    else:
        queue.focus()
        page.keyboard.press(" ")
        for _ in range(4):
            page.keyboard.press("ArrowRight")
        page.keyboard.press(" ")
        page.keyboard.press("ArrowDown")
    page.get_by_text("% of the picture is marked").wait_for()
    page.get_by_label("Results", exact=True).fill("2")
    page.get_by_role("button", name="Change it").click()
    page.get_by_text("2 pictures in").wait_for()
    body = posted(studio, "/v1/edits/inpaint")
    asked = json.loads(part(body, "request"))
    assert (asked["model"], asked["n"], asked["settings"], asked["options"]) == ("digits", 2, {}, {})
    assert part(body, "image_id").decode() == item["id"]
    mask = masked(body)
    assert mask.shape == (28, 28)
    assert set(mask.ravel()) == {0, 255}
    assert (mask[14, 14], mask[14, 21], mask[2, 14], mask[14, 2]) == (255, 255, 0, 0), (
        "right of the middle, nowhere else"
    )


def test_a_morph_takes_two_pictures_of_the_gallery(visit: Any, studio: Any) -> None:
    first, second = studio.keep(1, 0), studio.keep(2, 0)
    page = visit("#/create")
    page.get_by_text("million parameters").wait_for()
    page.get_by_role("tab", name="Change a picture").click()
    page.get_by_label("What to do", exact=True).select_option("Morph")
    for place, item in (("From", first), ("To", second)):
        page.get_by_role("group", name=place, exact=True).get_by_role("button", name="From the gallery").click()
        page.get_by_role("button", name=f"digits, drawn, seed {item['recipe']['seed']}, number 0").click()
        page.get_by_role("img", name=place, exact=True).wait_for()
    page.get_by_label("Frames").fill("7")
    page.get_by_role("button", name="Change it").click()
    page.get_by_text("in 0.2 s").wait_for()
    body = posted(studio, "/v1/edits/interpolate")
    assert json.loads(part(body, "request"))["options"] == {"frames": 7}
    assert (part(body, "first_id").decode(), part(body, "second_id").decode()) == (first["id"], second["id"])


def test_an_extension_shows_its_frame_and_leaves_the_sampler_to_the_edit(visit: Visit, studio: Any) -> None:
    studio.keep(1, 0)
    page = visit("#/create")
    page.get_by_text("million parameters").wait_for()
    page.get_by_role("button", name="digits, drawn, seed 1, number 0").click()
    page.get_by_role("dialog").get_by_role("button", name="Extend").click()
    page.get_by_text("From 28 × 28 to 42 × 42 pixels").wait_for()  # a quarter at every side
    page.get_by_label("Top", exact=True).fill("0")
    page.get_by_label("Left", exact=True).fill("12")
    page.get_by_label("Right", exact=True).focus()
    page.get_by_text("From 28 × 28 to 47 × 35 pixels").wait_for()
    page.get_by_role("button", name="Change it").click()
    page.get_by_text("1 picture in").wait_for()
    asked = json.loads(part(posted(studio, "/v1/edits/outpaint"), "request"))
    assert (asked["options"], asked["settings"]) == ({"bottom": 7, "left": 12, "right": 7}, {})
    assert asked["quick"], "a person waits"
    page.get_by_text("When the picture's size or colours are not the model's").click()
    page.get_by_label("Overlap", exact=True).fill("none")
    page.get_by_label("Sampler", exact=True).select_option("ddpm")
    page.get_by_label("Steps", exact=True).fill("9")
    page.get_by_role("button", name="Change it").click()
    page.get_by_text("9 evaluations").wait_for()
    asked = json.loads(part(posted(studio, "/v1/edits/outpaint"), "request"))
    assert asked["settings"] == {"sampler": "ddpm", "steps": 9}
    assert asked["options"] == {"bottom": 7, "left": 12, "right": 7, "overlap": "none"}


def test_options_are_asked_for_where_they_mean_something(visit: Visit, studio: Any) -> None:
    page = visit("#/create")
    page.get_by_text("million parameters").wait_for()
    page.get_by_role("tab", name="Change a picture").click()
    page.get_by_text("How the model goes about it").click()
    jump = page.get_by_label("Jump", exact=True)
    assert jump.is_hidden()
    page.get_by_label("Method", exact=True).select_option("repaint")
    assert jump.is_visible()
    page.get_by_label("What to do", exact=True).select_option("Morph")
    assert page.get_by_label("Results", exact=True).count() == 0
    assert page.get_by_label("Strength", exact=True).is_hidden()
    page.get_by_text("How the model goes about it").click()
    page.get_by_label("Way", exact=True).select_option("shared")
    assert page.get_by_label("Strength", exact=True).is_visible()


def test_a_picture_is_turned_into_another_class(visit: Visit, studio: Any) -> None:
    studio.keep(1, 0)
    page = visit("#/create")
    page.get_by_text("million parameters").wait_for()
    page.get_by_role("button", name="digits, drawn, seed 1, number 0").click()
    page.get_by_role("dialog").get_by_role("button", name="Turn into").click()
    page.get_by_label("Into", exact=True).select_option("3")
    page.get_by_label("What it is", exact=True).select_option("7")
    page.get_by_role("button", name="Change it").click()
    page.get_by_text("1 picture in").wait_for()
    asked = json.loads(part(posted(studio, "/v1/edits/translate"), "request"))
    assert asked["options"] == {"to": "3", "source": "7"}


def test_tiles_fill_their_rows(visit: Visit) -> None:
    page = visit("#/create")
    columns = (
        "import('/page/js/create/canvas.js').then(({ columnsFor }) => [1, 2, 4, 6, 8, 9, 12, 16, 64].map(columnsFor))"
    )
    assert page.evaluate(columns) == [1, 2, 2, 3, 4, 3, 4, 4, 8]


def test_a_png_brings_its_settings_back(visit: Any, studio: Any) -> None:
    settings = {"sampler": "ddpm", "steps": 50, "classes": ["4"], "guidance": 3.5, "eta": 0.5}
    found = {"kind": "sample", "model": "digits", "seed": 11, "first": 2, "n": 1, "settings": settings, "known": True}
    studio.posts["/v1/restore"] = lambda _: {**found, "note": None}
    item = studio.keep(1, 0)
    page = visit("#/create")
    page.get_by_text("million parameters").wait_for()
    page.locator(".drop input[type=file]").set_input_files(
        {"name": "seven.png", "mimeType": "image/png", "buffer": studio.pictures[item["id"]]}
    )
    page.get_by_text("The settings of seven.png are back.").wait_for()
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_text("1 picture in").wait_for()
    asked = posted(studio, "/v1/samples")
    assert (asked["seed"], asked["first"], asked["n"]) == (11, 2, 1)
    assert {key: asked["settings"][key] for key in settings} == settings


def test_the_page_fits_a_phone_and_every_control_has_a_name(visit: Any, studio: Any) -> None:
    studio.keep(1, 0)
    page = visit("#/create", width=390)
    page.get_by_text("million parameters").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    controls = "[...document.querySelectorAll('button, input, select, textarea')]"
    nameless = f"{controls}.filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).length"
    assert page.evaluate(nameless) == 0


def other(studio: Any, name: str, **more: Any) -> threading.Event:
    """Another model, which is there when the event is set."""
    ready, digits = threading.Event(), studio.answers["/v1/models/digits"]

    def answer(_: Any) -> Any:
        ready.wait(20)
        return {**digits, "id": name, "name": name, **more}

    listed = {"id": name, "name": name, "kind": "run", "state": more.get("state", "ready"), "step": more.get("step", 9)}
    studio.answers["/v1/models"]["models"].append(listed)
    studio.answers[f"/v1/models/{name}"] = answer
    return ready


def test_nothing_changes_under_the_hand_while_a_model_loads(visit: Visit, studio: Any) -> None:
    ready = other(studio, "faces", sampling={"sampler": "ddpm", "steps": 33, "guidance": 1.0, "classes": []})
    digits, loaded = studio.answers["/v1/models/digits"], threading.Event()
    studio.answers["/v1/models/digits"] = lambda _: loaded.wait(20) and digits
    page = visit("#/create")
    page.get_by_text("Loading …").wait_for()
    draw = page.get_by_role("button", name="Draw", exact=True)
    assert draw.is_disabled()
    assert not page.get_by_label("Steps", exact=True).is_visible(), "nothing is shown that would change"
    page.get_by_label("Seed", exact=True).fill("41")
    page.get_by_role("tab", name="Change a picture").click()
    loaded.set()
    page.get_by_role("button", name="Change it").wait_for()
    page.get_by_role("tab", name="Draw anew").click()
    assert page.get_by_label("Seed", exact=True).input_value() == "41"
    page.get_by_label("Steps", exact=True).fill("7")
    page.get_by_label("7", exact=True).check()
    page.get_by_label("Model", exact=True).select_option("faces")
    page.get_by_text("Loading …").wait_for()
    assert draw.is_disabled(), "the model before is not drawn with"
    assert page.locator(".asks").evaluate("element => element.inert")
    page.get_by_label("Seed", exact=True).press("Enter")
    ready.set()
    page.get_by_text("million parameters").wait_for()
    assert page.get_by_label("Steps", exact=True).input_value() == "7", "what a person has set stays"
    assert page.get_by_label("7", exact=True).is_checked()
    assert page.get_by_label("Sampler", exact=True).input_value() == "ddpm", "the rest is the model's"
    page.get_by_label("Seed", exact=True).press("Enter")
    page.get_by_text("pictures in").wait_for()
    (asked,) = [body for method, path, body in studio.asked if path == "/v1/samples"]
    assert (asked["model"], asked["seed"], asked["settings"]["steps"]) == ("faces", 41, 7)


def test_of_two_models_that_load_the_last_one_chosen_counts(visit: Visit, studio: Any) -> None:
    slow, quick = other(studio, "slow", shape=[1, 8, 8]), other(studio, "quick", shape=[1, 16, 16])
    page = visit("#/create")
    page.get_by_text("28 × 28, grey").wait_for()
    page.get_by_label("Model", exact=True).select_option("slow")
    page.get_by_label("Model", exact=True).select_option("quick")
    quick.set()
    page.get_by_text("16 × 16, grey").wait_for()
    slow.set()
    page.wait_for_timeout(300)
    assert page.get_by_text("16 × 16, grey").is_visible()


def test_a_model_that_cannot_be_loaded_draws_nothing_and_can_be_tried_again(visit: Visit, studio: Any) -> None:
    other(studio, "torn").set()
    answer = studio.answers["/v1/models/torn"]
    studio.answers["/v1/models/torn"] = ({"error": "The checkpoint is damaged."}, 422)
    page = visit("#/create", refused=True)
    page.get_by_text("28 × 28, grey").wait_for()
    page.get_by_label("Model", exact=True).select_option("torn")
    page.get_by_text("The checkpoint is damaged.").wait_for()
    assert page.get_by_role("button", name="Draw", exact=True).is_disabled()
    studio.answers["/v1/models/torn"] = answer
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("million parameters").wait_for()
    assert page.get_by_role("button", name="Draw", exact=True).is_enabled()


def test_a_run_that_trains_says_at_which_step_it_was_drawn(visit: Visit, studio: Any) -> None:
    other(studio, "half", state="training", step=400).set()
    page = visit("#/create?model=half")
    page.get_by_text("as it was at step 400 of its training").wait_for()
    draw(page, 1 + 1)
    page.get_by_text("as it was at step 15,000 of its training").wait_for()


def test_the_choice_of_a_sampler_survives_a_look_at_the_edits(visit: Visit, studio: Any) -> None:
    page = visit("#/create")
    page.get_by_text("million parameters").wait_for()
    page.get_by_label("Sampler", exact=True).select_option("ddpm")
    page.get_by_role("tab", name="Change a picture").click()
    assert page.get_by_label("Sampler", exact=True).input_value() == ""
    page.get_by_role("tab", name="Draw anew").click()
    assert page.get_by_label("Sampler", exact=True).input_value() == "ddpm"


@pytest.mark.parametrize("width", [390, 768, 1440])
@pytest.mark.parametrize("tab", ["Draw anew", "Change a picture"])
def test_no_field_is_covered(visit: Visit, studio: Any, width: int, tab: str) -> None:
    """Wherever the page is scrolled to, and whatever the keyboard has come to."""
    page = visit("#/create", width=width)
    page.get_by_text("million parameters").wait_for()
    page.get_by_role("tab", name=tab).click()
    page.get_by_text("More settings").click()
    covered = page.evaluate(
        """() => {
          const found = [];
          const bottom = document.documentElement.scrollHeight;
          const header = document.querySelector(".shell-header").getBoundingClientRect().bottom;
          for (let y = 0; y < bottom; y += 150) {
            scrollTo({ top: y, behavior: "instant" });
            for (const field of document.querySelectorAll(".workshop-form :is(input, select, summary)")) {
              const { left, top, width, height } = field.getBoundingClientRect();
              const [x, at] = [left + width / 2, top + height / 2];
              if (!field.checkVisibility() || at < header || at > innerHeight - 1 || width < 2) continue;
              const above = document.elementFromPoint(x, at);
              const free = !above || field.contains(above) || above.contains(field);
              if (!free) found.push(`${field.id} under ${above.className}`);
            }
          }
          return found;
        }"""
    )
    assert covered == []


def test_the_page_is_whole_below_a_sub_path(visit: Visit, studio: Any) -> None:
    """Scripts, styles, calls, streams, pictures and downloads: whatever is asked elsewhere fails the test."""
    studio.below = "/tools/undiffuse"
    page = visit("#/create")
    page.get_by_text("million parameters").wait_for()
    draw(page, 2)
    page.locator(".gallery-grid button").nth(1).wait_for()
    for image in page.locator(".canvas button.tile img, .gallery-grid img").all():
        assert image.get_attribute("src").startswith("/tools/undiffuse/v1/gallery/")
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 28
    page.locator(".gallery-grid button").first.click()
    with page.expect_download():
        page.get_by_role("button", name="PNG", exact=True).click()
    page.get_by_role("button", name="Close").click()
    assert page.get_by_role("link", name="The API behind this page").get_attribute("href") == "/tools/undiffuse/docs"
    page.get_by_role("link", name="undiffuse, home").click()
    page.locator(".hero-picture canvas").first.wait_for()  # what it shows comes from a file of the page


def test_back_closes_what_was_asked(visit: Visit, studio: Any) -> None:
    studio.keep(3, 0)
    page = visit("#/")
    page.get_by_role("link", name="Make a picture").first.click()
    page.get_by_role("button", name="digits, drawn, seed 3, number 0").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete it").wait_for()
    page.go_back()
    page.get_by_role("heading", name="Noise, taken back one step at a time.").wait_for()
    assert page.get_by_role("dialog").count() == 0
    assert all(method != "DELETE" for method, _, _ in studio.asked)


@pytest.mark.parametrize("address", ["#/create?model=gone", "#/create/%E0%A4%A", "#/create/%"])
def test_addresses_of_what_is_not_there_are_answered(visit: Visit, studio: Any, address: str) -> None:
    page = visit(address)
    page.get_by_text("million parameters").wait_for()
    if "gone" in address:
        page.get_by_text("There is no model “gone” here (any more); this is “digits”.").wait_for()


def test_a_picture_that_another_tab_deleted_leaves_the_gallery(visit: Visit, studio: Any) -> None:
    studio.keep(3, 0)
    page = visit("#/create", refused=True)
    tile = page.get_by_role("button", name="digits, drawn, seed 3, number 0")
    tile.wait_for()
    studio.kept.clear()
    tile.click()
    page.get_by_text("There is no such picture").wait_for()
    tile.wait_for(state="detached")
    studio.keep(4, 0)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.get_by_role("button", name="digits, drawn, seed 4, number 0").wait_for()
