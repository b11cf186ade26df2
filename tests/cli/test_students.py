"""Students at the command line: no flag is needed, none is passed over, and what they are is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.students import Students
from undiffuse import load
from undiffuse.provenance.png import read_metadata


def test_a_student_is_drawn_from_without_flags_and_made_again(undiffuse, students: Students, tmp_path: Path) -> None:
    for name, steps in (("halving", 2), ("one", 1), ("scales", 2), ("jump", 4), ("consistency", 2)):
        path, out = getattr(students, name), tmp_path / name
        done = undiffuse("sample", path, "-n", 2, "--out", out)
        assert done.status == 0, done.err
        picture = out / "00000.png" if (out / "00000.png").exists() else sorted(out.glob("*0*.png"))[0]
        origin = read_metadata(picture).origin
        assert origin.sample.solver.steps == steps
        assert len(origin.sample.solver.times) == steps
        again = undiffuse("sample", "--from", picture)
        assert "identical" in again.out, again.err + again.out


def test_a_scale_that_is_a_choice_is_recorded(undiffuse, students: Students, tmp_path: Path) -> None:
    done = undiffuse("sample", students.scales, "-n", 1, "--guidance", 3, "--out", tmp_path)
    assert done.status == 0, done.err
    picture = next(path for path in sorted(tmp_path.glob("*.png")) if path.name != "grid.png")
    assert read_metadata(picture).origin.sample.guide.guidance == 3
    assert "identical" in undiffuse("sample", "--from", picture).out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--sampler", "dpm++2m-sde"], "--sampler dpm++2m-sde"),
        (["--steps", "20"], "for 2 steps and --steps is 20"),
        (["--times", "60,31"], "other --times than its own"),
        (["--spacing", "trailing"], "--spacing trailing"),
        (["--timesteps", "learned"], "--spacing learned"),
        (["--eta", "1"], "--eta 1"),
        (["--guidance", "1"], "has guidance 2 inside and --guidance is 1"),
        (["--weak", "digits"], "--weak digits"),
        (["--avoid", "two"], "--avoid two"),
        (["--classifier", "x"], "--classifier x"),
        (["--threshold", "none"], "--threshold none"),
        (["--compare"], "A comparison of samplers needs E[x0 | x_t]"),
    ],
)
def test_flags_that_it_does_not_heed_are_refused(undiffuse, students: Students, typed: list[str], said: str) -> None:
    done = undiffuse("sample", students.halving, "-n", 1, *typed)
    assert done.status != 0
    assert said in done.err
    assert f"its teacher, {students.teacher}" in done.err
    assert done.err.strip().count("\n") == 0


def test_what_needs_the_posterior_mean_is_refused(undiffuse, students: Students, tmp_path: Path) -> None:
    for words in (
        ("likelihood", students.halving, "digits", "--limit", 2),
        ("anomaly", students.halving, "digits", "--normal", "digits"),
        ("timesteps", students.halving),
        ("sample", students.teacher, "-n", 1, "--weak", students.halving, "--guidance", 2),
        ("train-classifier", "digits", "--run", students.halving, "--out", tmp_path / "c"),
        ("evaluate", students.halving, "--bits", 4),
    ):
        done = undiffuse(*words)
        assert done.status != 0, words
        assert "needs E[x0 | x_t]" in done.err, (words, done.err)
        assert str(students.teacher) in done.err


def test_plain_training_does_not_start_from_a_student(undiffuse, students: Students, tmp_path: Path) -> None:
    done = undiffuse("train", "digits", "--from", students.halving, "--steps", 1, "--runs", tmp_path, "--name", "x")
    assert done.status != 0
    assert "was distilled by halving, and plain training would undo that: start from its teacher" in done.err
    assert str(students.teacher) in done.err
    assert not (tmp_path / "x").exists()


def test_info_says_first_what_a_student_is(undiffuse, students: Students) -> None:
    first, walk, spent, *_ = undiffuse("info", students.halving).out.splitlines()
    sha256 = json.loads(undiffuse("info", students.teacher, "--json").out)["sha256"][:6]
    wanted = f"2 evaluations, distilled from {students.teacher} (sha256 {sha256}...) by halving, guidance 2 inside"
    assert first.split(None, 1) == ["student", wanted]
    assert walk.split(None, 1) == ["walk", "ddim at t = 60, 30"]
    # 2 steps of 4 samples: 3 for the student, two guided steps of the teacher
    assert "56 in this training: 3 of the student for each of 8 samples, its gradient as two, 4 for the target" in spent
    jump = undiffuse("info", students.jump).out
    assert "4 evaluations (2 or 1 if asked), distilled from" in jump
    assert "by jumps" in jump
    assert "guidance from 1 to 4 is a choice" in undiffuse("info", students.scales).out
    assert "student" not in json.loads(undiffuse("info", students.teacher, "--json").out)


def test_a_report_and_a_comparison_know_a_student(undiffuse, students: Students, tmp_path: Path) -> None:
    done = undiffuse("report", students.halving, "--out", tmp_path / "report.html")
    assert done.status == 0, done.err
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "2 evaluations, distilled from" in page
    assert "undiffuse distill" in page
    assert "--sampler ddpm" not in page
    done = undiffuse("compare", students.teacher, students.halving, "-n", 2, "--out", tmp_path / "both.html")
    assert done.status == 0, done.err
    page = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert "2 evaluations, distilled from" in page
    assert "ddim, 2 steps" in page
    assert "not of one objective (loss" not in page
    assert "distillation differ" in page or "distillation differs" in page
    card = (students.halving / "README.md").read_text(encoding="utf-8")
    assert "| Distilled | 2 evaluations, distilled from" in card
    assert "Distilled" not in (students.teacher / "README.md").read_text(encoding="utf-8")


def test_a_student_is_evaluated_in_its_own_walk(undiffuse, students: Students, tmp_path: Path) -> None:
    done = undiffuse(*("evaluate", students.halving, "-n", 20, "--extractor", "pixels", "--out", tmp_path / "e.json"))
    assert done.status == 0, done.err
    subject = json.loads((tmp_path / "e.json").read_text())["subject"]
    assert (subject["sampler"], subject["settings"]["steps"], subject["evaluations"]) == ("ddim", 2, 2)
    assert "no bits/dim" in done.out


def test_a_film_of_a_student_is_its_own_walk(undiffuse, students: Students, tmp_path: Path) -> None:
    done = undiffuse("animate", "reverse", students.one, "-n", 1, "--out", tmp_path / "a.webp")
    assert done.status == 0, done.err
    assert (tmp_path / "a.webp").stat().st_size


def test_edits_at_the_command_line_take_a_students_times(undiffuse, students: Students, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)).save(picture)
    done = undiffuse("edit", "vary", students.one, picture, "--out", tmp_path / "out")
    assert done.status == 0, done.err
    made = read_metadata(tmp_path / "out" / "a.png").edited.about()
    words = made["command"].split()
    done = undiffuse(*words[1:], "--out", tmp_path / "again")
    assert done.status == 0, done.err
    assert np.array_equal(*(np.asarray(Image.open(tmp_path / each / "a.png")) for each in ("out", "again")))
    done = undiffuse("edit", "vary", students.one, picture, "--strength", "0.5", "--out", tmp_path / "half")
    assert "--strength is 1, and it is 0.5" in done.err
    done = undiffuse("edit", "deblur", students.one, picture)
    assert "--method pigdm needs E[x0 | x_t]" in done.err


def test_the_student_of_a_model_that_enlarges_enlarges(undiffuse, tiny: list[str], data: Path, tmp_path: Path) -> None:
    where = ("--runs", tmp_path, "--quiet", "--device", "cpu", "--batch", 4, "--sample-every", 0)
    more = ("--parameterization", "v", "--upscale", 2)
    assert undiffuse("train", data, "--name", "up", *tiny, *more, "--runs", tmp_path).status == 0
    made = undiffuse("distill", tmp_path / "up", "--method", "jump", "--steps", "2,1", "--updates", 1, *where)
    assert made.status == 0, made.err
    small = tmp_path / "small.png"
    Image.new("L", (4, 4), 90).save(small)
    for steps in ((), ("--steps", 1)):
        out = tmp_path / f"out{len(steps)}"
        done = undiffuse("edit", "upscale", tmp_path / "up-jump", small, "--out", out, *steps)
        assert done.status == 0, done.err
        with Image.open(out / "small.png") as large:
            assert large.size == (8, 8)
    refused = undiffuse("edit", "upscale", tmp_path / "up-jump", small, "--out", tmp_path / "no", "--steps", 4)
    assert "for 1 or 2 steps and --steps is 4" in refused.err


def test_a_student_of_distributions_is_measured(monkeypatch) -> None:
    """Its file has no critic, and a training step needs one."""
    from undiffuse.reports.speed import measure

    def one_step(work, *others):
        work()
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "ceilings", lambda *given: {})
    monkeypatch.setattr(measure, "median_seconds", one_step)
    with pytest.raises(KeyboardInterrupt):
        measure.bench(load("digits-fast"), "digits-fast", seconds=0.1, batch=2)
