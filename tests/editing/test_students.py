"""Edits by students: from times of their own alone, into noise by their first teacher, and without gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.students import Students, settings_of, student_model
from undiffuse import editing
from undiffuse.config.distillation import ProgressiveConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.diffusion.distillation.moves import move
from undiffuse.diffusion.gaussian import q_sample
from undiffuse.diffusion.trajectory import Noise
from undiffuse.editing import Editor
from undiffuse.editing.registry import EDITS, edits_of
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model, load_model


@pytest.fixture(scope="module")
def jump(students: Students) -> Model:
    return load_model(students.jump)


@pytest.fixture(scope="module")
def x0(jump: Model) -> torch.Tensor:
    return torch.rand(2, *jump.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_picture_is_varied_from_the_students_own_times(jump: Model, x0: torch.Tensor) -> None:
    """The walk written out: noised to 30 of 60, and two jumps home."""
    editor = Editor.of(jump, classes_of_none())
    assert editor.times_from(0.5).tolist() == [30.0, 15.0, 0.0]
    made = editing.vary(editor, x0, 0.5)
    denoiser = editor.denoiser([0])
    for k, picture in enumerate(x0):
        x = q_sample(picture[None], Noise(0, [k]).like(picture[None]), jump.schedule(torch.tensor(30.0)))
        with torch.no_grad():
            for t, s in ((30.0, 15.0), (15.0, 0.0)):
                until = torch.tensor(s, dtype=torch.float64)
                x = move(denoiser(x, torch.tensor(t, dtype=torch.float64), until=until), jump.schedule(until))
        torch.testing.assert_close(made[k], x[0], rtol=0, atol=1e-5)
    assert torch.equal(editing.vary(editor, x0, 0.0), x0)
    with pytest.raises(UndiffuseError, match=r"4 steps and starts at one of its times alone: .*0.25, 0.5, 0.75, 1,"):
        editing.vary(editor, x0, 0.6)


def test_one_step_has_one_strength(students: Students, x0: torch.Tensor) -> None:
    one = load_model(students.one)
    editor = Editor.of(one, classes_of_none())
    with pytest.raises(UndiffuseError, match=r"at its one time alone: `strength` is 1, and it is 0\.5"):
        editing.vary(editor, x0)
    assert editing.vary(editor, x0, 1.0).shape == x0.shape
    how, settings = EDITS["vary"].resolve(one, {}, {})
    assert how.strength == 1.0  # nobody said another
    assert settings == SampleConfig()
    assert EDITS["vary"].resolve(load_model(students.jump), {}, {"steps": 2})[0].strength == 0.5
    with pytest.raises(UndiffuseError, match="for 1 step and `steps` is 50"):
        EDITS["vary"].resolve(one, {}, {"steps": 50})


@pytest.mark.parametrize("name", ["halving", "one", "scales", "jump", "consistency"])
def test_holes_are_filled_by_replacement(name: str, students: Students, x0: torch.Tensor) -> None:
    model = load_model(getattr(students, name))
    known = torch.ones(1, 1, *x0.shape[2:])
    known[..., 10:20, 10:20] = 0
    filled = editing.inpaint(Editor.of(model), x0, known, method="replace")
    assert torch.equal(filled * known, x0 * known)
    assert filled.isfinite().all()
    assert not torch.equal(filled, x0)
    assert EDITS["inpaint"].resolve(model, {}, {})[0].method == "replace"


def test_a_picture_is_extended_in_tiles(jump: Model, x0: torch.Tensor) -> None:
    made = editing.outpaint(Editor.of(jump, overlap=14), x0[:1], ((0, 0), (0, 14)), method="replace")
    assert made.shape == (1, 1, 28, 42)
    assert torch.equal(made[..., :28], x0[:1])
    assert made.isfinite().all()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        *(("inpaint", {"method": method}) for method in ("dps", "pigdm", "ddnm", "repaint")),
        ("outpaint", {"method": "dps"}),
        ("upscale", {}),
        ("deblur", {}),
        ("denoise", {}),
    ],
)
def test_edits_that_need_the_posterior_mean_name_the_teacher(
    edit: str, said: dict[str, str], jump: Model, students: Students
) -> None:
    with pytest.raises(UndiffuseError, match=r"needs E\[x0 \| x_t\]") as error:
        EDITS[edit].resolve(jump, said, {})
    assert str(students.teacher) in str(error.value)


def test_python_is_refused_the_same(jump: Model, x0: torch.Tensor) -> None:
    editor, known = Editor.of(jump), torch.ones(1, 1, *x0.shape[2:])
    for method in ("dps", "repaint"):
        with pytest.raises(UndiffuseError, match=f"`method={method}` needs"):
            editing.inpaint(editor, x0, known, method=method)
    with pytest.raises(UndiffuseError, match="Taking noise off from any time needs"):
        editing.denoise(editor, x0, 0.1)


def test_what_a_student_can_do_is_listed(jump: Model, students: Students) -> None:
    assert edits_of(jump) == ["inpaint", "outpaint", "vary", "interpolate", "invert", "translate"]
    assert set(edits_of(jump)) < set(edits_of(load_model(students.teacher)))


def test_pictures_go_into_noise_by_the_first_teacher_and_home_by_the_student(
    students: Students, x0: torch.Tensor
) -> None:
    teacher = load_model(students.teacher)
    settings = SampleConfig.of(sampler="ddim", steps=60, spacing="linspace", classes=("none",))
    by_teacher = editing.invert(Editor.of(teacher, settings), x0)
    student = load_model(students.jump)
    editor = Editor.of(student, classes_of_none())
    found = editing.invert(editor, x0)
    assert torch.equal(found.latents, by_teacher.latents)
    assert found.evaluations == 60
    assert f"ask its teacher, {students.teacher}" in str(found.warning)  # a student has no more steps to take
    x = found.latents[:1]
    denoiser = editor.denoiser([0])
    with torch.no_grad():
        for t, s in zip(editor.plan.times[:-1], editor.plan.times[1:], strict=True):
            x = move(denoiser(x, t, until=s), student.schedule(s))
    torch.testing.assert_close(found.reconstructions[:1], x, rtol=0, atol=1e-5)


def test_translations_and_interpolations_of_pictures_work(students: Students, x0: torch.Tensor) -> None:
    for name in ("halving", "scales", "jump", "consistency"):
        editor = Editor.of(load_model(getattr(students, name)))
        line = editing.interpolate(editor, x0[0], x0[1], 3)
        assert line.shape == (3, *x0.shape[1:])
        assert editing.interpolate(editor, x0[0], x0[1], 3, way="shared").isfinite().all()
        for strength in (1.0, 0.5):
            made = editing.translate(editor, x0, "three", "one", strength=strength)
            assert made.pictures.isfinite().all()
            assert made.pictures.shape == x0.shape
        with pytest.raises(UndiffuseError, match="one of its times"):
            editing.translate(editor, x0, "three", strength=0.9)


def test_a_teacher_that_is_gone_or_another_is_named(students: Students, x0: torch.Tensor, tmp_path: Path) -> None:
    teacher = load_model(students.teacher)
    half = settings_of(teacher, ProgressiveConfig, 4, 2, student_steps=(2,))
    gone = student_model(teacher, replace(half, origin=str(tmp_path / "gone")))
    with pytest.raises(UndiffuseError, match=r"first teacher, .*gone, which is not there"):
        editing.invert(Editor.of(gone), x0)
    other = student_model(teacher, replace(half, origin_sha256="0" * 64))
    with pytest.raises(UndiffuseError, match=r"has other weights than then \(sha256 000000000000\.\.\.\)"):
        editing.invert(Editor.of(other), x0)


def test_a_teacher_that_was_asked_with_its_raw_weights_is_found(students: Students, x0: torch.Tensor) -> None:
    raw = load_model(students.teacher, "raw")
    assert raw.provenance["sha256"] != load_model(students.teacher).provenance["sha256"]
    half = settings_of(raw, ProgressiveConfig, 4, 2, student_steps=(2,))
    settings = SampleConfig.of(sampler="ddim", steps=60, spacing="linspace", classes=("none",))
    wanted = editing.invert(Editor.of(raw, settings), x0).latents
    assert torch.equal(editing.invert(Editor.of(student_model(raw, half), classes_of_none()), x0).latents, wanted)


def classes_of_none() -> SampleConfig:
    return SampleConfig.of(classes=("none",))
