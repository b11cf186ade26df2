"""Students are trained once, measured at each of their numbers of steps, and their minutes are those of all stages."""

from __future__ import annotations

import json

import pytest

import undiffuse
from benchmarks.few_step import drawing, students
from benchmarks.few_step.judges import judge_of
from benchmarks.few_step.study import Study
from undiffuse.errors import UndiffuseError


@pytest.fixture
def study(bench, monkeypatch, tmp_path):
    """A teacher that is a run beside its students, and one method."""
    monkeypatch.setattr(drawing, "BLOCK", 30)
    images = [(image[0], str(k % 10)) for k, image in enumerate(bench.data.images[:40])]
    common = {
        "blocks": 1,
        "attention_levels": (),
        "quiet": True,
        "condition": ("class",),
        "dropout": 0.0,
        "timesteps": 64,
        "parameterization": "v",
    }
    runs = tmp_path / "runs"
    undiffuse.train(source=images, name="teacher", runs=runs, base=8, multipliers=(1,), batch=8, steps=1, **common)
    asked = {"method": "distribution", "steps": (4, 2), "teacher_steps": 8, "updates": 3, "batch": 8, "log_every": 1}
    halved = {"method": "progressive", "steps": 2, "teacher_steps": 8, "updates": 1, "batch": 8}
    monkeypatch.setattr(students, "STUDENTS", {"matched": asked, "halved": halved})
    path = str(runs / "teacher")
    return Study(path, undiffuse.load(path), judge_of(bench, "c" * 64), results=tmp_path, n=60, faithful=0)


def test_a_student_is_a_row_at_each_number_of_steps_with_the_minutes_of_its_stages(study, tmp_path):
    table = study.open_table(tmp_path / "rows.json")
    students.fill(table, study, ["matched"], [0])
    assert [(row["method"], row["training_seed"], row["steps"], row["evaluations"]) for row in table.rows] == [
        ("distribution", 0, 2, 2.0),
        ("distribution", 0, 4, 4.0),
    ]
    runs = tmp_path / "runs"
    seconds = [
        json.loads(line)["time"]["seconds"]
        for name in ("matched-seed-0-start", "matched-seed-0")
        for line in (runs / name / "metrics.jsonl").read_text().splitlines()
        if "time" in json.loads(line)
    ]
    assert len(seconds) == 3 + 12
    student = runs / "matched-seed-0"
    assert students.minutes_of(student, study.sha256) == pytest.approx(sum(seconds) / 60)
    with pytest.raises(UndiffuseError, match="matched-seed-0 has another teacher"):
        students.minutes_of(student, "0" * 64)
    before = table.path.read_bytes()
    students.fill(table, study, ["matched"], [0])
    assert table.path.read_bytes() == before, "nothing is made again"


def test_each_stage_of_a_chain_of_halvings_is_a_row(study, tmp_path):
    table = study.open_table(tmp_path / "rows.json")
    students.fill(table, study, ["halved"], [3])
    assert [(row["method"], row["training_seed"], row["steps"]) for row in table.rows] == [
        ("progressive", 3, 2),
        ("progressive", 3, 4),
    ]
    of_two, of_four = (row["minutes"] for row in table.rows)
    assert of_two >= of_four, "the minutes of the stages before count"
