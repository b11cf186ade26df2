"""Students are trained once, measured at each of their numbers of steps, and their minutes are those of all stages."""

from __future__ import annotations

import json

import pytest

import undiffuse
from benchmarks.few_step import drawing, students
from benchmarks.few_step.judging import SavedJudge
from benchmarks.few_step.table import Table
from undiffuse.config.sampling import SampleConfig


@pytest.fixture
def model(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(drawing, "PATH", SampleConfig.of(sampler="ddim", steps=3))
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
    undiffuse.train(source=images, name="teacher", runs=tmp_path, base=8, multipliers=(1,), batch=8, steps=1, **common)
    monkeypatch.setattr(students, "MODEL", str(tmp_path / "teacher"))
    asked = {"method": "distribution", "steps": (4, 2), "teacher_steps": 8, "updates": 3, "batch": 8, "log_every": 1}
    monkeypatch.setattr(students, "STUDENTS", {"by distribution": asked})


def test_a_student_is_a_row_at_each_number_of_steps_with_the_minutes_of_its_stages(model, bench, tmp_path):
    judge = SavedJudge(bench, "c" * 64)
    table = Table.open(tmp_path / "rows.json", judge.sha256, "the judge of a test")
    students.fill(table, ["by distribution"], [0], 60, judge, tmp_path)
    assert [(row["method"], row["training_seed"], row["steps"], row["evaluations"]) for row in table.rows] == [
        ("by distribution", 0, 2, 2.0),
        ("by distribution", 0, 4, 4.0),
    ]
    runs = tmp_path / "runs"
    seconds = [
        json.loads(line)["time"]["seconds"]
        for name in ("by-distribution-seed-0-start", "by-distribution-seed-0")
        for line in (runs / name / "metrics.jsonl").read_text().splitlines()
        if "time" in json.loads(line)
    ]
    assert len(seconds) == 3 + 12
    assert students.minutes_of(runs / "by-distribution-seed-0", runs) == pytest.approx(sum(seconds) / 60)
    before = table.path.read_bytes()
    students.fill(table, ["by distribution"], [0], 60, judge, tmp_path)
    assert table.path.read_bytes() == before, "nothing is made again"
