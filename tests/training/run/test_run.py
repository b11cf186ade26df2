"""A run's folder, and that a resumed run is the uninterrupted one bit for bit."""

import fcntl
import json
import os
import signal
from pathlib import Path

import pytest
import torch

import undiffuse
from undiffuse.checkpoints.training_checkpoint import checkpoints, verify
from undiffuse.config.files import read_config
from undiffuse.errors import UndiffuseError
from undiffuse.training import api
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.loop import NonFiniteError
from undiffuse.training.run.names import new_folder, run_to_resume
from undiffuse.training.run.signals import StoppedError


def lines(folder):
    """metrics.jsonl without what depends on the clock."""
    found = read_metrics(folder / "metrics.jsonl", keep=lambda line: True)
    return [{key: value for key, value in line.items() if key != "time"} for line in found]


def hashes(folder):
    """sha256 of every tensor file of the newest checkpoint, and the grids."""
    newest = checkpoints(folder / "checkpoints")[-1]
    manifest = json.loads((newest / "manifest.json").read_text())
    tensors = {name: entry["sha256"] for name, entry in manifest.items() if name.endswith(".safetensors")}
    return newest.name, tensors, {p.name: p.read_bytes() for p in (folder / "samples").iterdir()}


def stop_after(step, monkeypatch):
    """Make the process send itself a SIGTERM once ``step`` steps are done."""
    real = api.run_training

    def run_training(run, train_state, *rest):
        original = train_state.ema.update

        def update(at):
            original(at)
            if at + 1 == step:
                os.kill(os.getpid(), signal.SIGTERM)

        train_state.ema.update = update
        real(run, train_state, *rest)

    monkeypatch.setattr(api, "run_training", run_training)


def go_on(folder, config, data, console):
    """Start the run, or resume it where it is there."""
    if folder.exists():
        resume_run(folder, dataset=data, console=console)
    else:
        start_run(config, data, folder, console=console)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    import tiny

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    start_run(tiny.tiny_settings(), tiny.tiny_data(), folder)
    return folder


@pytest.mark.parametrize("step", [1, 3, 4, 5, 11])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    step, uninterrupted, data, settings, console, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(step, patch)
        with pytest.raises(StoppedError, match=f"stopped at step {step} of 12") as caught:
            start_run(settings(), data, folder, console=console)
    assert caught.value.status == 128 + signal.SIGTERM
    assert str(folder / "checkpoints" / f"step-{step:08d}") in str(caught.value)
    resume_run(folder, dataset=data, console=console)
    assert lines(folder) == lines(uninterrupted)
    assert hashes(folder) == hashes(uninterrupted)


def test_what_the_law_of_t_and_muon_have_learned_is_resumed_too(data, settings, console, tmp_path, monkeypatch):
    """Every t of a chain of 4 has its losses after a few steps of 16, so the law is no longer uniform when it stops."""
    config = settings(
        time_law="loss-second-moment", timesteps=4, batch=16, learn_variance=True, loss="hybrid", optimizer="muon"
    )
    whole, folder = tmp_path / "whole", tmp_path / "run"
    start_run(config, data, whole, console=console)
    with monkeypatch.context() as patch:
        stop_after(9, patch)
        with pytest.raises(StoppedError):
            start_run(config, data, folder, console=console)
    resume_run(folder, dataset=data, console=console)
    assert lines(folder) == lines(whole)
    assert hashes(folder) == hashes(whole)


