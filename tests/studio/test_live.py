"""Live drawing: one request, one picture, and between two seeds a morph whose ends are their samples."""

from __future__ import annotations

import base64
import io
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.students import Students, settings_of, write_student
from undiffuse.cli import main
from undiffuse.config.distillation import ProgressiveConfig
from undiffuse.model import load_model
from undiffuse.studio.limits import Limits
from undiffuse.studio.routes import live as route


@pytest.fixture
def studio(open_page: Callable[..., Any], students: Students, tmp_path: Path) -> Any:
    """A studio of the teacher, which is a run, and of students, files that it was given."""
    runs = tmp_path / "runs"
    shutil.copytree(students.teacher, runs / "teacher")
    page = open_page(runs=runs)
    given = (students.one, students.jump, students.scales, students.consistency)
    page.studio.library._given = [(path, path.stem) for path in given]
    return page


def live(page: Any, model: str, seed: int = 0, status: int = 200, **settings: Any) -> Any:
    return page.post("/v1/live", {"model": model, "seed": seed, "settings": settings}, status=status)


def pixels(told: dict[str, Any]) -> np.ndarray:
    packed = base64.b64decode(told["url"].removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(packed)) as image:
        return np.asarray(image)


def test_it_is_the_sample_of_the_command_line(studio: Any, tmp_path: Path) -> None:
    told = live(studio, "jump", 5, classes=["seven"], steps=2)
    assert told["evaluations"] == 2
    assert told["id"] is None
    words = told["recipe"]["command"].split()
    assert main([*words[1:], "--out", str(tmp_path / "cli"), "--device", "cpu"]) == 0
    with Image.open(tmp_path / "cli" / "00000.png") as image:
        assert np.array_equal(pixels(told), np.asarray(image))
    assert studio.get("/v1/gallery")["items"] == []


@pytest.mark.parametrize("model", ["jump", "consistency", "scales"])
def test_a_morph_ends_in_the_pictures_of_its_seeds(studio: Any, model: str) -> None:
    """`consistency` takes fresh noise between its two steps."""
    ends = [pixels(live(studio, model, seed, classes=["seven"])) for seed in (3, 8)]
    morph = [
        pixels(live(studio, model, 3, classes=["seven"], morph_to=8, morph=part)) for part in (0.0, 0.25, 0.75, 1.0)
    ]
    assert np.array_equal(morph[0], ends[0])
    assert np.array_equal(morph[3], ends[1])
    assert len({picture.tobytes() for picture in morph}) == 4


def test_a_morph_is_kept_and_made_again(studio: Any, tmp_path: Path) -> None:
    how = {"classes": ["two"], "morph_to": 8, "morph": 0.25, "guidance": 2.5}
    seen = live(studio, "scales", 3, **how)
    (image,) = studio.draw(model="scales", n=1, seed=3, settings=how)
    item = studio.get(f"/v1/gallery/{image['id']}")
    assert (item["recipe"]["seed"], item["recipe"]["settings"]["morph_to"]) == (3, 8)
    assert item["recipe"]["settings"]["morph"] == 0.25
    assert "--morph-to 8 --morph 0.25" in item["recipe"]["command"]
    with Image.open(io.BytesIO(studio.get(image["url"]))) as kept:
        assert np.array_equal(np.asarray(kept), pixels(seen))
    (again,) = studio.images(studio.post(f"/v1/gallery/{image['id']}/again", {}))
    assert again["identical"]
    assert main([*item["recipe"]["command"].split()[1:], "--out", str(tmp_path / "cli"), "--device", "cpu"]) == 0
    assert (tmp_path / "cli" / "00000.png").read_bytes() == studio.get(image["url"])


