"""Trackers: what they are sent, and that they can neither stop a training nor change it."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_data, tiny_settings

from undiffuse.checkpoints.training_checkpoint import checkpoints
from undiffuse.errors import UndiffuseError
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.callbacks import trackers
from undiffuse.training.callbacks.console import Console
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.callbacks.trackers import flat_numbers

pytestmark = pytest.mark.filterwarnings("ignore")  # what the packages and what they load complain of


def run(folder, *track, **flat):
    start_run(tiny_settings(track=track, **flat), tiny_data(), folder, console=Console(quiet=True))
    return folder


def lines(folder):
    every = read_metrics(folder / "metrics.jsonl", keep=lambda line: True)
    return [{key: value for key, value in line.items() if key != "time"} for line in every]


def test_lines_become_flat_numbers():
    line = {"loss": 0.5, "quarters": [1, None], "time": {"seconds": 2, "what": "x"}, "samples": {"mean": [0.25]}}
    flat = {"loss": 0.5, "quarters/0": 1.0, "time/seconds": 2.0, "samples/mean/0": 0.25}
    assert flat_numbers(line) == flat


def test_tensorboard_holds_the_numbers_of_metrics_and_the_grids(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run(tmp_path / "run", "tensorboard")
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    written = [line for line in lines(folder) if "loss" in line]
    found = events.Scalars("loss")
    assert [(e.step, e.value) for e in found] == [(line["step"], np.float32(line["loss"])) for line in written]
    assert [event.step for event in events.Scalars("grad_norm")] == [2, 4, 6, 8, 10, 12]
    assert [event.step for event in events.Images("samples")] == [5, 10, 12]
    with Image.open(folder / "samples" / "step-00000012.png") as grid:
        last = events.Images("samples")[-1]
        assert (last.width, last.height) == grid.size
    assert "dropout" in str(events.Tensors("settings/text_summary")[0].tensor_proto.string_val)


def test_a_training_that_goes_on_writes_no_step_twice_into_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run(tmp_path / "run", "tensorboard", keep=0)
    for path in checkpoints(folder / "checkpoints"):
        if path.name > "step-00000006":
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    resume_run(folder, dataset=tiny_data(), console=Console(quiet=True))
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [2, 4, 6, 8, 10, 12]


@pytest.mark.slow
def test_wandb_offline_writes_a_run_into_the_runs_folder(tmp_path):
    """In a process of its own: the package starts a service, and changes how a process ends."""
    pytest.importorskip("wandb")
    script = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tiny import tiny_data, tiny_settings
from undiffuse.training.api import start_run
from undiffuse.training.callbacks.console import Console
start_run(tiny_settings(track=("wandb",)), tiny_data(), Path(sys.argv[1]), console=Console(quiet=True))
"""
    environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    argv = [sys.executable, "-c", script, str(tmp_path / "run"), os.path.dirname(os.path.dirname(__file__))]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (offline,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    number = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]
    (file,) = offline.glob("*.wandb")
    assert file.name == f"run-{number}.wandb"
    content = file.read_bytes()
    assert all(name in content for name in (b"grad_norm", b"loss_by_quarter/0", b"multipliers"))
    assert len(list((offline / "files" / "media" / "images").glob("samples_*.png"))) == 3
    assert "warning: wandb" not in (tmp_path / "run" / "train.log").read_text()  # it was not given up


@pytest.mark.slow
def test_trackio_keeps_the_numbers_on_this_machine(tmp_path):
    pytest.importorskip("trackio", reason="trackio asks for an older Pillow than the tests run with")
    script = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tiny import tiny_data, tiny_settings
from undiffuse.training.api import start_run
from undiffuse.training.callbacks.console import Console
start_run(tiny_settings(track=("trackio",)), tiny_data(), Path(sys.argv[1]), console=Console(quiet=True))
from trackio.sqlite_storage import SQLiteStorage
(name,) = SQLiteStorage.get_runs("undiffuse")
print([line["step"] for line in SQLiteStorage.get_logs("undiffuse", name) if "grad_norm" in line])
"""
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", script, str(tmp_path / "run"), os.path.dirname(os.path.dirname(__file__))]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[2, 4, 6, 8, 10, 12]"


class Broken:
    """Fails at its n-th call."""

    def __init__(self, n):
        self.left = n

    def __call__(self, run, config, step):
        return self.numbers() or self

    def numbers(self, *_):
        self.left -= 1
        if self.left <= 0:
            raise OSError("no\nnetwork")

    picture = numbers

    def close(self):
        self.numbers()


@pytest.mark.parametrize("call", [1, 2, 4, 11])
def test_a_tracker_that_fails_is_told_of_once_and_changes_nothing(tmp_path, monkeypatch, call):
    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", Broken(call))
    plain, tracked = run(tmp_path / "plain"), run(tmp_path / "tracked", "tensorboard")
    said = (tracked / "train.log").read_text()
    assert said.count("warning: tensorboard failed and is left alone from here on (no network)") == 1
    assert lines(plain) == lines(tracked)
    last = "checkpoints/step-00000012/model.safetensors"
    assert (plain / last).read_bytes() == (tracked / last).read_bytes()


def test_a_package_that_is_missing_is_said_before_anything_is_done(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else real(name))
    with pytest.raises(UndiffuseError, match=r"undiffuse\[wandb\]"):
        run(tmp_path / "run", "wandb")
    assert not (tmp_path / "run").exists()


def test_no_tracker_is_loaded_unless_asked_for(tmp_path):
    script = """
import sys
import undiffuse.training.api, undiffuse.training.callbacks.trackers, undiffuse.data.stream
packages = "tensorboard wandb trackio pyarrow lmdb datasets av nibabel fsspec.implementations.http".split()
print([name for name in packages if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