def test_every_stop_in_one_run_still_ends_in_the_same_bits(
    uninterrupted, data, settings, console, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    for step in (2, 3, 7, 10):
        with monkeypatch.context() as patch:
            stop_after(step, patch)
            with pytest.raises(StoppedError):
                go_on(folder, settings(), data, console)
    resume_run(folder, dataset=data, console=console)
    assert lines(folder) == lines(uninterrupted)
    assert hashes(folder) == hashes(uninterrupted)


def test_a_torn_checkpoint_is_reported_and_the_one_before_gives_the_same_end(
    uninterrupted, data, settings, console, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(7, patch)
        with pytest.raises(StoppedError):
            start_run(settings(), data, folder, console=console)
    torn = folder / "checkpoints" / "step-00000007" / "optimizer.safetensors"
    torn.write_bytes(torn.read_bytes()[:-100])
    resume_run(folder, dataset=data, console=console)
    assert "step-00000007 is torn: optimizer.safetensors" in console.text()
    assert "going on from step 6 of 12" in console.text()
    assert lines(folder) == lines(uninterrupted)
    assert hashes(folder) == hashes(uninterrupted)


def test_the_folder_holds_what_it_should(uninterrupted, settings, data):
    names = {
        "config.yaml",
        "data.json",
        "env.json",
        "README.md",
        "metrics.jsonl",
        "train.log",
        "samples",
        "checkpoints",
    }
    assert {p.name for p in uninterrupted.iterdir()} - {".lock"} == names
    assert read_config(uninterrupted / "config.yaml") == settings()
    assert json.loads((uninterrupted / "data.json").read_text())["fingerprint"] == data.info.fingerprint
    assert json.loads((uninterrupted / "env.json").read_text())["torch"] == torch.__version__
    assert [p.name for p in checkpoints(uninterrupted / "checkpoints")] == ["step-00000009", "step-00000012"]
    assert sorted(p.name for p in (uninterrupted / "samples").iterdir()) == [
        "step-00000005.png",
        "step-00000010.png",
        "step-00000012.png",
    ]
    for path in checkpoints(uninterrupted / "checkpoints"):
        verify(path)
    assert f"run: {uninterrupted}" in (uninterrupted / "train.log").read_text()


def test_the_model_card_says_what_it_is(uninterrupted):
    card = (uninterrupted / "README.md").read_text()
    parameters = sum(p.numel() for p in undiffuse.load(uninterrupted).network.parameters())
    loss = read_metrics(uninterrupted / "metrics.jsonl")[-1]["loss"]
    for words in (
        "# run",
        "tiny: 40 samples",
        f"{parameters:,}",
        "Finished: step 12, 48 images",
        f"{loss:.4g} at step 12",
    ):
        assert words in card
    assert f"undiffuse sample {uninterrupted}" in card


def test_the_log_lines_hold_losses_by_quarter_and_statistics(uninterrupted):
    losses = read_metrics(uninterrupted / "metrics.jsonl")
    assert [line["step"] for line in losses] == [2, 4, 6, 8, 10, 12]
    assert all(len(line["loss_by_quarter"]) == 4 for line in losses)
    assert all(line["time"]["images_per_second"] > 0 for line in losses)
    samples = read_metrics(uninterrupted / "metrics.jsonl", keep=lambda line: "samples" in line)
    assert [line["step"] for line in samples] == [5, 10, 12]
    assert all(len(line["samples"]["mean"]) == len(line["data"]["std"]) == 1 for line in samples)


def test_the_returned_model_holds_the_first_average(data, settings, console, tmp_path):
    model = start_run(settings(steps=2), data, tmp_path / "run", console=console)
    assert model.provenance["weights"] == "0.99"
    saved = undiffuse.load(tmp_path / "run", weights="0.99").network.state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in model.network.state_dict().items())
    assert not model.network.training


def test_a_run_in_use_is_refused_by_process_id(data, settings, console, tmp_path):
    folder = tmp_path / "run"
    start_run(settings(steps=1), data, folder, console=console)
    with (folder / ".lock").open("r+") as other:
        other.truncate()
        other.write("4711\n")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UndiffuseError, match="being trained by process 4711"):
            resume_run(folder, dataset=data, console=console)
    resume_run(folder, dataset=data, console=console)  # a lock that a process left behind does not count


