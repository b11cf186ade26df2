"""Train, as a person uses it."""

from __future__ import annotations

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


@pytest.fixture
def training(studio: Any) -> Any:
    """A run that trains until it is paused, and data with checks."""
    run, told, goes = dict(RUN), threading.Event(), threading.Event()

    def stream() -> Iterator[tuple[str, Any]]:
        yield "state", run
        yield "metric", line(1250)
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
        "/v1/runs/demo/metrics": {"lines": [line(step) for step in range(50, 1201, 50)], "samples": [], "last": 1200},
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
    studio.answers["/v1/settings"] = {"sample": [], "train": {"optimizer": [lr]}, "edits": {}}
    studio.streams["/v1/runs/demo/events"] = stream
    studio.posts |= {"/v1/runs": lambda _: run, "/v1/runs/demo/pause": pause, "/v1/runs/demo/stop": pause}
    yield studio
    goes.set()


def test_a_run_is_started_from_checked_data(visit: Any, training: Any) -> None:
    page = visit("#/train")
    page.get_by_text("5,000 grey pictures of 28 × 28 in 10 classes; 3 refused.").wait_for()
    assert page.get_by_role("img", name="A sheet of pictures from digits").is_visible()
    page.get_by_text("1 refused, and why").click()
    assert page.get_by_text("It is cut off.").is_visible()
    assert page.get_by_label("Recipe", exact=True).input_value() == "digits", "the recipe of that name"
    page.get_by_label("Minutes", exact=True).fill("7")
    page.get_by_text("Settings that you want otherwise").click()
    page.get_by_text("optimizer").click()
    assert page.get_by_label("Lr").get_attribute("placeholder") == "the recipe’s"
    page.get_by_label("Lr").fill("0.001")
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("heading", name="demo").wait_for()
    (asked,) = [body for _, path, body in training.asked if path == "/v1/runs"]
    assert asked == {"data": "digits", "recipe": "digits", "overrides": {"lr": 0.001}, "minutes": 7}


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


def test_the_page_fits_a_phone(visit: Any, training: Any) -> None:
    page = visit("#/train/demo", width=390)
    page.get_by_text("This run is training.").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
