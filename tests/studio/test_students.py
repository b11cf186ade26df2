"""Students in the studio: told of, drawn from in their own walk, and refused what they do not heed."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
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


@pytest.fixture
def studio(open_page: Callable[..., Any], students: Students, tmp_path: Path) -> Any:
    """A studio of the teacher and its students; files are given as what a library lists."""
    runs = tmp_path / "runs"
    for path in (students.teacher, students.halving):
        shutil.copytree(path, runs / path.name)
    page = open_page(runs=runs)
    page.studio.library._given = [(path, path.stem) for path in (students.one, students.jump, students.scales)]
    return page


def test_a_student_is_told_of(studio: Any, students: Students) -> None:
    told = studio.get("/v1/models/jump")
    assert told["student"]["steps"] == [4, 2, 1]
    assert told["student"]["sampler"] == "jump"
    assert told["student"]["strengths"] == {"4": [1.0, 0.75, 0.5, 0.25], "2": [1.0, 0.5], "1": [1.0]}
    assert told["student"]["words"].startswith("4 evaluations (2 or 1 if asked), distilled from")
    assert told["student"]["teacher"] == str(students.teacher)
    assert told["sampling"]["sampler"] == "jump"
    assert told["sampling"]["times"] == [60, 45, 30, 15]
    assert told["edits"] == ["inpaint", "outpaint", "vary", "interpolate", "invert", "translate"]
    assert studio.get("/v1/models/scales")["student"]["scales"] == [1.0, 4.0]
    assert studio.get("/v1/models/halving")["student"]["guidance"] == 2.0
    assert studio.get("/v1/models/teacher")["student"] is None


def test_its_pictures_are_the_command_lines_and_made_again(studio: Any, tmp_path: Path) -> None:
    (image,) = studio.draw(model="halving", n=1, seed=5, settings={"classes": ["seven"]})
    assert image["recipe"]["settings"]["steps"] == 2
    words = image["recipe"]["command"].split()
    assert main([*words[1:], "--out", str(tmp_path / "cli"), "--device", "cpu"]) == 0
    assert studio.get(image["url"]) == (tmp_path / "cli" / "00000.png").read_bytes()
    (again,) = studio.images(studio.post(f"/v1/gallery/{image['id']}/again", {}))
    assert again["identical"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampler": "dpm++2m-sde"}, "does nothing with --sampler dpm++2m-sde"),
        ({"steps": 20}, "for 2 steps and --steps is 20"),
        ({"spacing": "trailing"}, "--spacing trailing"),
        ({"guidance": 1.0}, "has guidance 2 inside and --guidance is 1"),
        ({"weak": "teacher", "guidance": 2.0}, "--weak"),
    ],
)
def test_what_it_does_not_heed_is_refused(studio: Any, settings: dict[str, Any], said: str) -> None:
    answer = studio.post("/v1/samples", {"model": "halving", "n": 1, "settings": settings}, status=422)
    assert said in str(answer)
    assert "its teacher" in str(answer)


def test_a_choice_of_guidance_and_of_steps_is_heeded(studio: Any) -> None:
    (image,) = studio.draw(model="scales", n=1, settings={"guidance": 3.0})
    assert image["recipe"]["settings"]["guidance"] == 3.0
    (image,) = studio.draw(model="jump", n=1, settings={"steps": 1})
    assert image["recipe"]["settings"]["times"] == [60]


def test_a_walk_longer_than_the_studio_takes_is_refused(
    open_page: Callable[..., Any], students: Students, tmp_path: Path
) -> None:
    teacher = load_model(students.teacher)
    half = settings_of(teacher, ProgressiveConfig, 60, 30, student_steps=(30,))
    page = open_page(runs=tmp_path, limits=Limits(steps=20))
    page.studio.library._given = [(write_student(tmp_path / "long.safetensors", teacher, half), "long")]
    answer = page.post("/v1/samples", {"model": "long", "n": 1}, status=422)
    assert "At most 20 steps are taken here, and 30 came" in str(answer)


def test_edits_begin_at_its_times(studio: Any) -> None:
    packed = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)).save(packed, "PNG")
    picture = packed.getvalue()
    assert len(studio.images(studio.edit("vary", {"model": "one"}, image=picture))) == 1
    assert len(studio.images(studio.edit("vary", {"model": "jump", "options": {"strength": 0.25}}, image=picture))) == 1
    refused = studio.edit("vary", {"model": "one", "options": {"strength": 0.5}}, status=422, image=picture)
    assert "at its one time alone" in str(refused)
    refused = studio.edit("deblur", {"model": "jump"}, status=422, image=picture)
    assert "needs E[x0 | x_t]" in str(refused)
    assert "its teacher" in str(refused)


def test_a_training_takes_no_teacher_from_a_request(studio: Any) -> None:
    names = studio.get("/v1/settings")["train"]
    assert "distillation" not in names
    body = {"source": "digits", "settings": {"teacher": "/etc/passwd", "method": "progressive", "steps": 1}}
    assert studio.client.post("/v1/runs", json=body).status_code in (400, 422)
