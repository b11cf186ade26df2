"""Students know how they are sampled: nobody has to say it, and all else is refused, naming the teacher."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.students import Students, settings_of, student_model, write_student
from undiffuse.checkpoints.model_file import FORMAT, STUDENT_FORMAT, read
from undiffuse.config.distillation import (
    ConsistencyConfig,
    DistributionConfig,
    JumpConfig,
    MatchConfig,
    ProgressiveConfig,
    RegressionConfig,
    StudentConfig,
    student_of,
)
from undiffuse.config.files import from_dict, to_dict
from undiffuse.config.sampling import SampleConfig
from undiffuse.diffusion.distillation.moves import move
from undiffuse.diffusion.guidance import Clip, Conditioned
from undiffuse.diffusion.trajectory import Noise, start
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model, load_model
from undiffuse.model.cascade import check_top
from undiffuse.model.student_words import spent_in_words


@pytest.fixture(scope="module")
def halving(students: Students) -> Model:
    return load_model(students.halving)


@pytest.fixture(scope="module")
def scales(students: Students) -> Model:
    return load_model(students.scales)


def test_a_student_draws_in_its_own_walk_where_nobody_says_anything(students: Students, halving: Model) -> None:
    for path, sampler, times in (
        (students.halving, "ddim", (60.0, 30.0)),
        (students.one, "ddim", (60.0,)),
        (students.jump, "jump", (60.0, 45.0, 30.0, 15.0)),
        (students.consistency, "renoise", (60.0, 30.0)),
    ):
        plan = load_model(path).plan()
        assert (plan.settings.solver.sampler, plan.settings.solver.times) == (sampler, times)
        assert plan.settings.solver.steps == len(times)
        assert plan.times.tolist() == [*times, 0.0]
        assert plan.settings.guide.guidance == 1
        assert plan.model.plan(plan.settings).settings == plan.settings  # said in full it is the same


def test_a_student_of_several_counts_takes_those_of_its_times(students: Students) -> None:
    jump = load_model(students.jump)
    assert jump.plan(steps=2).settings.solver.times == (60.0, 30.0)
    assert jump.plan(steps=1).settings.solver.times == (60.0,)
    assert jump.plan(times=(60.0, 30.0)).steps == 2
    with pytest.raises(UndiffuseError, match=r"for 1, 2 or 4 steps and `steps` is 3: .* its teacher"):
        jump.plan(steps=3)


def test_the_samples_are_those_of_the_denoisers_own_steps(students: Students) -> None:
    """Two jumps written out: the student is told its class and where each step ends."""
    model = load_model(students.jump)
    plan = model.plan(steps=2, classes=("three",), micro_batch=2)
    x = start(model.denoiser, model.shape, Noise(0, range(2)))
    told = Clip(Conditioned(model.denoiser, {"label": torch.tensor([3, 3])}))
    with torch.no_grad():
        for t, s in ((60.0, 30.0), (30.0, 0.0)):
            times = [torch.tensor(time, dtype=torch.float64) for time in (t, s)]
            x = move(told(x, times[0], until=times[1]), model.schedule(times[1]))
    assert np.array_equal(plan.sample(2).array, model.codec.decode(x))


@pytest.mark.parametrize(
    ("typed", "what"),
    [
        ({"sampler": "dpm++2m-sde"}, "`sampler=dpm\\+\\+2m-sde`"),
        ({"steps": 20}, "for 2 steps and `steps` is 20"),
        ({"steps": 1}, "for 2 steps and `steps` is 1"),
        ({"times": (60.0, 31.0)}, "other `times` than its own"),
        ({"spacing": "trailing"}, "`spacing=trailing`"),
        ({"spacing": "learned"}, "`spacing=learned`"),
        ({"eta": 0.5}, "`eta=0.5`"),
        ({"churn": 40.0}, "`churn=40.0`"),
        ({"guidance": 1.0}, "has guidance 2 inside and `guidance` is 1"),
        ({"guidance": 3.0}, "has guidance 2 inside and `guidance` is 3"),
        ({"avoid": "two"}, "`avoid=two`"),
        ({"weak": "digits"}, "`weak=digits`"),
        ({"classifier": "runs/x"}, "`classifier=runs/x`"),
        ({"guidance_interval": (0.1, 1.0)}, "`guidance_interval=0.1,1.0`"),
        ({"threshold": "none"}, "`threshold=none`"),
    ],
)
def test_what_a_student_does_not_heed_is_refused_naming_its_teacher(
    typed: dict[str, Any], what: str, halving: Model, students: Students
) -> None:
    with pytest.raises(UndiffuseError, match=what) as error:
        halving.plan(**typed)
    assert str(students.teacher) in str(error.value)


def test_what_is_the_students_own_may_be_said(halving: Model) -> None:
    own = halving.plan().settings
    said = halving.plan(sampler="ddim", steps=2, eta=0.0, threshold="clip", guidance=2.0)
    assert said.settings == own
    with pytest.raises(UndiffuseError, match=r"`eta=0.3`"):
        halving.plan(SampleConfig.of(eta=0.3))


def test_guidance_of_a_range_is_what_the_network_is_told(scales: Model, students: Students) -> None:
    plan = scales.plan(guidance=2.5, classes=("one",))
    assert plan.request.rows["scale"].tolist() == [2.5]
    assert plan.request.guidance.scale == 1
    assert plan.settings.guide.guidance == 2.5
    assert scales.plan().settings.guide.guidance == 1
    with pytest.raises(UndiffuseError, match=r"from 1 to 4 and `guidance` is 5: .* its teacher, .*teacher"):
        scales.plan(guidance=5.0)
    one, four = (scales.sample(2, guidance=w, classes=("one",)).array for w in (1.0, 4.0))
    assert not np.array_equal(one, four)
    examples = {"label": torch.tensor([1])}
    by_examples = scales.plan(guidance=4.0, examples=examples).sample(2).array
    assert np.array_equal(by_examples, four)


def test_what_is_no_number_is_said_before_what_a_student_heeds(scales: Model) -> None:
    for typed in ({"guidance": "much"}, {"guidance": None}, {"steps": "all"}, {"surprise": 1}):
        with pytest.raises(UndiffuseError, match=r"guidance|steps|surprise"):
            scales.plan(**typed)


def test_a_range_without_1_is_asked_as_its_teacher_was(students: Students) -> None:
    teacher = load_model(students.teacher)
    half = settings_of(teacher, ProgressiveConfig, 4, 2, student_steps=(2,), guidance_range=(1.5, 4.0))
    for guidance, unsaid in ((2.0, 2.0), (1.0, 1.5)):
        model = student_model(teacher, replace(half, teacher_guidance=guidance))
        assert model.plan().settings.guide.guidance == unsaid
        assert model.plan(model.plan().settings).settings == model.plan().settings
        with pytest.raises(UndiffuseError, match=r"from 1.5 to 4"):
            model.plan(guidance=1.0)


def test_a_matched_model_is_an_ordinary_one(students: Students) -> None:
    teacher = load_model(students.teacher)
    model = student_model(teacher, settings_of(teacher, MatchConfig, 4, 4))
    assert model.plan(sampler="ddim", steps=7, eta=0.5).settings.solver.sampler == "ddim"


def test_samplers_of_students_are_for_students(students: Students) -> None:
    teacher = load_model(students.teacher)
    for name in ("renoise", "jump"):
        with pytest.raises(UndiffuseError, match=f"`sampler={name}` is for a student of .*, and this model is none"):
            teacher.plan(sampler=name)
        with pytest.raises(UndiffuseError, match=f"`sampler={name}`"):
            load_model(students.halving).plan(sampler=name)


def test_a_student_leads_nobody(students: Students) -> None:
    with pytest.raises(UndiffuseError, match=r"needs E.x0 | x_t.*its teacher"):
        load_model(students.teacher).plan(weak=str(students.halving), guidance=2.0)


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_students_file_is_of_a_format_of_its_own(students: Students, tmp_path: Path) -> None:
    teacher = load_model(students.teacher)
    assert (_header(students.one)["format"], FORMAT, STUDENT_FORMAT) == (2, 1, 2)
    student = student_of(read(students.one).config.distillation)
    assert student is not None
    assert (student.origin, student.student_steps, student.teacher_guidance) == (str(students.teacher), (1,), 2.0)
    from undiffuse.export.model_file import write

    write(teacher, tmp_path / "teacher.safetensors")
    assert _header(tmp_path / "teacher.safetensors")["format"] == 1
    assert "distillation" not in _header(tmp_path / "teacher.safetensors")["config"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"student_times": [30.0, 60.0]}, "`student_times` falls"),
        (
            {"student_times": [61.0, 30.0]},
            "falls, from 60 at most to more than 0, and here it is 61, 30",
        ),
        ({"student_times": [60.0, 0.0]}, "`student_times` falls"),
        ({"student_times": [60.0, 60.0]}, "`student_times` falls"),
        ({"teacher_times": [60.0, -1.0]}, "`teacher_times` falls"),
        ({"student_times": []}, "`student_steps` has different divisors|needs `student_times`"),
        ({"student_steps": [3]}, "`student_steps` has different divisors of the student's 2 times, and here it is 3"),
        ({"student_steps": [0]}, "`student_steps` has different divisors"),
        ({"student_steps": [2, 2]}, "`student_steps` has different divisors"),
        ({"student_steps": [-1]}, "`student_steps` has different divisors"),
        ({"guidance_range": [2.0]}, "`guidance_range` is two rising numbers"),
        ({"guidance_range": [2.0, 1.0]}, "`guidance_range` is two rising numbers"),
        ({"guidance_range": [1.0, 2.0, 3.0]}, "`guidance_range` is two rising numbers"),
        ({"guidance_range": [1.0, 1e9]}, "`guidance_range` is two rising numbers"),
        ({"teacher_guidance": 1e300}, "`teacher_guidance` lies within 1000 of 0"),
        ({"teacher_stride": 0}, "`teacher_stride` divides the teacher's 4 steps"),
        ({"teacher_stride": 3}, "`teacher_stride` divides the teacher's 4 steps"),
        ({"origin": "x\x1b[31m"}, "`origin` names a model"),
        ({"origin": "x" * 5000}, "`origin` names a model"),
        ({"origin_sha256": "abc"}, "`origin_sha256` is 64 digits"),
        ({"method": "magic"}, "method"),
        ({"surprise": 1}, "unknown setting 'distillation.surprise'"),
    ],
)
def test_a_strangers_student_is_checked_before_anything_is_made_of_it(
    changed: dict[str, Any], sentence: str, students: Students
) -> None:
    tree = to_dict(load_model(students.halving).config)
    tree["distillation"] = {**tree["distillation"], **changed}
    with pytest.raises(UndiffuseError, match=sentence) as error:
        from_dict(tree, "model.safetensors")
    assert "model.safetensors" in str(error.value)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("method", ["regression", "distribution"])
def test_a_strangers_student_of_a_walk_has_steps(method: str, students: Students) -> None:
    tree = to_dict(load_model(students.halving).config)
    tree["distillation"] = {"method": method}
    with pytest.raises(UndiffuseError, match="`student_steps` of a student that learns a walk are one or more"):
        from_dict(tree, "model.safetensors")


def test_a_walk_of_too_many_times_is_refused(students: Students) -> None:
    tree = to_dict(load_model(students.halving).config)
    tree["distillation"]["teacher_times"] = np.linspace(60, 1, 100_001).tolist()
    with pytest.raises(UndiffuseError, match="at most 100,000 times, and here it has 100,001"):
        from_dict(tree, "model.safetensors")


def test_a_damaged_file_of_a_student_says_so(students: Students, tmp_path: Path) -> None:
    teacher = load_model(students.teacher)
    bad = settings_of(teacher, JumpConfig, 4, 4, student_steps=(3,))
    path = write_student(tmp_path / "bad.safetensors", teacher, bad)
    with pytest.raises(UndiffuseError, match=r"bad.safetensors: `student_steps` has different divisors"):
        load_model(path)


def _header(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    found: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["undiffuse"])
    return found


def test_a_student_is_no_last_stage_of_a_cascade(students: Students) -> None:
    with pytest.raises(UndiffuseError, match=r"says how the others walk, .* by halving .*: put its teacher there, "):
        check_top(load_model(students.halving).config)
    check_top(load_model(students.teacher).config)


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "more", "target"),
    [
        (MatchConfig, {}, 1),
        (MatchConfig, {"teacher_guidance": 2.0}, 2),
        (MatchConfig, {"guidance_range": (1.0, 4.0)}, 2),  # the first teacher is asked with and without its class
        (MatchConfig, {"guidance_range": (1.0, 4.0), "teacher_sha256": "0" * 64}, 1),  # a later one is told the scale
        (ProgressiveConfig, {"student_steps": (4,)}, 2),
        (ProgressiveConfig, {"student_steps": (4,), "teacher_guidance": 2.0}, 4),
        (ConsistencyConfig, {"student_steps": (2,)}, 2),
        (ConsistencyConfig, {"student_steps": (2,), "earlier_by": "data"}, 1),
        # Four of seven jumps by two steps of the teacher, each of one or two evaluations, the others by two of its own.
        (JumpConfig, {"student_steps": (4, 2, 1)}, 2),
        (JumpConfig, {"student_steps": (4, 2, 1), "teacher_guidance": 2.0}, (4 * 4 + 3 * 2) / 7),
        (JumpConfig, {"student_steps": (2, 1)}, (2 * 4 + 1 * 2) / 3),
        (RegressionConfig, {"student_steps": (1,), "teacher_sampler": "unipc2"}, 8),
        (RegressionConfig, {"student_steps": (1,), "teacher_sampler": "heun"}, 16),
        # The critic's learning, and in three of four batches two answers, else a walk of 8 steps from the first time, 4
        # from the middle; the second of two steps has one before it.
        (DistributionConfig, {"student_steps": (1,)}, 3 + (3 * 2 + 8) / 4),
        (DistributionConfig, {"student_steps": (1,), "matched": 0.5}, 3 + (2 + 8) / 2),
        (DistributionConfig, {"student_steps": (2, 1)}, 3 + (2 * (3 * 2 + 8) / 4 + 1 + (3 * 2 + 4) / 4) / 3),
    ],
)
def test_evaluations_spent_count_student_and_teacher(
    cls: type[StudentConfig], more: dict[str, Any], target: float, students: Students
) -> None:
    teacher = load_model(students.teacher)
    student = replace(settings_of(teacher, cls, 8, 4), **more)
    config = replace(teacher.config, distillation=student)
    samples = 6 * config.loop.batch
    assert spent_in_words(config, 6).startswith(
        f"{round(samples * (3 + target)):,} in this training: 3 of the student "
    )
    assert spent_in_words(teacher.config, 6) == ""


@pytest.mark.parametrize("name", ["jump", "consistency", "scales"])
def test_a_student_morphs_from_seed_to_seed_to_the_bit(students: Students, name: str) -> None:
    """One of them takes fresh noise between its steps, which morphs as the noise does that it starts from."""
    model = load_model(getattr(students, name))
    ends = [model.sample(1, seed=seed).array for seed in (3, 8)]
    for part, end in zip((0.0, 1.0), ends, strict=True):
        assert np.array_equal(model.sample(1, seed=3, morph_to=8, morph=part).array, end)
    assert not any(np.array_equal(model.sample(1, seed=3, morph_to=8).array, end) for end in ends)
