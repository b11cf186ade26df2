"""What a command found is on the disk before it is said, and is said where it cannot be written."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.checkpoints.run_lock import check_unlocked, claimed, exclusive, is_claimable
from undiffuse.cli import main
from undiffuse.diffusion.trajectory import Noise
from undiffuse.errors import UndiffuseError, closest
from undiffuse.training.callbacks.console import Console
from undiffuse.training.run.folder import claim
from undiffuse.training.run.signals import Interrupts

Command = Callable[..., Any]
"""The fixture `undiffuse`: words to what came of them."""


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path]:
    dice = np.random.default_rng(0)
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", x=dice.integers(0, 256, (20, 8, 8, 3), np.uint8))
    return tmp_path / "a.npz", tmp_path / "b.npz"


# --- standard output ----------------------------------------------------------------------------------------------


def test_figures_are_written_and_shown_where_standard_output_is_no_utf8(
    images: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = images
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252"))
    out = tmp_path / "out.json"
    assert main(["evaluate", str(a), "--reference", str(b), "--extractor", "pixels", "--out", str(out)]) == 0
    assert "FD (pixels) v" in raw.getvalue().decode("cp1252")
    assert out.exists()
    assert out.with_suffix(".svg").exists()


def test_figures_are_on_the_disk_before_they_are_printed(
    images: tuple[Path, Path], tmp_path: Path, undiffuse: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(quality: object) -> str:
        assert (tmp_path / "out.json").exists()
        raise ZeroDivisionError

    monkeypatch.setattr("undiffuse.evaluation.quality.report.table", broken)
    a, b = images
    with pytest.raises(ZeroDivisionError):
        undiffuse("evaluate", a, "--reference", b, "--extractor", "pixels", "--out", tmp_path / "out.json")


def test_a_command_without_standard_streams_does_its_work(
    images: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["data", str(images[0]), "--out", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").exists()


def test_a_standard_output_without_room_is_one_sentence(undiffuse: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        said = undiffuse("doctor")
    assert said.status == 2
    assert said.err == (
        "undiffuse: could not write to standard output: No space left on device; mend that, what was written to files "
        "is there\n"
    )


# --- places that cannot be written --------------------------------------------------------------------------------


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A folder in which nothing can be made, for root neither: it is a file."""
    (tmp_path / "file").write_bytes(b"")
    return tmp_path / "file"


