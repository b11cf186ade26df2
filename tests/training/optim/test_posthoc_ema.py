"""Copies left by a training, and what is made of them."""

import pytest
import torch
from tiny import tiny_data, tiny_settings

import undiffuse
from undiffuse.cli import main
from undiffuse.errors import UndiffuseError
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.callbacks import ema_snapshots
from undiffuse.training.optim.posthoc_ema import make_average

SETTINGS = {"sample_every": 0, "steps": 64, "ema_std": (0.05, 0.1, 0.15), "ema_copies": 16, "checkpoint_every": 24}


class InterruptedTrainingError(Exception):
    """A training that ends in the middle."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    start_run(tiny_settings(**SETTINGS), tiny_data(), path)
    return path


def copies_in(run):
    return sorted((run / "averages").glob("step-*"))


def test_copies_are_left_at_equal_distances(run):
    assert [path.name for path in copies_in(run)] == [
        f"step-{step:08d}-{std}.safetensors" for step in range(4, 65, 4) for std in SETTINGS["ema_std"]
    ]


def test_an_average_that_was_tracked_is_made_of_the_others(run, tmp_path):
    tracked = undiffuse.load(copies_in(run)[-1])  # width 0.15 at the last step
    others = tmp_path / "others"
    (others / "averages").mkdir(parents=True)
    for path in copies_in(run):
        if "-0.15" not in path.name:
            (others / "averages" / path.name).write_bytes(path.read_bytes())
    made = make_average(others, 0.15)
    assert made.copies == 32
    assert made.mismatch < 0.05
    first = undiffuse.load(copies_in(run)[2])  # how far weights move in this training at all
    moved = error = 0.0
    for name, tensor in tracked.network.state_dict().items():
        moved += (tensor - first.network.state_dict()[name]).square().sum().item()
        error += (tensor - made.model.tensors[name]).square().sum().item()
    assert error < 1e-3 * moved


def test_the_command_writes_models_that_draw(run, capsys):
    assert main(["ema", str(run), "--std", "0.03,0.12"]) == 0
    said = capsys.readouterr().out
    made = [run / "averages" / f"std-{std}.safetensors" for std in (0.03, 0.12)]
    assert all(str(path) in said for path in made)
    a, b = (undiffuse.load(path).sample(1, steps=2).array for path in made)
    assert (a != b).any()
    assert main(["ema", str(run), "--std", "0.03"]) == 2
    assert "replace it with --overwrite" in capsys.readouterr().err
    assert main(["ema", str(run), "--std", "0.03", "--overwrite", "--step", "32"]) == 0
    assert (run / "averages" / "std-0.03-step-00000032.safetensors").is_file()


def test_a_training_that_goes_on_leaves_the_same_copies(run, tmp_path, monkeypatch):
    half = tmp_path / "half"
    call = ema_snapshots.Copies.step

    def dying(self, training, result):
        call(self, training, result)
        if result.step == 40:
            raise InterruptedTrainingError

    monkeypatch.setattr(ema_snapshots.Copies, "step", dying)
    with pytest.raises(InterruptedTrainingError):
        start_run(tiny_settings(**SETTINGS), tiny_data(), half)
    monkeypatch.setattr(ema_snapshots.Copies, "step", call)
    resume_run(half, dataset=tiny_data())
    for one, other in zip(copies_in(run), copies_in(half), strict=True):
        a, b = undiffuse.load(one), undiffuse.load(other)
        assert one.name == other.name
        for name, tensor in a.network.state_dict().items():
            assert torch.equal(tensor, b.network.state_dict()[name])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--std", "0.5"], "at most 0.28"),
        (["--std", "0.1,0.1"], "each stands once"),
        (["--std", "0.1", "--step", "3"], "the first copies"),
    ],
)
def test_what_cannot_be_made_is_a_sentence(run, capsys, words, said):
    assert main(["ema", str(run), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_run_without_copies_says_how_to_have_them(tmp_path):
    with pytest.raises(UndiffuseError, match="`ema_std="):
        make_average(tmp_path, 0.1)
