"""What there is: models, settings, schedules, edits, runs side by side, and the description of it all."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import undiffuse
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.factories.schedule import make_schedule
from undiffuse.studio.page_files import FOLDER, TYPES


def test_models_are_the_runs_and_those_that_ship(shared: Any, runs: Path) -> None:
    models = {model["id"]: model for model in shared.get("/v1/models")["models"]}
    assert set(models) == {"a", "b", "digits", "digits-fast"}
    assert models["a"] == {
        "id": "a", "name": "a", "kind": "run", "path": str(runs / "a"), "state": "ready", "step": 2
    }  # fmt: skip


def test_a_model_is_described_in_full(shared: Any) -> None:
    found = shared.get("/v1/models/digits")
    model = undiffuse.load("digits")
    assert found["sha256"] == model.provenance["sha256"]
    assert found["parameters"] == sum(parameter.numel() for parameter in model.network.parameters())
    assert found["classes"] == list(model.info.classes)
    assert "translate" in found["edits"]
    assert "colorize" not in found["edits"]
    assert "colorize" in shared.get("/v1/models/a")["edits"]
    t = found["curves"]["t"]
    assert (t[0], t[-1], len(t)) == (0, model.schedule.t_max, 101)


def test_schedules_are_those_of_the_library(shared: Any) -> None:
    found = {one["name"]: one for one in shared.get("/v1/schedules?points=11")["schedules"]}
    import torch

    for name in ("linear", "cosine"):
        schedule = make_schedule(DiffusionConfig(schedule=name))
        q_t = schedule(torch.tensor(found[name]["t"], dtype=torch.float64))
        assert found[name]["alpha"] == q_t.alpha.tolist()
        assert found[name]["log_snr"][0] is None  # infinite for data
        assert found[name]["variance_preserving"]
    assert not found["sub-vp"]["variance_preserving"]


def test_every_setting_is_described_for_forms(shared: Any) -> None:
    found = shared.get("/v1/settings")
    sample = {field["name"]: field for field in found["sample"]}
    assert sample["steps"]["type"] == "int"
    assert sample["threshold"]["choices"] == ["none", "clip", "dynamic"]
    assert sample["classes"]["list"]
    assert "classifier" not in sample
    assert {"size", "crop"} <= {field["name"] for field in found["train"]["data"]}
    assert all(field["help"] for fields in found["edits"].values() for field in fields)
    assert {info["name"] for info in shared.get("/v1/samplers")["samplers"]} == set(SAMPLERS)
    assert shared.get("/v1/recipes")["recipes"]


def test_runs_stand_side_by_side(shared: Any) -> None:
    found = shared.get("/v1/compare?runs=a&runs=b")
    assert found["names"] == ["a", "b"]
    rows = {row[0]: row[1:] for row in found["settings"]["rows"]}
    assert rows["lr"] == ["0.001", "0.0001"]
    assert found["shared"]["base"] == "8"
    assert found["curves"]["a"]["steps"] == [1, 2]
    assert found["same_noise"]
    shared.get("/v1/compare?runs=a", 422)
    assert "twice" in shared.get("/v1/compare?runs=a&runs=a", 422)["error"]
    assert "run's folder" in shared.get("/v1/compare?runs=a&runs=digits", 422)["error"]
    shared.get("/v1/compare?runs=a&runs=nope", 404)


def test_pictures_to_try_things_on(shared: Any) -> None:
    found = shared.get("/v1/pictures?count=2&source=samples&model=a")
    assert found["shape"] == [3, 8, 8]
    assert [len(picture["values"]) for picture in found["pictures"]] == [192, 192]
    assert all(math.isfinite(value) for value in found["pictures"][0]["values"])


def test_pictures_to_try_things_on_are_digits_where_nothing_else_is_said(shared: Any) -> None:
    found = shared.get("/v1/pictures?count=3")
    assert (found["source"], found["shape"], len(found["pictures"])) == ("digits", [1, 28, 28], 3)
    assert found["pictures"][0]["label"] is not None


def test_the_page_is_served_with_its_types_and_nothing_from_elsewhere(shared: Any) -> None:
    assert shared.client.get("/").headers["content-type"].startswith("text/html")
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in TYPES:
            answer = shared.client.get(f"/page/{path.relative_to(FOLDER).as_posix()}")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == TYPES[path.suffix]
            again = shared.client.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
            assert again.status_code == 304


def test_the_description_names_every_call_and_loads_nothing(shared: Any) -> None:
    schema, page = shared.get("/openapi.json"), shared.client.get("/docs").text
    for path in schema["paths"]:
        assert path in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "https://" not in page


def test_an_address_names_all_that_it_takes(shared: Any) -> None:
    for path, methods in (("/v1/data/x", "DELETE, GET"), ("/v1/gallery/grid", "POST"), ("/v1/status", "GET")):
        answer = shared.client.request("PATCH", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)
        assert "does not take" in answer.json()["error"]


def test_models_begin_with_a_finished_one(open_page: Any, runs: Path, tmp_path: Path) -> None:
    """Whatever they are called: the newest finished run, those that come with undiffuse, then the others."""
    folder = tmp_path / "runs"
    for when, name in enumerate(("a-half", "m-old", "n-new"), start=1):
        shutil.copytree(runs / "a", folder / name)
        for path in (folder / name / "checkpoints").glob("step-*"):
            os.utime(path, (1e9 + when, 1e9 + when))
    state = folder / "a-half" / "checkpoints" / "step-00000002" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"total": 4}))
    found = open_page(runs=folder).get("/v1/models")["models"]
    assert [(one["id"], one["state"]) for one in found] == [
        ("n-new", "ready"),
        ("m-old", "ready"),
        ("digits", "ready"),
        ("digits-fast", "ready"),
        ("a-half", "stopped"),
    ]
