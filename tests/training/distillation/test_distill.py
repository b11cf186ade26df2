"""`distill`: from a tiny teacher to students of every method, and what is refused before any training."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import undiffuse
from tests.training.run.test_going_on import stop_at
from undiffuse.checkpoints import training_checkpoint
from undiffuse.cli import main
from undiffuse.config.distillation import MatchConfig, ProgressiveConfig, student_of
from undiffuse.config.files import read_config
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import learning_settings
from undiffuse.model import build_model
from undiffuse.reports.commands import train_command
from undiffuse.reports.run_history import Story
from undiffuse.training.distillation.methods import student_objective
from undiffuse.training.distillation.request import DistillationRequest, make_stages
from undiffuse.training.run.signals import StoppedError

SMALL = {
    "base": 8,
    "multipliers": (1,),
    "blocks": 1,
    "attention_levels": (),
    "middle_attention": False,
    "timesteps": 64,
    "schedule": "cosine",
    "batch": 4,
    "device": "cpu",
    "sample_every": 0,
    "quiet": True,
}
QUICK = {"quiet": True, "updates": 1}
HALVING = {**QUICK, "method": "progressive"}
OF_DATA = {"method": "consistency", "earlier_by": "data"}


def pictures() -> list[tuple[np.ndarray, str]]:
    dice = np.random.default_rng(0)
    return [(dice.integers(0, 256, (8, 8), dtype=np.uint8), "even" if k % 2 else "odd") for k in range(12)]


@pytest.fixture(scope="module")
def home(own_cache, tmp_path_factory) -> Path:
    """A folder with runs: 'teacher' knows classes and predicts v, 'noise' predicts eps, 'data' x0, 'plain' no class."""
    folder = tmp_path_factory.mktemp("distill")
    common = {"source": pictures(), "runs": folder, "steps": 2, **SMALL}
    undiffuse.train(name="teacher", parameterization="v", condition=("class",), dropout=0.1, **common)
    undiffuse.train(name="noise", parameterization="epsilon", **common)
    undiffuse.train(name="data", parameterization="x0", **common)
    undiffuse.train(name="both", parameterization="v", learn_variance=True, loss="hybrid", **common)
    return folder


def made(folder: Path, name: str) -> object:
    found = student_of(read_config(folder / name / "config.yaml").distillation)
    assert found is not None
    return found


def learned(run: Path) -> dict[str, torch.Tensor]:
    """All that a run has learned, the first average of it."""
    checkpoint = training_checkpoint.load(max((run / "checkpoints").iterdir()))
    return next(iter(checkpoint.averages.values()))


def test_halving_is_a_chain_of_runs_each_the_next_ones_teacher(home, tmp_path):
    student = undiffuse.distill(home / "teacher", steps=2, runs=tmp_path, name="fast", **HALVING)
    names = ["fast-8-steps", "fast-4-steps", "fast"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    settings = [made(tmp_path, name) for name in names]
    assert all(isinstance(one, ProgressiveConfig) for one in settings)
    assert [one.student_steps for one in settings] == [(8,), (4,), (2,)]
    assert settings[0].teacher_times[0] == 64.0
    for before, after in pairwise(settings):
        assert after.teacher_times == before.student_times, "a student's walk is what the next one learns from"
        assert after.student_times == before.student_times[::2]
    assert [Path(one.teacher).name for one in settings] == ["teacher", "fast-8-steps", "fast-4-steps"]
    assert {one.origin for one in settings} == {str(home / "teacher")}
    assert len({one.teacher_sha256 for one in settings}) == 3
    drawn = student.sample(3)
    assert drawn.evaluations == 2
    assert student.plan().times.tolist() == [64.0, 32.0, 0.0]
    assert student.config.network.dropout == 0, "a teacher's dropout would blur what its student is told"


def test_a_student_starts_as_its_teacher(home, tmp_path):
    """With a learning rate of nearly nothing the student's first step is the teacher's own."""
    student = undiffuse.distill(home / "teacher", steps=8, runs=tmp_path, lr=1e-12, **HALVING)
    teacher = undiffuse.load(home / "teacher")
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(student.denoiser(x, 40.0).x0, teacher.denoiser(x, 40.0).x0, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("method", "steps", "walks"),
    [
        ("jump", (4, 1, 2, 8), {4: "jump", 1: "jump", 8: "jump"}),
        ("consistency", (2, 1), {2: "renoise", 1: "renoise"}),
    ],
)
def test_one_student_of_several_lengths(home, tmp_path, method, steps, walks):
    student = undiffuse.distill(home / "teacher", method=method, runs=tmp_path, **QUICK)
    assert made(tmp_path, f"teacher-{method}").student_steps == steps
    assert student.plan().steps == steps[0], "the first is the default"
    for count, sampler in walks.items():
        plan = student.plan(steps=count)
        assert (plan.steps, plan.settings.solver.sampler) == (count, sampler)
        assert plan.sample(1).evaluations == count
    assert student.plan(steps=1).times.tolist() == [64.0, 0.0]


def test_consistency_learns_guidance_from_a_teacher(home, tmp_path):
    how = {"method": "consistency", "steps": (2, 1), **QUICK}
    undiffuse.distill(home / "teacher", guidance=2.0, runs=tmp_path / "fixed", **how)
    config = read_config(tmp_path / "fixed" / "teacher-consistency" / "config.yaml")
    model = undiffuse.load(tmp_path / "fixed" / "teacher-consistency")
    assert student_objective(model, config.distillation).teacher.guidance == 2.0
    choice = undiffuse.distill(home / "teacher", guidance=(1.0, 2.0), runs=tmp_path / "choice", **how)
    assert choice.plan(guidance=1.5).sample(1).evaluations == 2


@pytest.mark.parametrize("earlier_by", ["teacher", "data"])
def test_consistency_learns_the_steps_of_a_teacher_or_of_the_noise(home, tmp_path, earlier_by):
    student = undiffuse.distill(
        home / "teacher", method="consistency", earlier_by=earlier_by, steps=1, runs=tmp_path, **QUICK
    )
    objective = student_objective(student, student.config.distillation)
    assert (objective.teacher is None) == (earlier_by == "data")
    assert student.sample(1).evaluations == 1


def test_jumps_are_compiled_for_whole_batches_alone(home, tmp_path, monkeypatch):
    """How many of a batch are two jumps of half the length differs from step to step."""
    sizes: dict[str, set[int]] = {"compiled": set(), "asked": set()}

    def compile(network, **options):
        network.register_forward_pre_hook(lambda module, given: sizes["asked"].add(len(given[0])))

        def compiled(x, time, **conditions):
            sizes["compiled"].add(len(x))
            return network(x, time, **conditions)

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    how = {"steps": (4, 1, 2), "compile": True, **QUICK, "updates": 3}
    undiffuse.distill(home / "teacher", method="jump", runs=tmp_path, **how)
    assert sizes["compiled"] == {4}
    assert len(sizes["asked"]) > 1


@pytest.mark.parametrize(("teacher", "method"), [("noise", "progressive"), ("noise", "jump"), ("data", "consistency")])
def test_a_row_that_cannot_is_matched_into_one_that_can(home, tmp_path, teacher, method):
    student = undiffuse.distill(home / teacher, method=method, steps=4, runs=tmp_path, name="fast", **QUICK)
    assert isinstance(made(tmp_path, "fast-v"), MatchConfig)
    assert student.config.diffusion.parameterization == "v"
    assert student.sample(1).evaluations == 4


def test_x0_is_a_row_that_can_be_halved(home, tmp_path):
    student = undiffuse.distill(home / "data", steps=8, runs=tmp_path, **HALVING)
    assert student.config.diffusion.parameterization == "x0"


def test_a_learned_variance_is_kept_and_not_used(home, tmp_path):
    assert undiffuse.distill(home / "both", steps=8, runs=tmp_path, **HALVING).sample(1).evaluations == 8


def test_guidance_goes_inside(home, tmp_path):
    student = undiffuse.distill(home / "teacher", steps=4, guidance=2.0, runs=tmp_path, name="fast", **HALVING)
    first, second = made(tmp_path, "fast-8-steps"), made(tmp_path, "fast")
    assert (first.teacher_guidance, first.guidance_inside) == (2.0, 2.0)
    assert (second.teacher_guidance, second.guidance_inside) == (1.0, 2.0), "its teacher has it inside already"
    assert student.sample(2).evaluations == 4
    with pytest.raises(UndiffuseError, match="guidance 2 inside"):
        student.plan(guidance=3.0)


def test_a_range_of_guidance_stays_a_choice(home, tmp_path):
    student = undiffuse.distill(
        home / "teacher",
        method="guidance",
        guidance=(1.0, 4.0),
        runs=tmp_path,
        name="led",
        lr=0.1,
        warmup=0,
        quiet=True,
        updates=3,
    )
    assert made(tmp_path, "led").guidance_range == (1.0, 4.0)
    one, three = (student.sample(1, guidance=w, steps=3).array for w in (1.0, 3.0))
    assert not np.array_equal(one, three)
    with pytest.raises(UndiffuseError, match="from 1 to 4"):
        student.plan(guidance=5.0)
    with pytest.raises(UndiffuseError, match="is told its guidance, from 1 to 4, and does nothing with `avoid=odd`"):
        student.plan(classes=("even",), guidance=2.0, avoid="odd")
    with pytest.raises(UndiffuseError, match="was distilled by matching, and plain training would undo that"):
        undiffuse.train(pictures(), start_from=str(tmp_path / "led"), runs=tmp_path, steps=1, quiet=True)
    with pytest.raises(UndiffuseError, match="would forget guidance: leave `earlier_by=data` out"):
        undiffuse.distill(tmp_path / "led", pictures(), runs=tmp_path, name="no", **OF_DATA, **QUICK)
    fast = undiffuse.distill(tmp_path / "led", pictures(), steps=8, runs=tmp_path, name="fast", **HALVING)
    assert made(tmp_path, "fast").guidance_range == (1.0, 4.0)
    assert fast.plan(guidance=2.0).sample(1).evaluations == 8


def test_a_stage_that_was_interrupted_goes_on_bit_for_bit(home, tmp_path):
    how = {"steps": 4, **HALVING, "updates": 4, "checkpoint_every": 2, "keep": 0}
    whole = undiffuse.distill(home / "teacher", runs=tmp_path / "whole", name="fast", **how)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "fast")
    shutil.rmtree(tmp_path / "cut" / "fast-8-steps" / "checkpoints" / "step-00000004")
    again = undiffuse.distill(home / "teacher", runs=tmp_path / "cut", name="fast", resume=True, **how)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


@pytest.mark.parametrize("method", ["jump", "consistency", "distribution"])
def test_a_student_that_draws_more_than_noise_goes_on_bit_for_bit(home, tmp_path, method):
    how = {"method": method, "quiet": True, "updates": 1, "checkpoint_every": 2, "keep": 0, "name": "fast"}
    whole = undiffuse.distill(home / "teacher", runs=tmp_path / "whole", **how)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "fast" / "checkpoints" / "step-00000004")
    again = undiffuse.distill(home / "teacher", runs=tmp_path / "cut", resume=True, **how)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


def test_whoever_stops_a_stage_is_told_how_all_of_them_go_on(home, tmp_path, monkeypatch):
    how = {"steps": 4, "runs": tmp_path, **HALVING, "updates": 4, "name": "fast"}
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(StoppedError) as error:
            undiffuse.distill(home / "teacher", **how)
    one = f"undiffuse train --resume {tmp_path / 'fast-8-steps'}"
    assert f"go on with: {one}, or with this stage and the later ones: the same command and `resume`" in str(
        error.value
    )
    assert main([*one.split()[1:], "--quiet"]) == 0
    again = undiffuse.distill(home / "teacher", resume=True, **how)
    whole = undiffuse.distill(home / "teacher", **how | {"name": "whole"})
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


@pytest.mark.parametrize("method", ["progressive", "distribution"])
def test_a_distillation_goes_on_where_its_teacher_and_its_stages_were_moved(home, tmp_path, method, capsys):
    shutil.copytree(home / "teacher", tmp_path / "here")
    how = {"method": method, "steps": 4, "quiet": True, "updates": 4, "checkpoint_every": 2, "keep": 0, "name": "fast"}
    whole = undiffuse.distill(tmp_path / "here", runs=tmp_path / "runs", **how)
    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "runs").rename(tmp_path / "moved")
    shutil.rmtree(max((tmp_path / "moved" / "fast" / "checkpoints").iterdir()))
    with pytest.raises(UndiffuseError, match="moved, repeat undiffuse distill with its new place and `resume`"):
        undiffuse.train(name="fast", runs=tmp_path / "moved", resume=True, quiet=True)
    for _ in range(2):  # the second time without a word on what the settings say
        again = undiffuse.distill(tmp_path / "there", runs=tmp_path / "moved", resume=True, **how | {"quiet": False})
        assert "warning" not in capsys.readouterr().out
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name
    assert made(tmp_path / "moved", "fast").origin == str(tmp_path / "there")


def test_another_teacher_under_the_same_name_is_refused(home, tmp_path):
    shutil.copytree(home / "teacher", tmp_path / "teacher")
    how = {"steps": 8, "runs": tmp_path, "name": "fast", **HALVING, "updates": 4, "checkpoint_every": 2, "keep": 0}
    undiffuse.distill(tmp_path / "teacher", **how)
    shutil.rmtree(tmp_path / "fast" / "checkpoints" / "step-00000004")
    shutil.rmtree(tmp_path / "teacher")
    shutil.copytree(home / "data", tmp_path / "teacher")
    with pytest.raises(UndiffuseError, match="other weights"):
        undiffuse.train(name="fast", runs=tmp_path, resume=True, quiet=True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"steps": 3}, "8, 4, 2, 1 can be made, and `steps` asks for 3"),
        ({"steps": 16}, "16 steps and `steps` asks for 16"),
        ({"steps": 0}, "from 1 on"),
        ({"steps": (4, 2)}, "`method=jump`"),
        ({"method": "halving"}, "no method 'halving'"),
        ({"method": "guidance"}, "needs `guidance`"),
        ({"method": "guidance", "guidance": 2.0, "steps": 4}, "leave `steps` out"),
        ({"guidance": (4.0, 1.0)}, "two that rise"),
        ({"guidance": (1.0, 2.0, 3.0)}, "two that rise"),
        ({"teacher": "data", "guidance": 2.0}, "told nothing beside the time"),
        ({"teacher_steps": 128}, "takes 64 steps at most, and `teacher_steps` is 128"),
        ({"teacher_steps": 100}, "takes 64 steps at most, and `teacher_steps` is 100"),
        ({"method": "jump", "teacher_steps": 4}, "4 steps and `steps` is 8 where nobody says"),
        ({"method": "distribution", "teacher_steps": 6}, "of 3 can be made, and `steps` is 4, 2, 1 where nobody says"),
        ({"minutes": 1.0}, "one budget"),
        ({"huber": 0.1}, "`method=progressive` has no `huber`"),
        ({"method": "consistency", "huber": "small"}, "'huber' in the settings must be a number"),
        ({"student_times": (1.0,)}, "filled in by itself"),
        ({"learning_rate": 0.1}, "unknown setting 'learning_rate'"),
        ({"teacher": "nobody"}, "nobody"),
        ({"lr": -1.0}, "`lr` must be more than 0"),
        ({"method": "distribution", "matched": 1.5}, "`matched` lies from 0 to 1, and here it is 1.5"),
        ({"method": "distribution", "critic_lr": 0.0}, "`critic_lr` is more than 0, and here it is 0"),
        ({"method": "distribution", "with_critic": False}, "filled in by itself"),
        ({"teacher": "noise", "method": "jump", "steps": (4, 1)}, "each twice another but the least"),
        ({"teacher_stride": 1}, "`teacher_stride` is a whole number from 2 on, got 1"),
        ({"teacher_stride": 4, "steps": 2}, "students of 4, 1 can be made"),
        ({"teacher_steps": 1}, "`teacher_steps` is a whole number from 2 on, got 1"),
        ({"method": "guidance", "guidance": 2.0, "teacher_steps": 8}, "leave `teacher_steps` out"),
        ({"method": "guidance", "guidance": 1.0}, "Guidance 1 is none"),
        ({**OF_DATA, "guidance": 2.0}, "would forget guidance: leave `earlier_by=data` out"),
        ({**OF_DATA, "guidance": (1.0, 2.0)}, "would forget guidance: leave `earlier_by=data` out"),
        ({"guidance": 1e9}, "`guidance` lies within 1000 of 0, and here it is 1e+09"),
        ({"guidance": (1.0, float("nan"))}, "two that rise"),
        ({"guidance": float("nan")}, "`guidance` lies within 1000 of 0, and here it is nan"),
        ({"method": "jump", "threshold": "dynamic"}, "`threshold=clip` or `threshold=none`"),
        ({"threshold": "foo"}, "`threshold` must be one of 'none', 'clip', 'dynamic' or null, got 'foo'"),
        ({"steps": 4.0}, "`steps` must be a whole number or a list, each a whole number, got 4.0"),
        ({"guidance": "2"}, "`guidance` must be a number or a list, each a number, got '2'"),
        ({"method": None}, "`method` must be a text, got None"),
        ({"updates": 0}, "`updates` must be a whole number from 1 on, got 0"),
        ({"updates": None, "minutes": -1.0}, "`minutes` must be a finite number above 0, got -1"),
        ({"updates": None, "minutes": "5"}, "`minutes` must be a number or null, got '5'"),
        ({"name": "a/b"}, "'a/b' cannot be the name of a run"),
        ({"name": "x" * 300}, "at most 255 bytes, and xxxxxxxx... has 300: choose a shorter `name`"),
        ({"name": ""}, "'' cannot be the name of a run"),
        ({"base": 16}, "`base` is the teacher's"),
        ({"schedule": "linear"}, "`schedule` is the teacher's"),
        ({"parameterization": "x0"}, "`parameterization` is the teacher's"),
        ({"start_from": "runs/other"}, "`start_from` is the teacher's"),
        ({"loss": "vlb"}, "`loss` is not for students"),
        ({"dropout": 0.1}, "`dropout` is not for students"),
        ({"images": 100}, "as `minutes` or `updates` say"),
        ({"source": "digits"}, "leave `source` out"),
        ({"data": "cats and dogs"}, "knows 2 classes, even, odd, and 'array.npz' has 2, cat, dog"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_any_training(home, tmp_path, asked, said):
    asked = {**asked}
    teacher = home / asked.pop("teacher", "teacher")
    if "data" in asked:
        asked["data"] = [(image, {"even": "cat", "odd": "dog"}[name]) for image, name in pictures()]
    with pytest.raises(UndiffuseError) as error:
        undiffuse.distill(teacher, runs=tmp_path / "runs", **{**HALVING, **asked})
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_a_name_that_is_taken_is_refused_and_resume_wants_the_same(home, tmp_path):
    undiffuse.distill(home / "teacher", steps=8, runs=tmp_path, name="fast", **HALVING)
    with pytest.raises(UndiffuseError, match="there already"):
        undiffuse.distill(home / "teacher", steps=8, runs=tmp_path, name="fast", **HALVING)
    with pytest.raises(UndiffuseError, match="other settings"):
        undiffuse.distill(home / "teacher", steps=8, guidance=2.0, runs=tmp_path, name="fast", resume=True, **HALVING)
    assert undiffuse.distill(home / "teacher", steps=8, runs=tmp_path, name="fast", resume=True, **HALVING)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"lr": 0.5}, "was begun with `lr=0.0005`"),
        ({"batch": 2}, "was begun with `batch=4`"),
        ({"updates": 2}, "was begun with another budget"),
        ({"updates": None, "minutes": 1.0}, "was begun with another budget"),
        ({"size": 4}, "was begun with `size=None`"),
        ({"weights": "raw"}, "was begun with a teacher of other weights"),
        ({"teacher": "data"}, "was begun with a teacher of other weights"),
        ({"data": "others"}, "are not those that the run learned from"),
    ],
)
def test_what_goes_on_is_what_was_begun(home, tmp_path, other, said):
    undiffuse.distill(home / "teacher", steps=8, runs=tmp_path, name="fast", **HALVING)
    other = {**other}
    teacher = home / other.pop("teacher", "teacher")
    if "data" in other:
        other["data"] = [(255 - image, name) for image, name in pictures()]
    with pytest.raises(UndiffuseError, match=said):
        undiffuse.distill(teacher, **{"steps": 8, "runs": tmp_path, "name": "fast", "resume": True, **HALVING, **other})


def test_a_stage_without_a_checkpoint_is_in_the_way_and_said_to_be(home, tmp_path):
    """So it is left by a process that was killed in its first second."""
    undiffuse.distill(home / "teacher", steps=8, runs=tmp_path, name="fast", **HALVING)
    shutil.rmtree(tmp_path / "fast" / "checkpoints")
    for resume in (False, True):
        with pytest.raises(UndiffuseError, match="fast is not empty and holds no checkpoint: delete it"):
            undiffuse.distill(home / "teacher", steps=8, runs=tmp_path, name="fast", resume=resume, **HALVING)


def test_pairs_that_are_elsewhere_now_are_asked_for(own_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "inputs"):
        Path(folder).mkdir()
        for k, (image, _) in enumerate(pictures()):
            Image.fromarray(image).save(Path(folder) / f"{k}.png")
    told = {"pairs": "inputs", "condition": ("image",), "parameterization": "v"}
    undiffuse.train("images", name="teacher", steps=1, **told, **SMALL)
    Path("inputs").rename("moved")
    how = {"steps": 8, "name": "fast", **HALVING}
    with pytest.raises(UndiffuseError, match=r"'inputs', which .* runs/teacher names it as its `pairs`, so say where"):
        undiffuse.distill("runs/teacher", **how)
    assert undiffuse.distill("runs/teacher", pairs="moved", **how).config.data.pairs == "moved"


@pytest.mark.parametrize("method", ["progressive", "jump", "consistency", "regression", "distribution"])
@pytest.mark.parametrize(
    ("asked", "used"),
    [({}, ("muon", None)), ({"optimizer": "adam"}, ("adam", 2e-4)), ({"parallel": "fsdp"}, ("adam", 2e-4))],
)
def test_the_usual_optimizer_is_left_out_where_it_cannot_be(home, method, asked, used):
    """Muon moves whole matrices; its rate goes with it, and what is asked for stays."""
    request = DistillationRequest(method=method, steps=(2,) if method != "progressive" else (4,), settings=asked)
    for stage in make_stages(undiffuse.load(home / "teacher"), "teacher", request):
        chases = stage.called == "distribution"
        optimizer = stage.config.optimizer
        assert optimizer.optimizer == ("adam" if chases else used[0])
        assert optimizer.lr == (1e-4 if chases else used[1] or (1e-3 if stage.called == "start" else 5e-4))
    stages = make_stages(undiffuse.load(home / "teacher"), "teacher", replace(request, settings={**asked, "lr": 3e-3}))
    assert stages[-1].config.optimizer.lr == 3e-3


@pytest.mark.parametrize(("asked", "used"), [({}, "muon"), ({"optimizer": "adam"}, "adam")])
def test_an_optimizer_that_is_asked_for_is_that_of_every_stage(home, tmp_path, asked, used):
    undiffuse.distill(home / "teacher", method="distribution", runs=tmp_path, name="fast", **asked, **QUICK)
    assert read_config(tmp_path / "fast-start" / "config.yaml").optimizer.optimizer == used


def test_guidance_of_a_short_chain_needs_no_walk(own_cache, tmp_path):
    short = {"parameterization": "v", "condition": ("class",), **SMALL, "timesteps": 8}
    undiffuse.train(pictures(), name="teacher", runs=tmp_path, steps=1, **short)
    student = undiffuse.distill(tmp_path / "teacher", method="guidance", guidance=2.0, runs=tmp_path, **QUICK)
    assert made(tmp_path, "teacher-guided").guidance_inside == 2
    assert student.plan(steps=3, sampler="ddim").sample(1).evaluations == 3


def test_a_file_is_no_place_for_a_student(home, tmp_path):
    (tmp_path / "fast").write_text("mine")
    with pytest.raises(UndiffuseError, match="fast is not empty and holds no checkpoint"):
        undiffuse.distill(home / "teacher", steps=8, runs=tmp_path, name="fast", **HALVING)
    assert (tmp_path / "fast").read_text() == "mine"


def test_a_student_may_take_four_of_its_teachers_steps_at_once(home, tmp_path):
    student = undiffuse.distill(home / "teacher", steps=1, teacher_stride=4, runs=tmp_path, name="fast", **HALVING)
    first, last = made(tmp_path, "fast-4-steps"), made(tmp_path, "fast")
    assert first.student_times == first.teacher_times[::4]
    assert (last.teacher_times, last.student_times) == (first.student_times, (64.0,))
    assert student.sample(2).evaluations == 1


def test_a_student_is_a_teacher_of_halving_alone(home, tmp_path):
    undiffuse.distill(home / "teacher", steps=8, runs=tmp_path, name="eight", **HALVING)
    four = undiffuse.distill(tmp_path / "eight", pictures(), steps=4, runs=tmp_path, name="four", **HALVING)
    assert four.plan().steps == 4
    assert made(tmp_path, "four").origin == str(home / "teacher")
    for asked, said in (
        ({"method": "jump"}, "only halving goes on from one: add `method=progressive`"),
        ({"steps": 8}, "takes 8 steps"),
        ({"steps": 4, "guidance": 2.0}, "inside already"),
        ({"method": "guidance"}, "inside already"),
        ({"steps": 4, "teacher_steps": 16}, "leave `teacher_steps` out"),
        ({"steps": 4, "threshold": "clip"}, "made for `threshold=none`"),
    ):
        with pytest.raises(UndiffuseError, match=said):
            undiffuse.distill(tmp_path / "eight", runs=tmp_path, name="no", **{**HALVING, **asked})


@pytest.mark.parametrize(
    ("method", "steps", "said"),
    [
        ("jump", 2, "distilled by jumps for 2 steps, has no walk that could be halved"),
        ("consistency", 2, "distilled by consistency for 2 steps, has no walk that could be halved"),
        ("consistency", (2, 1), "distilled by consistency for 1 or 2 steps, has no walk that could be halved"),
    ],
)
def test_a_walk_that_is_not_of_ddim_is_not_halved(home, tmp_path, method, steps, said):
    undiffuse.distill(home / "teacher", method=method, steps=steps, runs=tmp_path, name="first", **QUICK)
    with pytest.raises(UndiffuseError, match=said) as error:
        undiffuse.distill(tmp_path / "first", steps=1, runs=tmp_path, name="no", **HALVING)
    assert str(home / "teacher") in str(error.value)


def test_data_may_be_prepared_otherwise_than_the_teachers(home, tmp_path):
    undiffuse.convert(undiffuse.load(home / "data"), tmp_path / "data.safetensors", "file")
    larger = [np.kron(image, np.ones((2, 2), np.uint8)) for image, _ in pictures()]
    how = {"steps": 8, "runs": tmp_path, "name": "fast", **HALVING}
    with pytest.raises(UndiffuseError, match="prepare them alike with `size`"):
        undiffuse.distill(tmp_path / "data.safetensors", larger, **how)
    assert undiffuse.distill(tmp_path / "data.safetensors", larger, size=8, **how).config.data.size == 8


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_student_of_regression_learns_its_teachers_walk_by_a_better_sampler(home, tmp_path, steps):
    student = undiffuse.distill(
        home / "teacher", method="regression", teacher_steps=8, steps=steps, runs=tmp_path, **QUICK
    )
    assert made(tmp_path, "teacher-regression").teacher_sampler == "unipc2"
    assert student.sample(2).evaluations == steps


@pytest.mark.parametrize("steps", [1, 2])
def test_a_student_of_the_distribution_starts_from_one_of_the_walk(home, tmp_path, steps):
    student = undiffuse.distill(
        home / "teacher", method="distribution", steps=steps, runs=tmp_path, name="fast", **QUICK
    )
    start, end = made(tmp_path, "fast-start"), made(tmp_path, "fast")
    assert (start.method, end.method) == ("regression", "distribution")
    assert start.teacher == end.teacher == end.origin == str(home / "teacher")
    assert read_config(tmp_path / "fast" / "config.yaml").start.start_from == str(tmp_path / "fast-start")
    assert student.sample(2).evaluations == steps
    assert student.plan().settings.solver.sampler == ("renoise" if steps > 1 else "ddim")


def test_a_critic_learns_beside_its_student_and_starts_as_the_teacher(home, tmp_path):
    how = {"method": "distribution", "runs": tmp_path, "name": "fast", "lr": 1e-3, "critic_lr": 1e-9, **QUICK}
    undiffuse.distill(home / "teacher", **how)
    teacher = undiffuse.load(home / "teacher").network.state_dict()
    critic = {name: tensor for name, tensor in learned(tmp_path / "fast").items() if name.startswith("critic.")}
    more = {name for name in critic if name.removeprefix("critic.") not in teacher}
    assert len(critic) - len(more) == len(teacher)
    assert all("since" in name or "until" in name for name in more), "it is told between which times a step lies"
    assert all(float(critic[name].abs().max()) < 1e-6 for name in more if ".map." in name), "with no effect at first"
    for name in critic.keys() - more:
        torch.testing.assert_close(critic[name], teacher[name.removeprefix("critic.")], atol=1e-6, rtol=0)
    weights = (tmp_path / "fast", tmp_path / "fast-start")
    own, start = (undiffuse.load(path, "raw").network.state_dict() for path in weights)
    assert not torch.equal(own["stem.weight"], start["stem.weight"]), "the student does learn"


def test_a_students_file_is_without_its_critic_and_draws_the_same(home, tmp_path):
    student = undiffuse.distill(home / "teacher", method="distribution", runs=tmp_path, name="fast", **QUICK)
    undiffuse.convert(student, tmp_path / "fast.safetensors", "file")
    alone = undiffuse.load(tmp_path / "fast.safetensors")
    assert not [name for name in alone.network.state_dict() if name.startswith("critic.")]
    a, b = student.sample(2).array.astype(int), alone.sample(2).array.astype(int)
    assert np.abs(a - b).max() <= 2, "half precision"
    whole = build_model(learning_settings(alone.config), alone.info)
    assert any(name.startswith("critic.") for name in whole.network.state_dict()), "a benchmark trains it"


def test_a_student_is_loaded_without_its_critic_whatever_that_was_told(home, tmp_path):
    student = undiffuse.distill(home / "teacher", method="distribution", runs=tmp_path, name="fast", **QUICK)
    checkpoint = training_checkpoint.load(max((tmp_path / "fast" / "checkpoints").iterdir()))

    def untold(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor for name, tensor in tensors.items() if "since" not in name and "until" not in name}

    averages = {rate: untold(tensors) for rate, tensors in checkpoint.averages.items()}
    before = replace(checkpoint, weights=untold(checkpoint.weights), averages=averages)
    assert before.weights.keys() < checkpoint.weights.keys()
    loaded = undiffuse.load(training_checkpoint.save(before, tmp_path / "before"))
    assert not [name for name in loaded.network.state_dict() if name.startswith("critic.")]
    assert np.array_equal(loaded.sample(2).array, student.sample(2).array)


def test_a_walk_with_noise_cannot_be_learned(home, tmp_path):
    with pytest.raises(UndiffuseError, match="adds noise"):
        undiffuse.distill(
            home / "teacher", method="regression", teacher_sampler="dpm++2m-sde", runs=tmp_path / "runs", **QUICK
        )


@pytest.mark.parametrize("method", ["regression", "distribution"])
def test_a_range_of_guidance_is_learned_by_students_of_walks_and_of_distributions(home, tmp_path, method):
    how = {"method": method, "guidance": (1.0, 4.0), "runs": tmp_path, "name": "fast", "lr": 0.01, "warmup": 0, **QUICK}
    student = undiffuse.distill(home / "teacher", **how)
    names = [name for name in learned(tmp_path / "fast") if "scale" in name]
    assert any(name.startswith("critic.") for name in names) == (method == "distribution"), "the critic is told it, too"
    weak, strong = (student.sample(2, guidance=scale, classes=("even",)).array for scale in (1, 4))
    assert not np.array_equal(weak, strong), "whoever is told the scale heeds it"
    assert not (tmp_path / "fast-guided").exists(), "the first teacher is asked at any scale"


def told(capsys: pytest.CaptureFixture[str], teacher: Path, folder: Path, **asked: object) -> str:
    undiffuse.distill(teacher, runs=folder, name="fast", **{"method": "progressive", "updates": 1, **asked})
    return capsys.readouterr().err


def test_what_of_the_teacher_its_student_has_not_is_said(home, tmp_path, capsys):
    said = told(capsys, home / "noise", tmp_path / "noise", steps=8)
    assert "predicts epsilon, of which no such student can be made: a first stage turns it into v" in said
    assert "dropout 0.1 of" in told(capsys, home / "teacher", tmp_path / "teacher", steps=8)
    assert "is not used by students, whose steps need none" in told(capsys, home / "both", tmp_path / "both", steps=8)
    assert "predicts" not in told(capsys, home / "data", tmp_path / "data", steps=8)


def test_a_setting_without_effect_is_warned_of(home, tmp_path, capsys):
    said = told(capsys, home / "teacher", tmp_path / "a", steps=8, gamma=3.0)
    assert "`gamma=3` changes nothing here: it acts with `weighting=min-snr`" in said
    consistency = {"method": "consistency", "steps": 1}
    said = told(capsys, home / "teacher", tmp_path / "b", distance="l1", **consistency)
    assert "`distance=l1` changes nothing here: it acts with another `method`" in said
    said = told(capsys, home / "teacher", tmp_path / "c", annealing=3.0, **consistency)
    assert "`annealing=3` changes nothing here: it acts with `earlier_by=data`" in said
    said = told(capsys, home / "teacher", tmp_path / "d", earlier_by="data", annealing=3.0, **consistency)
    assert "changes nothing" not in said


@pytest.mark.parametrize(
    ("teacher", "asked"),
    [
        ("teacher", {"method": "consistency", "huber": 0.1, "steps": 1}),
        ("teacher", {"steps": 8, "guidance": (1.0, 3.0), "weighting": "p2", "p2_gamma": 0.5, "condition_lr": 3.0}),
        ("noise", {"method": "distribution", "steps": (2, 1), "ema": (0.9,), "threshold": "none"}),
        ("teacher", {"method": "regression", "teacher_sampler": "heun", "guidance": 2.0}),
        ("teacher", {"steps": 4, "teacher_stride": 4, "optimizer": "muon"}),
        ("teacher", {"steps": 4, "seed": 7, "weights": "raw", "flip": True, "accumulate": 2, "precision": "bfloat16"}),
        ("teacher", {"method": "distribution", "seed": 7, "data": "others", "size": (8, 8), "crop": "center"}),
    ],
)
def test_the_command_of_a_report_makes_each_stage_again_bit_for_bit(home, tmp_path, teacher, asked):
    if "data" in asked:
        asked = asked | {"data": tmp_path / "others"}
        for k, (image, name) in enumerate(pictures()):
            (tmp_path / "others" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[::-1]).save(tmp_path / "others" / name / f"{k}.png")
    undiffuse.distill(home / teacher, runs=tmp_path / "runs", name="fast", **{**HALVING, **asked})
    for folder in sorted((tmp_path / "runs").iterdir()):
        words = shlex.split(train_command(Story(folder, undiffuse.load(folder))))
        words[words.index("--runs") + 1] = str(tmp_path / "again")
        assert main([*words[1:], "--quiet"]) == 0
        before, again = (learned(runs / folder.name) for runs in (tmp_path / "runs", tmp_path / "again"))
        assert before.keys() == again.keys()
        assert all(torch.equal(before[name], again[name]) for name in before), words
        shutil.rmtree(tmp_path / "again")


@pytest.mark.parametrize(
    ("teacher", "asked", "threshold"),
    [
        ("teacher", {"method": "progressive"}, "none"),
        ("teacher", {"method": "progressive", "guidance": (2.0,)}, "clip"),
        ("teacher", {"method": "progressive", "threshold": "clip"}, "clip"),
        ("noise", {"method": "progressive"}, "clip"),
        ("data", {"method": "jump"}, "none"),
        ("teacher", {"method": "regression"}, "clip"),
    ],
)
def test_a_walk_is_clipped_where_guidance_or_epsilon_exaggerates(home, teacher, asked, threshold):
    """And where x0 is clipped, to overshoot an end of the range costs nothing."""
    config = make_stages(undiffuse.load(home / teacher), teacher, DistillationRequest(**asked))[-1].config
    assert config.distillation.teacher_threshold == threshold
    assert config.objective.clipped_error == (threshold == "clip")
    assert config.optimizer.optimizer == "muon"