COMMANDS = {
    "data": "data {data} --out {blocked}/x.png",
    "sample": "sample {run} -n 1 --steps 2 --out {blocked}/x",
    "sample --compare": "sample {run} -n 1 --compare --samplers ddim --evaluations 2 --out {blocked}/x",
    "report": "report {run} --out {blocked}/x.html",
    "likelihood": "likelihood {run} {data} --limit 2 --out {blocked}/x.csv",
    "anomaly": "anomaly {run} {data} --limit 2 --out {blocked}/x.csv",
    "evaluate": "evaluate {run} -n 12 --extractor pixels --out {blocked}/x.json",
    "memorization": "memorization {run} -n 8 --out {blocked}/x.html",
    "convert": "convert {run} {blocked}/x.safetensors --to file",
    "convert to a folder": "convert {run} {blocked}/x --to diffusers",
    "push": "push {run} a/b --dry-run --out {blocked}/x",
    "train": "train {data} --runs {blocked} --name x --steps 1",
    "train-classifier": "train-classifier {data} --run {run} --out {blocked}/x",
    "animate": "animate forward {data} --out {blocked}/x.webp",
    "bench": "bench {run} --out {blocked}/x.json",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_cannot_be_written_is_known_before_the_work(
    undiffuse: Command, command: str, finished: Path, data: Path, blocked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(Noise, "normal", work)
    monkeypatch.setattr("undiffuse.training.classifier.train_noisy_classifier", work)
    words = COMMANDS[command].format(run=finished, data=data, blocked=blocked).split()
    said = undiffuse(*words)
    assert said.status == 2, said.err
    sentence = said.err.splitlines()[-1]
    assert sentence.startswith("undiffuse: could not write to")
    assert "; give another place" in sentence or "choose another --name" in sentence


@pytest.mark.parametrize("command", ["evaluate {a} --reference {b} --extractor pixels", "data {a}", "animate brownian"])
def test_a_folder_in_the_place_of_a_file_is_known_before_the_work(
    images: tuple[Path, Path], undiffuse: Command, tmp_path: Path, command: str
) -> None:
    place = tmp_path / {"e": "x.json", "d": "x.png", "a": "x.webp"}[command[0]]
    place.mkdir()
    said = undiffuse(*command.format(a=images[0], b=images[1]).split(), "--out", place, "--overwrite")
    assert said.out == ""
    assert f"could not write to {place}: Is a directory; give another place with --out" in said.err


@pytest.mark.parametrize("to", ["file", "diffusers"])
def test_what_has_no_out_does_not_advise_it(undiffuse: Command, run: Path, blocked: Path, to: str) -> None:
    said = undiffuse("convert", run, blocked / "x.safetensors", "--to", to)
    assert said.err.endswith("is no folder; give another place\n")


@pytest.mark.parametrize(
    "command", ["convert {run} {long} --to diffusers", "train-classifier {data} --run {run} --out {long}"]
)
def test_a_name_that_is_too_long_is_told_to_be_shortened(
    undiffuse: Command, finished: Path, data: Path, tmp_path: Path, command: str
) -> None:
    long = tmp_path / ("k" * 300)
    said = undiffuse(*command.format(run=finished, data=data, long=long).split())
    assert f"could not write to {long}: File name too long; give a shorter place" in said.err
    assert "File name too long; name a shorter one" in undiffuse("data", long).err


@pytest.mark.parametrize(
    "refused",
    ["undiffuse.checkpoints.training_checkpoint.write_durably", "undiffuse.runtime.durable_files.write_durably"],
)
def test_a_run_that_never_began_is_not_told_to_go_on(
    undiffuse: Command, data: Path, tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(refused, full)
    said = undiffuse("train", data, "--runs", tmp_path, "--name", "x", *tiny).err
    assert "No space left on device; make room" in said
    assert said.rstrip().endswith("another folder of runs with --runs")
    assert not (tmp_path / "x").exists()


def test_likelihoods_are_said_where_their_file_cannot_be_written(
    undiffuse: Command, run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    words = ("likelihood", run, data, "--limit", 2, "--method", "bound", "--timesteps", 3)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refused)
        said = undiffuse(*words)
    assert said.status == 2
    assert "bound   " in said.out
    assert "file    " not in said.out
    assert "No space left on device; make room, or give another place with --out" in said.err
    assert undiffuse(*words).out.startswith(said.out)


def test_what_the_system_refuses_is_a_sentence_and_no_traceback(
    undiffuse: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise PermissionError(13, "Permission denied", "some/file")

    monkeypatch.setattr("undiffuse.cli.doctor.facts", refused)
    said = undiffuse("doctor")
    assert said.status == 2
    assert said.err == (
        "undiffuse: the system refused some/file: Permission denied; mend that, or name another place\n"
    )


# --- the lock, signals, the console -------------------------------------------------------------------------------


def test_a_folder_in_which_another_process_trains_is_not_called_rubbish(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(UndiffuseError, match="delete it, or choose another `name`"):
        claim(tmp_path)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for refuse in (claim, check_unlocked):
            with pytest.raises(UndiffuseError, match=f"is being trained by (process {os.getpid()}|another process);"):
                refuse(tmp_path)
    check_unlocked(tmp_path)


@pytest.mark.parametrize("begun", [True, False])
def test_a_run_whose_first_checkpoint_is_to_come_is_said_to_be_trained(
    tmp_path: Path, undiffuse: Command, begun: bool
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints" if begun else run).mkdir(parents=True)
    with exclusive(run):
        for words in (["sample", run], ["evaluate", run], ["info", run], ["report", run], ["train", "--resume", run]):
            said = undiffuse(*words)
            assert said.status == 2
            assert f"{run} is being trained by process {os.getpid()}; w" in said.err, words
    assert "trained" not in undiffuse("sample", run).err.replace("undiffuse train", "")


def test_a_classifier_that_another_process_trains_is_not_called_rubbish(
    tmp_path: Path, undiffuse: Command, run: Path, data: Path
) -> None:
    folder = tmp_path / "k"
    with claimed(folder):
        said = undiffuse("train-classifier", data, "--run", run, "--out", folder)
        assert f"{folder} is being trained by process {os.getpid()}; wait for it" in said.err
    assert is_claimable(folder)  # its process was killed
    (folder / "model").touch()
    assert not is_claimable(folder)
    assert f"{folder} is there already" in undiffuse("train-classifier", data, "--run", run, "--out", folder).err


def test_a_place_that_was_claimed_and_not_filled_is_gone_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claimed(tmp_path / "k"):
        raise KeyboardInterrupt
    assert not (tmp_path / "k").exists()


def test_whoever_asks_for_the_lock_is_no_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def flock(descriptor: int, kind: int) -> None:
        asked.append(kind)
        if len(asked) < 3:  # the studio looks at this very moment
            raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(tmp_path):
        assert len(asked) == 3


def test_a_run_that_another_process_has_finished_meanwhile_is_left_alone(
    tmp_path: Path, undiffuse: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import undiffuse.training.api as api

    def exclusive(folder: Path) -> Any:
        (folder / "checkpoints" / "step-00000002").mkdir(parents=True)
        return nullcontext()

    monkeypatch.setattr(api, "exclusive", exclusive)
    assert "holds a run already" in undiffuse("train", "digits", "--runs", tmp_path, "--name", "z", *tiny).err
    assert (tmp_path / "z" / "checkpoints" / "step-00000002").is_dir()


def test_asking_for_the_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    check_unlocked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_lock_names_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("undiffuse.checkpoints.run_lock._LOCKS", tmp_path / "no such list")
    with exclusive(tmp_path), pytest.raises(UndiffuseError, match=f"trained by process {os.getpid()};"):
        check_unlocked(tmp_path)


def test_a_closed_terminal_is_a_wish_to_stop_and_nohup_is_obeyed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        interrupts = Interrupts()
        with interrupts.listening():
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.requested == signal.SIGHUP
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ignoring = Interrupts()
        with ignoring.listening():
            os.kill(os.getpid(), signal.SIGHUP)
        assert ignoring.requested is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_console_outlives_its_terminal_and_its_log(tmp_path: Path) -> None:
    console = Console(stream=Gone())
    console.log_to(tmp_path / "log")
    console.status("step 1")
    console.say("caf\udce9")
    console.close()
    assert "caf\N{REPLACEMENT CHARACTER}" in (tmp_path / "log").read_text(encoding="utf-8")
    heard = io.StringIO()
    console = Console(stream=heard)
    console.log_to(tmp_path / "log" / "no folder")
    console.say("one")
    console.say("two")
    assert heard.getvalue().splitlines()[-2:] == ["one", "two"]
    assert "warning: could not write to" in heard.getvalue().splitlines()[0]


# --- what was likely meant ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("dpmpp", "dpm++2m"),
        ("dpmpp_2m", "dpm++2m"),
        ("DPM++ 2M SDE", "dpm++2m-sde"),
        ("dpmpp_3m_sde", "dpm++3m-sde"),
        ("euler_a", "euler-ancestral"),
        ("ddimm", "ddim"),
        ("nothing-like-it", None),
    ],
)
def test_a_sampler_is_found_by_its_names_elsewhere(word: str, meant: str | None) -> None:
    from undiffuse.diffusion.samplers import SAMPLERS

    assert closest(word, sorted(SAMPLERS)) == meant


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("evaluate A --n 5", "has no option '--n'; perhaps you meant '-n'"),
        ("evaluate A -N 5", "has no option '-N'; perhaps you meant '-n'"),
        ("sample digits --count 5", "perhaps you meant '-n'"),
        ("sample digits --guidance-scale 5", "perhaps you meant '--guidance'"),
        ("sample digits --num-inference-steps 5", "perhaps you meant '--steps'"),
        ("train digits --learning-rate 1", "perhaps you meant '--lr'"),
        ("train digits --image-size 8", "perhaps you meant '--size'"),
        ("sample digits --sampler dpm++2m-karras", "perhaps you meant 'dpm++2m'"),
        ("sample digits --guidance -1e9", "--guidance takes a number from -1000 to 1000, and it is -1e+09"),
        ("evaluate A --ref B", "perhaps you meant '--reference'"),
        ("sample digits -seed 3", "has no option '-seed'; perhaps you meant '--seed'"),
        ("evaluate A B", "There is no place for 'B': real images are named by --reference B"),
        ("evaluate A {0}", "There is no place for '{0}'"),
        ("edit inpaint digits a.png b.png", "the mask is named by --mask b.png"),
        ("studio --port 99999999", "--port cannot be '99999999'; it takes a whole number from 0 to 65535"),
    ],
)
def test_a_slip_is_answered_by_what_was_meant(undiffuse: Command, line: str, sentence: str) -> None:
    said = undiffuse(*line.split())
    assert said.status == 2
    assert sentence in said.err


def test_a_long_list_of_classes_makes_a_short_name() -> None:
    from types import SimpleNamespace

    from undiffuse.cli.naming import default_folder
    from undiffuse.config.sampling import SampleConfig

    model: Any = SimpleNamespace(home=Path("runs/x"), provenance={"checkpoint": "runs/x"})
    settings = SampleConfig.of(classes=tuple(f"class-number-{k}" for k in range(100)))
    other = settings.changed(classes=(*settings.prompt.classes[:-1], "another"))
    names = [default_folder(model, one, 0).name for one in (settings, other)]
    assert len(set(names)) == 2
    assert all(len(name) < 200 and name.startswith(settings.solver.sampler) for name in names)


# --- the first line -----------------------------------------------------------------------------------------------


def test_a_training_says_at_once_what_it_does_before_pytorch_is_there(data: Path) -> None:
    code = (
        "import sys; from undiffuse.cli import main; sys.modules['torch'] = None;"  # its import fails from here on
        f"main(['train', {str(data)!r}, '--steps', '1'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.splitlines()[0] == f"learning from {data}: loading PyTorch, then the data"


def test_the_first_line_is_kept_back_where_a_mistake_is_told(data: Path, tmp_path: Path) -> None:
    from undiffuse.cli.train import first_line

    assert first_line(str(data), {"steps": 1})
    assert first_line("digits", {})
    assert first_line(None, {"resume": True, "runs": tmp_path.parent, "name": tmp_path.name})
    for source, options in (
        ("nowhere", {}),
        (str(data), {"steps": 0}),
        (str(data), {"steps": 1, "minutes": 1.0}),
        (str(data), {"recipe": "none of them"}),
        (str(data), {"runs": tmp_path.parent, "name": tmp_path.name}),
        (None, {"resume": True, "name": "nowhere"}),
    ):
        assert first_line(source, options) == "", (source, options)


def test_a_library_that_looks_for_a_home_folder_in_vain_is_a_sentence(
    undiffuse: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless(name: str) -> None:
        raise RuntimeError("Could not determine home directory.")  # as huggingface_hub's import does

    monkeypatch.setattr("undiffuse.checkpoints.hub.require_hub", homeless)
    said = undiffuse("sample", "nobody/nothing", "-n", 1)
    assert (said.status, "this user has none: set HOME to a folder" in said.err) == (2, True)