def test_a_model_says_whether_it_is_fast_enough(studio: Any, students: Students, tmp_path: Path) -> None:
    assert studio.get("/v1/models/jump")["live"] == {"steps": [4, 2, 1], "why": None}
    told = studio.get("/v1/models/teacher")["live"]
    assert told["steps"] == []
    assert told["why"].startswith("Live drawing takes a model that draws in at most 8 evaluations of its network")
    teacher = load_model(students.teacher)
    half = settings_of(teacher, ProgressiveConfig, 20, 20, student_steps=(20, 10, 5, 1))
    studio.studio.library._given = [(write_student(tmp_path / "some.safetensors", teacher, half), "some")]
    assert studio.get("/v1/models/some")["live"]["steps"] == [5, 1]
    assert live(studio, "some", steps=5)["evaluations"] == 5
    assert "at most 8 steps, and --steps is 20" in str(live(studio, "some", status=422))


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        ("teacher", {}, "at most 8 evaluations of its network, and this one was made for more"),
        ("jump", {"steps": 3}, "for 1, 2 or 4 steps and --steps is 3"),
        ("scales", {"guidance": 9.0}, "guidance from 1 to 4 and --guidance is 9"),
        ("jump", {"morph_to": 1, "morph": 1.5}, "--morph takes a number from 0 to 1, and it is 1.5"),
        ("jump", {"morph_to": -1}, "--morph-to takes a seed, a whole number from 0, and it is -1"),
        ("jump", {"morph_to": 2**53}, "at most 9007199254740991"),
        ("jump", {"classes": ["eleven"]}, "eleven"),
    ],
)
def test_what_cannot_be_drawn_is_refused(studio: Any, model: str, settings: dict[str, Any], said: str) -> None:
    assert said in str(live(studio, model, status=422, **settings))


def test_what_is_malformed_is_refused(studio: Any) -> None:
    for body in ({"model": "jump", "seed": -1}, {"model": "jump", "seed": 0.5}, {"model": "jump", "n": 2}, {}):
        assert list(studio.post("/v1/live", body, status=422)) == ["error"]
    assert "no model" in str(studio.post("/v1/live", {"model": "nobody"}, status=404))


def test_an_edit_does_not_morph_between_seeds(studio: Any) -> None:
    packed = io.BytesIO()
    Image.new("L", (28, 28)).save(packed, "PNG")
    asked = {"model": "jump", "settings": {"morph_to": 3}}
    job = studio.edit("vary", asked, image=packed.getvalue())
    assert "for samples, made of noise" in studio.events(job)[-1][1]["error"]


def test_one_is_drawn_at_a_time_and_too_many_are_told_to_come_back(studio: Any, monkeypatch: Any) -> None:
    """Of eight one is drawn, two wait, and five are refused before the first has its picture."""
    wanted = pixels(live(studio, "jump", 4))
    draw, inside, most = route.draw_live, list[int](), list[int]()
    refused = threading.Semaphore(0)

    def watched(*given: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        assert all(refused.acquire(timeout=30) for _ in range(5))
        refused.release(5)
        inside.pop()
        return draw(*given)

    monkeypatch.setattr(route, "draw_live", watched)
    monkeypatch.setattr(route, "WAITING", 2)

    def ask(_: int) -> Any:
        answer = studio.client.post("/v1/live", json={"model": "jump", "seed": 4})
        if answer.status_code == 429:
            refused.release()
        return answer

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(ask, range(8)))
    assert most == [1, 1, 1]
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 5
    for answer in answers:
        if answer.status_code == 200:
            assert np.array_equal(pixels(answer.json()), wanted)
        else:
            assert answer.headers["Retry-After"] == "1"


def test_the_limit_of_evaluations_is_the_studios(open_page: Callable[..., Any], students: Students) -> None:
    page = open_page(limits=Limits(live=1))
    page.studio.library._given = [(students.jump, "jump")]
    assert page.get("/v1/models/jump")["live"]["steps"] == [1]
    assert page.get("/v1/status")["limits"]["live"] == 1
    assert "at most 1 step, and --steps is 2" in str(live(page, "jump", steps=2, status=422))