def test_a_new_run_in_a_used_folder_is_refused(data, settings, console, tmp_path):
    start_run(settings(steps=1), data, tmp_path / "run", console=console)
    with pytest.raises(UndiffuseError, match=r"holds a run already.*`resume=.*`name`"):
        start_run(settings(steps=1), data, tmp_path / "run", console=console)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(UndiffuseError, match="not empty"):
        start_run(settings(steps=1), data, tmp_path / "mine", console=console)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "precious"


def test_a_run_that_never_began_leaves_its_name_free(data, settings, console, tmp_path):
    with pytest.raises(UndiffuseError, match=r"singular|epsilon"):
        start_run(settings(zero_terminal_snr=True), data, tmp_path / "run", console=console)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UndiffuseError, match="`lr` must be more than 0"):
        start_run(settings(lr=0.0), data, tmp_path / "run", console=console)
    assert not (tmp_path / "run").exists()


def test_nothing_to_resume_is_an_error(data, console, tmp_path):
    with pytest.raises(UndiffuseError, match="nothing to resume"):
        resume_run(tmp_path / "none", dataset=data, console=console)
    with pytest.raises(UndiffuseError, match=r"no run .* to resume"):
        undiffuse.train(name="none", runs=tmp_path, resume=True)
    with pytest.raises(UndiffuseError, match=r"no run .* to resume"):
        undiffuse.train(runs=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lr": 1e-2}, ["lr=0.001", "lr=0.01", "`name`"]),
        ({"batch": 8}, ["batch=4", "batch=8"]),
        ({"recipe": "digits"}, ["recipe='small'", "recipe='digits'"]),
        ({"steps": 3}, ["has 12 steps already", "steps=3"]),
        ({"bath": 3}, ["perhaps you meant 'batch'"]),
    ],
)
def test_settings_that_contradict_the_run_are_refused_by_name(given, words, uninterrupted, data, console):
    with pytest.raises(UndiffuseError) as caught:
        resume_run(uninterrupted, dataset=data, console=console, **given)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_settings_that_agree_or_do_not_matter_are_accepted(uninterrupted, data, console):
    resume_run(uninterrupted, dataset=data, console=console, lr=1e-3, steps=12, sample_every=5, ema=[0.99, 0.9])


def test_another_machine_is_told_of(data, settings, console, tmp_path):
    start_run(settings(steps=1), data, tmp_path / "run", console=console)
    path = tmp_path / "run" / "env.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"torch": "2.0", "threads": 64}))
    resume_run(tmp_path / "run", dataset=data, console=console)
    assert f"torch 2.0 -> {torch.__version__}" in console.text()
    assert "threads 64 -> 1" in console.text()
    assert "device" not in console.text().split("threads")[1]


def test_other_data_are_refused(uninterrupted, console):
    import tiny

    with pytest.raises(UndiffuseError, match="contents differ"):
        resume_run(uninterrupted, dataset=tiny.tiny_data("other"), console=console)


def test_a_budget_that_grew_gives_the_weights_of_the_longer_run(data, settings, console, tmp_path):
    longer, grown = tmp_path / "longer", tmp_path / "grown"
    start_run(settings(decay="inverse-sqrt", steps=9), data, longer, console=console)
    start_run(settings(decay="inverse-sqrt", steps=4), data, grown, console=console)
    resume_run(grown, dataset=data, console=console, steps=9)
    assert hashes(grown)[:2] == hashes(longer)[:2]
    assert read_config(grown / "config.yaml").loop.steps == 9


def test_ten_bad_steps_stop_the_run_and_name_the_last_good_checkpoint(data, settings, console, tmp_path, monkeypatch):
    real = api.run_training

    def run_training(run, train_state, *rest):
        next(train_state.network.parameters()).register_hook(
            lambda g: g * (float("nan") if train_state.step >= 4 else 1)
        )
        real(run, train_state, *rest)

    monkeypatch.setattr(api, "run_training", run_training)
    folder = tmp_path / "run"
    with pytest.raises(NonFiniteError) as caught:
        start_run(settings(steps=40), data, folder, console=console)
    newest = checkpoints(folder / "checkpoints")[-1]
    assert f"the last good checkpoint is {newest}" in str(caught.value)
    verify(newest)
    model = undiffuse.load(folder)
    assert all(torch.isfinite(tensor).all() for tensor in model.network.state_dict().values())
    assert read_metrics(folder / "metrics.jsonl")[-1]["skipped"] == 2


