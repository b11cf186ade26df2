"""Compare, as a person uses it."""

from __future__ import annotations

from typing import Any

import pytest

STEPS = list(range(100, 1001, 100))


@pytest.fixture
def runs(studio: Any) -> Any:
    """Two runs that can be compared and drawn with."""
    names = ("a", "b")
    studio.answers |= {
        "/v1/models": {"models": [{"id": name, "name": name, "kind": "run"} for name in names]},
        "/v1/runs": {"runs": [{"id": name, "name": name, "state": "done"} for name in names]},
        **{f"/v1/models/{name}": {"id": name, "name": name, "student": None} for name in names},
        "/v1/compare": lambda query: {
            "names": query["runs"],
            "colours": {"a": "#1c5d99", "b": "#b4431a"},
            "warnings": ["They were trained on different data."],
            "facts": {"head": ["", "a", "b"], "rows": [["steps", "1,000", "1,000"]]},
            "settings": {"head": ["", "a", "b"], "rows": [["lr", "0.001", "0.0002"]]},
            "shared": {"batch": 128},
            "curves": {
                name: {
                    "steps": STEPS,
                    "minutes": [step / 500 for step in STEPS],
                    "losses": [(k + 1) / step for step in STEPS],
                    "smoothed": [(k + 1) / step for step in STEPS],
                }
                for k, name in enumerate(names)
            },
            "proxies": {"a": {"steps": STEPS, "distance": [90 / step for step in STEPS], "floor": 0.05}},
            "quality": [
                {
                    "title": "Frechet distance",
                    "table": {"head": ["", "a", "b"], "rows": [["fid", 42, 57]], "best": [[0, 1]]},
                    "notes": ["N = 2,000."],
                }
            ],
            "apart": "",
            "likelihood": [],
            "same_noise": True,
        },
    }
    return studio


def test_runs_are_laid_side_by_side(visit: Any, runs: Any) -> None:
    page = visit("#/compare")
    page.get_by_text("Choose two runs or more.").wait_for()
    page.get_by_label("a", exact=True).check()
    page.get_by_text("Choose one more.").wait_for()
    page.get_by_label("b", exact=True).check()
    page.get_by_text("They were trained on different data.").wait_for()
    assert page.url.endswith("#/compare?runs=a&runs=b"), "the choice can be kept and sent"
    assert page.get_by_role("row", name="lr 0.001 0.0002").is_visible()
    assert page.get_by_role("row", name="fid 42 (best) 57").is_visible()
    assert page.get_by_role("img", name="Loss over the steps. a: now 0.001. b: now 0.002").is_visible()
    page.get_by_label("minutes", exact=True).check()
    assert page.get_by_role("img", name="Loss over the minutes. a: now 0.001. b: now 0.002").is_visible()
    assert page.get_by_role("img", name="Distance of their samples from the data").is_visible()


def test_a_model_without_a_run_is_compared_by_its_pictures(visit: Any, runs: Any) -> None:
    shipped = {"id": "digits", "name": "digits", "kind": "shipped", "step": None}
    runs.answers["/v1/models"]["models"].append(shipped)
    runs.answers["/v1/models/digits"] = {**shipped, "student": None}
    page = visit("#/compare?runs=a&runs=digits")
    page.get_by_text("Of digits there is no run's folder to read").wait_for()
    page.get_by_role("button", name="Draw from the same noise").click()
    page.get_by_role("img", name="digits, number 0").wait_for()
    page.get_by_label("b", exact=True).check()
    page.get_by_role("row", name="lr 0.001 0.0002").wait_for()  # the two runs are


def test_grids_come_from_the_same_noise(visit: Any, runs: Any) -> None:
    page = visit("#/compare?runs=a&runs=b")
    place = page.get_by_role("region", name="From the same noise")
    place.get_by_label("Seed", exact=True).fill("5")
    place.get_by_label("Pictures of each").fill("3")
    place.get_by_role("button", name="Draw from the same noise").click()
    place.get_by_role("img", name="b, number 2").wait_for()
    place.get_by_text("0.2 s, 20 evaluations").nth(1).wait_for()
    asked = [body for _, path, body in runs.asked if path == "/v1/samples"]
    assert [(body["model"], body["seed"], body["n"], body["keep"]) for body in asked] == [
        ("a", 5, 3, False),
        ("b", 5, 3, False),
    ]


def test_samplers_are_laid_against_steps(visit: Any, runs: Any) -> None:
    runs.pace = 0
    page = visit("#/compare")
    place = page.get_by_role("region", name="Samplers against steps")
    place.get_by_label("dpm++2m-sde", exact=True).uncheck()
    place.get_by_role("button", name="Draw them all").click()
    place.get_by_role("img", name="ddim, 50 steps, number 1").wait_for()
    asked = [body["settings"] for _, path, body in runs.asked if path == "/v1/samples"]
    assert asked == [{"sampler": "ddim", "steps": steps} for steps in (5, 10, 20, 50)]
    place.get_by_label("ddim", exact=True).uncheck()
    place.get_by_role("button", name="Draw them all").click()
    page.get_by_text("Choose a sampler or more.").wait_for()


def test_the_page_fits_a_phone(visit: Any, runs: Any) -> None:
    page = visit("#/compare?runs=a&runs=b", width=390)
    page.get_by_text("They were trained on different data.").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
