"""Train, as a person uses it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

RUN = {
    "id": "demo",
    "name": "demo",
    "state": "running",
    "step": 1200,
    "total": 3000,
    "progress": 0.4,
    "seconds": 75.0,
    "eta": 110.0,
    "loss": 0.08,
    "images_per_second": 900.0,
    "drift": None,
    "error": None,
    "recipe": "digits",
    "data": "digits",
    "samples": [400, 800],
    "model": "demo",
    "mine": True,
}
INFO = {"count": 5000, "shape": [1, 28, 28], "classes": [str(k) for k in range(10)], "refused": 3}
DATA = {"id": "digits", "name": "digits", "kind": "builtin", "info": None}


def line(step: int) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    loss = 0.9 / (1 + step / 100)
    return {"step": step, "loss": loss, "loss_by_quarter": [loss * k for k in (2, 1.2, 0.8, 0.5)], "time": {}}


def look(step: int) -> dict[str, Any]:
    """What is measured of held-out pictures: least at step 800."""
    return {"step": step, "validation": {"loss": 0.1 + 0.2 * abs(step - 800) / 800, "count": 512}}


def checked(info: Any) -> dict[str, Any]:
    return {**DATA, "info": info, "report": [], "refusals": []}


@pytest.fixture
def training(studio: Any) -> Any:
    """A run that trains until it is paused, and data with checks."""
    run, told, goes = dict(RUN), threading.Event(), threading.Event()

    def stream() -> Iterator[tuple[str, Any]]:
        yield "state", run
        yield "metric", line(1250)
        yield "validation", {"line": look(1250)}
        yield "sample", {"step": 1200, "url": "/v1/runs/demo/samples/1200.png", "line": {}}
        told.set()
        while not goes.wait(0.05):
            yield "state", run
        yield "state", run | {"state": "stopped"}
        yield "end", {"state": "stopped"}

    def pause(_: Any) -> dict[str, Any]:
        run["state"] = "stopped"
        goes.set()
        return run | {"state": "stopping"}

    checked = {
        **DATA,
        "info": INFO,
        "report": ["5,000 pictures of 28 x 28"],
        "refusals": [["bad.png", "It is cut off."]],
    }
    recipes = [
        {"name": name, "description": f"What {name} is for.", "needs": "Minutes.", "reached": ""}
        for name in ("small", "digits")
    ]
    studio.answers |= {
        "/v1/recipes": {"recipes": recipes},
        "/v1/runs": lambda _: {"runs": [run]},
        "/v1/runs/demo": lambda _: (
            run | {"config": {"loop": {"batch": 128}}, "command": "undiffuse train digits", "log": ["step 1"]}
        ),
        "/v1/runs/demo/metrics": {"lines": [line(step) for step in range(50, 1201, 50)], "samples": [], "last": 1200}
        | {"validations": [look(step) for step in range(200, 1201, 200)]},
        "/v1/data": {"data": [DATA]},
        "/v1/data/digits": checked,
    }
    lr = {
        "name": "lr",
        "type": "float",
        "default": 2e-4,
        "help": "Learning rate.",
        "choices": None,
        "list": False,
        "optional": False,
    }
    plain = {"help": "How.", "choices": None, "list": False, "optional": False}
    data = [
        plain | {"name": "crop", "type": "str", "default": "none", "choices": ["none", "center"]},
        plain | {"name": "skip_unreadable", "type": "bool", "default": False},
        plain | {"name": "frames", "type": "int", "default": 0},
    ]
    studio.answers["/v1/settings"] = {"sample": [], "train": {"optimizer": [lr], "data": data}, "edits": {}}
    studio.streams["/v1/runs/demo/events"] = stream
    studio.posts |= {"/v1/runs": lambda _: run, "/v1/runs/demo/pause": pause, "/v1/runs/demo/stop": pause}
    yield studio
    goes.set()


def test_a_run_is_started_from_checked_data(visit: Any, training: Any) -> None:
    page = visit("#/train")
    page.get_by_text("5,000 grey pictures of 28 × 28 in 10 classes; 3 refused.").wait_for()
    page.get_by_role("img", name="A sheet of pictures from digits").wait_for()
    page.get_by_text("1 refused, and why").click()
    assert page.get_by_text("It is cut off.").is_visible()
    assert page.get_by_label("Recipe", exact=True).input_value() == "digits", "the recipe of that name"
    page.get_by_label("Minutes", exact=True).fill("7")
    page.get_by_text("Settings that you want otherwise").click()
    page.get_by_text("optimizer").click()
    assert page.get_by_label("Lr").get_attribute("placeholder") == "the recipe’s"
    page.get_by_label("Lr").fill("0.001")
    page.get_by_label("Held out", exact=True).fill("20")
    page.get_by_text("20 % of the pictures", exact=True).wait_for()
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("heading", name="demo").wait_for()
    (asked,) = [body for _, path, body in training.asked if path == "/v1/runs"]
    assert asked == {"data": "digits", "recipe": "digits", "overrides": {"lr": 0.001}, "minutes": 7, "validation": 0.2}


def test_a_run_is_watched_live_and_paused(visit: Any, training: Any) -> None:
    page = visit("#/train/demo")
    page.get_by_text("This run is training.").wait_for()
    page.get_by_text("1,200 of 3,000").wait_for()
    page.get_by_text("1 min 50 s", exact=True).wait_for()
    page.get_by_role("img", name="What the model draws at step 1200").wait_for()
    scrub = page.get_by_label("What it draws from the same noise", exact=True)
    scrub.fill("0")
    page.get_by_role("img", name="What the model draws at step 400").wait_for()
    assert page.get_by_role("img", name="Loss over the steps. smoothed: now").is_visible()
    page.get_by_role("img", name=re.compile("held out: now 0.21")).wait_for()
    pause = page.get_by_role("button", name="Pause", exact=True)
    pause.focus()
    page.wait_for_timeout(300)  # some states later
    assert pause.evaluate("button => button === document.activeElement"), (
        "what is told many times a second takes no button away"
    )
    pause.press("Enter")
    page.get_by_text("This run is paused.").wait_for()
    assert page.get_by_role("button", name="Go on").is_enabled()
    assert page.get_by_role("link", name="Draw with it").get_attribute("href") == "#/create?model=demo"


def test_a_dropped_archive_is_taken_in(visit: Any, training: Any) -> None:
    mine = {"id": "u1", "name": "photos", "kind": "upload"}

    def take(_: Any) -> dict[str, Any]:
        training.answers["/v1/data"] = {"data": [DATA, mine]}
        training.answers["/v1/data/u1"] = mine | {"info": None, "error": "The pictures have 3 sizes: choose a size."}
        return mine

    training.posts["/v1/data"] = take
    page = visit("#/train")
    page.get_by_text("5,000 grey pictures").wait_for()
    page.get_by_label("An archive").set_input_files(
        {"name": "photos.zip", "mimeType": "application/zip", "buffer": b"PK"}
    )
    page.get_by_text("The pictures have 3 sizes: choose a size.").wait_for()
    assert page.get_by_role("button", name="Start training").is_disabled()
    (body,) = [body for _, path, body in training.asked if path == "/v1/data"]
    assert b'name="archive"; filename="photos.zip"' in body
    assert page.get_by_role("button", name="Delete this upload").is_visible()
    training.answers["/v1/runs"] = {"runs": [RUN | {"data": "u1"}]}
    page.get_by_text("learns photos by the recipe digits").wait_for()


def test_the_box_for_classes_is_in_sight_where_the_data_have_classes(visit: Any, training: Any) -> None:
    page = visit("#/train")
    box = page.get_by_label("Learn the classes")
    box.wait_for()
    assert page.get_by_text("Then each of the 10 can be asked for (0, 1, 2, 3, 4, 5, …)").is_visible()
    assert not page.get_by_label("Learn the texts").is_visible()
    box.check()
    training.answers["/v1/data/digits"] = lambda _: checked(INFO | {"texts": 40})
    page.get_by_text("Make them one size").click()
    page.get_by_label("Size").fill("28")
    page.get_by_label("Size").press("Tab")
    page.get_by_label("Learn the texts").wait_for()
    assert box.is_checked(), "what was ticked stays while the data are looked at anew"
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("heading", name="demo").wait_for()
    (asked,) = [body for _, path, body in training.asked if path == "/v1/runs"]
    assert asked["overrides"] == {"condition": ["class"]}
    training.answers["/v1/data/digits"] = lambda _: checked(INFO | {"classes": []})
    page.get_by_label("Size").fill("14")
    page.get_by_label("Size").press("Tab")
    page.get_by_text("grey pictures of 28 × 28; 3 refused").wait_for()
    assert not box.is_visible()


def test_uploads_are_sent_as_what_they_are_under_their_own_names(visit: Any, training: Any) -> None:
    training.posts["/v1/data"] = lambda _: DATA
    page = visit("#/train")
    page.get_by_text("5,000 grey pictures").wait_for()
    one = {"mimeType": "", "buffer": b"x"}
    for label, names in (
        ("An archive", ["clips.mp4"]),
        ("Pictures", ["a.png", "b.png"]),
        ("Pictures", ["scan.nii.gz"]),
    ):
        page.get_by_label(label, exact=True).set_input_files([one | {"name": name} for name in names])
        page.get_by_text("Looking at every picture").wait_for(state="detached")
    page.wait_for_timeout(300)
    bodies = [body for _, path, body in training.asked if path == "/v1/data"]
    fields = [re.findall(rb'name="(\w+)"; filename="([^"]+)"', body) for body in bodies]
    assert fields == [
        [(b"archive", b"clips.mp4")],
        [(b"files", b"a.png"), (b"files", b"b.png")],
        [(b"files", b"scan.nii.gz")],
    ]
    assert all(b"\r\n\r\n{}\r\n" in body for body in bodies), "named by what was sent"
    training.answers["/v1/status"] = training.answers["/v1/status"] | {"limits": {"data_bytes": 3, "files": 1}}
    page.reload()
    page.get_by_text("5,000 grey pictures").wait_for()
    page.get_by_label("Pictures", exact=True).set_input_files([one | {"name": name} for name in ("a.png", "b.png")])
    page.get_by_text("These are 2 files, and the studio takes 1: train on them with").wait_for()


def test_what_a_refusal_advises_is_in_sight(visit: Any, training: Any) -> None:
    said = "expected at most 5% bad files; add --skip-unreadable to go on without them"
    good = training.answers["/v1/data/digits"]

    def look(query: Any) -> Any:
        return good if query.get("skip_unreadable") == ["true"] else {**DATA, "error": said}

    training.answers["/v1/data/digits"] = look
    page = visit("#/train")
    page.get_by_text(said).wait_for()
    assert page.get_by_role("button", name="Start training").is_disabled()
    page.get_by_label("Skip unreadable").check()
    page.get_by_text("5,000 grey pictures").wait_for()
    page.get_by_label("Crop").select_option("center")
    page.get_by_label("Frames").fill("many")
    page.get_by_label("Frames").press("Tab")
    page.get_by_role("status").get_by_text("Frames is a whole number, and “many” is none.").wait_for()
    page.get_by_label("Frames").fill("0")
    page.get_by_label("Frames").press("Tab")
    page.get_by_text("5,000 grey pictures").wait_for()
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("heading", name="demo").wait_for()
    (asked,) = [body for _, path, body in training.asked if path == "/v1/runs"]
    assert (asked["crop"], asked["overrides"]) == ("center", {"skip_unreadable": True})


def test_two_uploads_of_one_name_can_be_told_apart(visit: Any, training: Any) -> None:
    rows = [{"id": f"u{k}", "name": "photos", "kind": "upload", "created": f"2026-11-2{k}T10:00:00Z"} for k in (1, 2)]
    training.answers["/v1/data"] = {"data": [DATA, *rows]}
    page = visit("#/train")
    page.get_by_text("5,000 grey pictures").wait_for()
    offered = page.get_by_role("combobox", name="Data", exact=True).locator("option").all_inner_texts()
    assert offered[0] == "digits, comes with undiffuse"
    assert len(set(offered)) == 3
    assert all(text.startswith("photos, of ") for text in offered[1:])


def test_a_run_that_is_deleted_while_it_is_watched_is_said_to_be_gone(visit: Any, training: Any) -> None:
    asked = []

    def gone(_: Any) -> Any:
        asked.append(1)
        return RUN if len(asked) == 1 else ({"error": "There is no such run here (any more)"}, 404)

    def stream() -> Iterator[tuple[str, Any]]:
        yield "end", {"state": "gone"}

    training.answers["/v1/runs/demo"] = gone
    training.streams["/v1/runs/demo/events"] = stream
    page = visit("#/train/demo", refused=True)
    page.get_by_text("There is no such run here (any more)").wait_for()


def test_the_page_fits_a_phone(visit: Any, training: Any) -> None:
    page = visit("#/train/demo", width=390)
    page.get_by_text("This run is training.").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