def test_a_disk_that_fills_up_stops_the_run_in_one_sentence(data, settings, console, tmp_path, monkeypatch):
    real, calls = os.rename, []

    def rename(source, target):
        calls.append(target)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(UndiffuseError, match=r"No space left on device.*`resume`"):
        start_run(settings(keep=0), data, tmp_path / "run", console=console)
    assert [p.name for p in checkpoints(tmp_path / "run" / "checkpoints")] == ["step-00000000", "step-00000003"]


def test_a_signal_while_samples_are_drawn_stops_at_once_and_the_grid_is_drawn_on_resuming(
    uninterrupted, data, settings, console, tmp_path, monkeypatch
):
    from undiffuse.training.callbacks import previews

    folder, real = tmp_path / "run", previews.grid

    def grid(images):
        os.kill(os.getpid(), signal.SIGINT)
        return real(images)

    with monkeypatch.context() as patch:
        patch.setattr(previews, "grid", grid)
        with pytest.raises(StoppedError, match="stopped at step 5") as caught:
            start_run(settings(), data, folder, console=console)
    assert caught.value.status == 130
    assert not (folder / "samples" / "step-00000005.png").exists()
    resume_run(folder, dataset=data, console=console)
    assert lines(folder) == lines(uninterrupted)
    assert hashes(folder) == hashes(uninterrupted)


def test_names_of_runs(tmp_path):
    assert new_folder(tmp_path, "photos/cats.v2.zip", None) == tmp_path / "cats"
    assert new_folder(tmp_path, "my photos!/", None) == tmp_path / "my-photos"
    assert new_folder(tmp_path, "cats", "felix") == tmp_path / "felix"
    (tmp_path / "cats").mkdir()
    assert new_folder(tmp_path, "cats", None) == tmp_path / "cats-2"
    assert new_folder(tmp_path, "cats", Path("tom")) == tmp_path / "tom"
    for bad in ("", ".", "..", "a/b", "/tmp", "a\nb", "a\0b"):
        with pytest.raises(UndiffuseError, match="cannot be the name of a run"):
            new_folder(tmp_path, "cats", bad)


def test_the_run_to_resume_must_be_clear(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    assert run_to_resume(tmp_path, "photos/cats", None) == tmp_path / "cats"
    assert run_to_resume(tmp_path, None, "dogs") == tmp_path / "dogs"
    with pytest.raises(UndiffuseError, match="several runs could be resumed \\(cats, dogs\\)"):
        run_to_resume(tmp_path, None, None)


def test_train_and_resume_a_file_of_arrays_by_one_call_each(data, tmp_path, monkeypatch, capfd):
    import numpy as np

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    np.save("cats.npy", data.images)
    small = {"base": 8, "multipliers": (1,), "blocks": 1, "timesteps": 8, "attention_levels": (), "batch": 4}
    model = undiffuse.train("cats.npy", steps=2, sample_count=2, device="cpu", seed=3, **small)
    assert Path("runs/cats/checkpoints/step-00000002").is_dir()
    assert model.info.shape == (1, 8, 8)
    assert model.config.loop.minutes is None  # the recipe's budget gave way
    said = capfd.readouterr().err
    assert said.startswith("run: runs/cats\n")
    assert said.rstrip().splitlines()[-1].startswith("run: runs/cats;")
    undiffuse.train("cats.npy", resume=True, quiet=True, steps=2)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UndiffuseError, match="perhaps you meant 'batch'"):
        undiffuse.train("cats.npy", bath=3)
    with pytest.raises(UndiffuseError, match="name the data"):
        undiffuse.train()
