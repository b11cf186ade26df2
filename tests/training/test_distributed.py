"""Two and four processes do what one does: the same order, losses, samples, stops; and one fails for all.

In processes forked by `distributed_driver.py` under torchrun's agent, over gloo.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from undiffuse.checkpoints.training_checkpoint import checkpoints, load, verify
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.process_group import Group
from undiffuse.training.batches import TrainData, image_batches
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.parallel.batch_shards import BatchShard, SlicedDropout, SliceOffset, check_share

DRIVER = Path(__file__).with_name("distributed_driver.py")
SETTINGS = {
    "base": 8,
    "multipliers": 1,
    "blocks": 1,
    "attention-levels": 0,
    "dropout": 0.1,
    "timesteps": 8,
    "offset-noise": 0.1,
    "lr": 1e-3,
    "warmup": 2,
    "decay": "cosine",
    "optimizer": "adam",
    "ema": 0.99,
    "batch": 6,
    "steps": 12,
    "device": "cpu",
    "log-every": 1,
    "sample-every": 6,
    "sample-count": 2,
    "checkpoint-every": 3,
    "keep": 0,
}
OPTIONS = ["--flip", *(f"--{name}={value}" for name, value in SETTINGS.items())]


class Launcher:
    """Launches in a folder of data and runs."""

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "images.npy"
        values = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), np.uint8)
        np.save(self.data, values)

    def train(self, name, world, *more, **launch):
        argv = ["train", str(self.data), "--name", name, "--runs", str(self.folder / "runs"), *OPTIONS, *more]
        return {"world": world, "argv": argv, **launch}

    def resume(self, name, world, **launch):
        return {"world": world, "argv": ["train", "--resume", str(self.run(name))], **launch}

    def sample(self, name, world, out, *more):
        argv = ["sample", str(self.run(name)), "--out", str(self.folder / out), "--steps", "2", *more]
        return {"world": world, "argv": argv}

    def run(self, name):
        return self.folder / "runs" / name

    def __call__(self, *launches):
        done = subprocess.run(
            [sys.executable, DRIVER, self.folder / f"launches-{len(list(self.folder.iterdir()))}"],
            input=json.dumps(launches),
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "UNDIFFUSE_CACHE": str(self.folder / "cache")},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def losses(self, name):
        return np.array([line["loss"] for line in read_metrics(self.run(name) / "metrics.jsonl")])

    def weights(self, name):
        last = checkpoints(self.run(name) / "checkpoints")[-1]
        verify(last)
        assert last.name == "step-00000012"
        tensors = {**load_file(last / "model.safetensors"), **load_file(last / "optimizer.safetensors")}
        return torch.cat([tensors[key].double().flatten() for key in sorted(tensors)])


@pytest.fixture
def launcher(tmp_path):
    return Launcher(tmp_path)


def assert_agree(launcher, one, other):
    """Losses within 1e-6, and all numbers of weights and optimiser together within 1e-6 of their size."""
    a, b = launcher.losses(one), launcher.losses(other)
    assert len(a) == len(b) == 12
    np.testing.assert_allclose(a, b, rtol=1e-6)
    a, b = launcher.weights(one), launcher.weights(other)
    assert (a - b).norm() <= 1e-5 * a.norm()


# --- what needs no processes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "parts", "world"), [(8, 1, 2), (7, 1, 4), (12, 3, 4), (11, 2, 3)])
def test_the_processes_see_the_batch_of_one_process_in_its_order(data, settings, batch, parts, world):
    config = settings(batch=batch, accumulate=parts)
    whole = image_batches(TrainData.of(data), config, BatchShard(batch, parts))
    shares = [BatchShard(batch, parts, Group(rank, world)) for rank in range(world)]
    for step in (0, 9, 10):
        pieces = [
            image_batches(TrainData.of(data), config, share)(step).split(share.sizes) for share in shares
        ]  # of a process: its piece of every part
        ordered = [pieces[rank][part] for part in range(parts) for rank in range(world)]
        assert torch.equal(torch.cat(ordered), whole(step))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_slice_is_dropped_out_as_the_whole_would_be(layout):
    x = torch.randn(7, 3, 5, 4).contiguous(memory_format=layout)
    torch.manual_seed(3)
    expected = torch.nn.functional.dropout(x, 0.3)
    place = SliceOffset()
    place.whole, place.start = 7, 2
    torch.manual_seed(3)
    assert torch.equal(SlicedDropout(0.3, place)(x[2:5]), expected[2:5])


def test_a_batch_that_leaves_a_process_without_work_is_refused(settings):
    check_share(settings(batch=6, accumulate=2), Group(0, 3))
    with pytest.raises(UndiffuseError, match="use at most 3 processes, or a `batch` of 8"):
        check_share(settings(batch=6, accumulate=2), Group(0, 4))


def test_muon_is_refused_where_matrices_are_cut_up(settings):
    check_share(settings(optimizer="muon", parallel="fsdp"), Group())
    check_share(settings(optimizer="muon"), Group(0, 2))
    with pytest.raises(UndiffuseError, match="`parallel=ddp`"):
        check_share(settings(optimizer="muon", parallel="fsdp"), Group(0, 2))


# --- what needs some --------------------------------------------------------------------------------------------------


def test_two_processes_train_and_sample_as_one_does_and_one_speaks(launcher):
    measured = [
        "evaluate",
        str(launcher.run("one")),
        "--extractor",
        "pixels",
        "-n",
        "40",
        "--steps",
        "2",
        "--bits",
        "2",
    ]
    evaluated = [
        {"world": world, "argv": [*measured, "--out", str(launcher.folder / f"{world}.json")]} for world in (1, 2)
    ]
    one, two, drawn, again, refused, *_ = launcher(
        launcher.train("one", 1),
        launcher.train("two", 2, "--accumulate", "1"),
        launcher.sample("one", 1, "a", "-n", "37", "--npz"),
        launcher.sample("one", 2, "b", "-n", "37", "--npz"),
        launcher.train("two", 2),
        *evaluated,
    )
    assert one["status"] == ["0"]
    assert two["status"] == ["0", "0"], two["err"]
    assert two["err"][1] == ""
    assert "trained to step 12" in two["err"][0]
    assert_agree(launcher, "one", "two")
    assert sorted(os.listdir(launcher.run("one"))) == sorted(os.listdir(launcher.run("two")))

    assert drawn["status"] == ["0"]
    assert again["status"] == ["0", "0"], again["err"]
    assert again["out"][1] == ""
    names = sorted(os.listdir(launcher.folder / "a"))
    assert len(names) == 39
    assert names == sorted(os.listdir(launcher.folder / "b"))
    for name in names:
        assert (launcher.folder / "a" / name).read_bytes() == (launcher.folder / "b" / name).read_bytes()

    first, second = (json.loads((launcher.folder / f"{world}.json").read_text()) for world in (1, 2))
    assert first["figures"] == second["figures"]

    assert refused["status"] == ["2", "2"]
    assert "holds a run already" in refused["err"][0]
    assert refused["err"][0].count("\n") == 1
    assert refused["err"][1] == ""


@pytest.mark.slow
def test_four_processes_accumulation_and_sharding_train_as_one_does(launcher):
    parts = ["--accumulate", "3", "--batch", "13"]
    done = launcher(
        launcher.train("one", 1, *parts),
        launcher.train("four", 4, *parts),
        launcher.train("two", 2, *parts, "--parallel", "fsdp"),
        launcher.train("ones", 1),
        launcher.train("fours", 4, "--parallel", "fsdp"),
    )
    assert [set(each["status"]) for each in done] == [{"0"}] * 5, [each["err"] for each in done]
    assert_agree(launcher, "one", "four")
    assert_agree(launcher, "one", "two")
    assert_agree(launcher, "ones", "fours")


@pytest.mark.slow
def test_a_run_stopped_on_four_goes_on_on_one_and_on_two(launcher):
    _, four, one, two = launcher(
        launcher.train("whole", 1),
        launcher.train("run", 4, at=[4, 2, "term"]),
        launcher.resume("run", 1, at=[8, 0, "term"]),
        launcher.resume("run", 2),
    )
    assert four["status"] == ["143"] * 4
    assert "stopped at step 4 of 12" in four["err"][0]
    assert "".join(four["err"]).count("stopped at step") == 1
    assert one["status"] == ["143"]
    assert "going on from step 4" in one["err"][0]
    assert two["status"] == ["0", "0"], two["err"]
    assert "going on from step 8" in two["err"][0]
    assert_agree(launcher, "whole", "run")


@pytest.mark.slow
def test_a_sharded_run_goes_on_whole_and_a_whole_one_sharded(launcher):
    launcher(
        launcher.train("whole", 1),
        launcher.train("run", 2, "--parallel", "fsdp", at=[5, 0, "term"]),
        launcher.resume("run", 1, at=[8, 0, "term"]),
        launcher.resume("run", 2),
    )
    assert_agree(launcher, "whole", "run")


@pytest.mark.slow
def test_a_rank_that_is_killed_is_named_and_leaves_whole_checkpoints(launcher):
    (killed,) = launcher(launcher.train("run", 4, at=[7, 2, "kill"]))
    assert killed["status"] == ["2", "2", "", "2"]
    text = "".join(killed["err"])
    assert text.count("the connection to rank 2 of 4 was lost") == 1
    assert f"--resume {launcher.run('run')}" in text
    assert [path.name for path in checkpoints(launcher.run("run") / "checkpoints")] == [
        "step-00000000",
        "step-00000003",
        "step-00000006",
    ]
    for path in checkpoints(launcher.run("run") / "checkpoints"):
        verify(path)


@pytest.mark.slow
def test_torchruns_restart_goes_on(launcher):
    _, restarted, nameless = launcher(
        launcher.train("whole", 1),
        launcher.train("run", 2, restarts=1, at=[7, 1, "kill"]),
        {"world": 2, "argv": ["train", str(launcher.data), *OPTIONS], "restarts": 1},
    )
    assert restarted["status"] == ["0", "0"]
    assert "going on from step 6 of 12" in restarted["err"][0]
    assert_agree(launcher, "whole", "run")
    assert "give it a --name" in nameless["err"][0]


@pytest.mark.slow
def test_a_mistake_is_told_once_and_all_leave_with_its_status(launcher):
    misspelt, share, memory = launcher(
        {"world": 2, "argv": ["train", "--nam", "x"]},
        launcher.train("few", 2, "--batch", "1"),
        launcher.train("memory", 2, at=[4, 1, "memory"]),
    )
    for done, sentence in ((misspelt, "no option '--nam'"), (share, "cannot be shared among 2 processes")):
        assert set(done["status"]) <= {"2", ""}  # the agent ends those who are left
        assert done["err"][0].count(sentence) == 1
        assert done["err"][1] == ""
    assert memory["status"][1] == "2"
    assert "undiffuse: rank 1 on " in memory["err"][1]
    assert "memory ran out" in memory["err"][1]
    assert "memory ran out" not in memory["err"][0]
    assert "connection" not in memory["err"][0]


@pytest.mark.slow
def test_a_budget_in_minutes_is_one_decision(launcher):
    launch = launcher.train("run", 2, "--minutes", "0.6", "--log-every", "50")
    fixed = ("--steps", "--sample-every", "--checkpoint-every")  # the clock decides of all of them
    (done,) = launcher({**launch, "argv": [word for word in launch["argv"] if not word.startswith(fixed)]})
    assert done["status"] == ["0", "0"], done["err"]
    assert "steps fit into 0.6 minutes" in done["err"][0]
    last = checkpoints(launcher.run("run") / "checkpoints")[-1]
    state = load(last).state
    assert state.step == state.total == state.decisions[-1][2]
    assert 0 < state.spent < 60


TAUGHT = {
    "jump": ["--teacher-steps", "8", "--steps", "4,2", "--updates", "3", "--optimizer", "adam"],
    "progressive": ["--teacher-steps", "4", "--steps", "2", "--updates", "6", "--optimizer", "adam"],
    "distribution": ["--teacher-steps", "4", "--steps", "2", "--updates", "3", "--optimizer", "adam"],
}
"""Twelve steps of each, by the length of their stages."""


@pytest.mark.slow
@pytest.mark.parametrize("method", TAUGHT)
def test_processes_teach_as_one_does(launcher, method):
    """What a student draws besides is a function of the step, and all ask the network equally often."""
    shared = ("device", "log-every", "checkpoint-every", "keep")
    own = [f"--{name}={value}" for name, value in SETTINGS.items() if name in shared]

    def distill(name, world, *more):
        what = ["distill", str(launcher.run("teacher")), "--method", method, *TAUGHT[method]]
        where = ["--name", name, "--runs", str(launcher.folder / "runs"), "--sample-every", "0"]
        return {"world": world, "argv": [*what, *where, *own, *more]}

    done = launcher(
        launcher.train("teacher", 1, "--parameterization", "v", "--schedule", "cosine"),
        distill("one", 1),
        distill("two", 2),
        distill("cut", 2, "--parallel", "fsdp"),
    )
    assert [set(each["status"]) for each in done] == [{"0"}] * 4, [each["err"] for each in done]
    assert_agree(launcher, "one", "two")
    assert_agree(launcher, "one", "cut")
