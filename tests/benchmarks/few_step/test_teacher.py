"""The bar for few-step students is measured from end to end, on a network that knows nothing."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

from tiny import tiny_settings

from benchmarks.few_step import drawing, study, teacher
from benchmarks.few_step.drawing import draw, fidelity
from benchmarks.few_step.judges import MNIST_JUDGE, digit_judge, judge_of, read_judge
from benchmarks.few_step.study import Study
from benchmarks.few_step.table import TEACHER
from benchmarks.few_step.teacher import Case
from benchmarks.lib import judge as judges
from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model


@pytest.fixture
def judge(bench):
    return judge_of(bench, "c" * 64)


@pytest.fixture
def model(bench, monkeypatch):
    monkeypatch.setattr(study, "PATH", SampleConfig.of(sampler="ddim", steps=3))
    monkeypatch.setattr(drawing, "BLOCK", 30)
    info = replace(bench.data.info, classes=tuple("0123456789"))
    model = build_model(tiny_settings(condition=("class",), dropout=0.0, timesteps=100), info)
    model.provenance["sha256"] = "d" * 64
    return model.to("cpu")


def test_a_judge_is_trained_once_and_read_afterwards(bench, tmp_path, monkeypatch):
    trained = []

    def make_bench(n, judge=None):
        trained.append(judge is None)
        return replace(bench, judge=judge or bench.judge)

    monkeypatch.delenv("UNDIFFUSE_TEST_DATA", raising=False)
    monkeypatch.setattr("benchmarks.few_step.judges.make_bench", make_bench)
    first, second = digit_judge(tmp_path / "results"), digit_judge(tmp_path / "results")
    assert trained == [True, False, False]
    assert first.sha256 == second.sha256
    assert first.judge_held_out() == second.judge_held_out()


def test_the_judge_of_the_committed_rows_is_kept():
    rows = json.loads(Path("docs/measure/few-step.json").read_text())
    assert hashlib.sha256(MNIST_JUDGE.read_bytes()).hexdigest() == rows["judge_sha256"]
    assert sum(parameter.numel() for parameter in read_judge(MNIST_JUDGE).parameters()) > 200_000


def test_a_file_that_holds_no_judge_is_refused(tmp_path):
    path = tmp_path / "judge.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(UndiffuseError, match="not a valid safetensors file"):
        read_judge(path)


def test_the_data_themselves_are_at_no_distance(judge, bench):
    figures = judge.judge_images(bench.reference.images, bench.reference.labels)
    assert figures["fd"] == figures["fd_pixels"] == figures["nearest"] == 0
    assert figures["ink"] == 1
    assert figures["precision"] == figures["recall"] == figures["coverage"] == 1


def test_the_figures_of_digits_are_those_of_the_bench(judge, bench):
    x, seen = bench.held_out.images, judges.look(bench.judge, bench.held_out.images)[1].argmax(-1)
    figures, scores = judge.judge_images(x, seen), bench.measure(x)
    assert figures["fd"] == round(scores.fd, 2)
    assert figures["confidence"] == round(scores.confidence, 4)
    assert figures["nearest"] == round(scores.nearest, 3) == 1
    assert (figures["accuracy"], judge.floor) == (1, "held-out digits")


def test_bolder_images_have_more_ink_and_are_farther_away(judge, bench):
    x = bench.reference.images
    bold = judge.judge_images((1.5 * (x + 1) - 1).clamp(-1, 1), bench.reference.labels)
    assert 1 < bold["ink"] <= 1.5
    assert bold["fd_pixels"] > 0


def test_a_class_that_was_not_asked_for_costs_accuracy(judge, bench):
    seen = judges.look(bench.judge, bench.reference.images)[1].argmax(-1)
    asked = seen.clone()
    assert judge.judge_images(bench.reference.images, asked)["accuracy"] == 1
    asked[:20] = (asked[:20] + 1) % 10
    assert judge.judge_images(bench.reference.images, asked)["accuracy"] == 0.75
    with pytest.raises(UndiffuseError, match="80 and 79"):
        judge.judge_images(bench.reference.images, asked[1:])


def test_guidance_asks_twice_and_a_corrected_step_as_often_as_it_does(model, tmp_path):
    def evaluations(**how):
        return draw(model, SampleConfig.of(**how), 20, 0, tmp_path).evaluations

    assert evaluations(sampler="ddim", steps=3) == 3
    assert evaluations(sampler="ddim", steps=3, guidance=2.0) == 6
    assert evaluations(sampler="heun", steps=2) == 3  # the step to data is of first order


def test_kept_samples_are_those_that_are_drawn_and_more_of_them_begin_with_these(model, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "MICRO_BATCH", 10)
    settings = SampleConfig.of(sampler="ddim", steps=1)
    first = draw(model, settings, 20, 0, tmp_path)
    monkeypatch.setattr(type(model), "denoiser", property(lambda self: pytest.fail("drawn again")))
    again = draw(model, settings, 20, 0, tmp_path)
    monkeypatch.undo()
    assert (again.images == first.images).all()
    assert again.seconds == first.seconds
    monkeypatch.setattr(drawing, "MICRO_BATCH", 10)
    monkeypatch.setattr(drawing, "BLOCK", 20)
    more = draw(model, settings, 40, 0, tmp_path)
    assert (more.images[:20] == first.images).all()
    assert not (draw(model, settings, 20, 1, tmp_path).images == first.images).all()


def test_fidelity_is_the_distance_of_an_image_from_its_own_other():
    x = torch.zeros(2, 1, 2, 2)
    assert fidelity(x, x) == {"rms": 0, "distance": 0}
    assert fidelity(x, x + torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)) == {"rms": 1.5811, "distance": 3}


def test_the_walk_that_others_are_compared_with_is_faithful_to_itself(model, judge, tmp_path):
    own = Study("a model", model, judge, results=tmp_path, n=30)
    row = own.measure(model, study.PATH, seed=0)
    assert (row["rms"], row["evaluations"]) == (0, 3)
    assert "rms" not in own.measure(model, study.PATH, seed=1)


def test_the_table_is_filled_and_then_nothing_is_missing(model, judge, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(teacher, "LEARNED_STEPS", (1, 2))
    monkeypatch.setattr(teacher, "LEARNED_ON", 2)
    monkeypatch.setattr(teacher, "AMONG", 6)
    cases = [Case.parse(text) for text in ("ddim:trailing:2", "ddim:learned:2", "ddim:trailing:1:2:none")]
    for faithful, again in ((0, False), (0, False), (1000, True)):
        own = Study("a model", model, judge, results=tmp_path, n=30, faithful=faithful)
        table = own.open_table(tmp_path / "table.json")
        teacher.fill(table, own, cases, again=again)
    said = [line for line in capsys.readouterr().out.splitlines() if "are to be measured" in line]
    assert [line[:6] for line in said] == ["3 of 3", "0 of 3", "3 of 3"]
    rows = table.rows
    assert [row["method"] for row in rows] == ["held-out digits", *[TEACHER] * 3]
    assert [row["evaluations"] for row in rows] == [0, 2, 2, 2]
    assert ["rms" in row for row in rows] == [False, True, True, True]
    assert len(table.about["learned"]["2"]) == 2


def test_times_are_learned_where_a_case_asks_for_them_alone(model, judge, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher, "learned_times", lambda _: pytest.fail("learned"))
    own = Study("a model", model, judge, results=tmp_path, n=30, faithful=0)
    table = own.open_table(tmp_path / "table.json")
    teacher.fill(table, own, [Case.parse("ddim:trailing:1")])
    assert list(table.about) == ["judge", "model", "model_sha256"]


def test_a_case_says_what_is_unusual_alone():
    assert Case.parse("ddim:trailing:4") == Case("ddim", "trailing", 4)
    assert Case.parse("ddim:trailing:4::none") == Case("ddim", "trailing", 4, threshold="none")
    assert Case.parse("unipc2:learned:4:1.5") == Case("unipc2", "learned", 4, 1.5)
