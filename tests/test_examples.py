"""The examples run as a newcomer runs them, and the package of plug-ins works where pip has put it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import undiffuse

EXAMPLES = Path(__file__).parents[1] / "examples"
SOURCE = Path(undiffuse.__file__).parents[1]
HOW = [
    *("--architecture", "dots", "--loss", "charbonnier(c=0.1)", "--optimizer", "nesterov(momentum=0.8)"),
    *(
        "--schedule",
        "slow-cosine(s=0.03)",
        "--timesteps",
        "64",
        "--batch",
        "8",
        "--device",
        "cpu",
        "--sample-every",
        "0",
    ),
]


def environment(*paths: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (SOURCE, *paths))), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("name", "call", "made"),
    [
        ("points_mlp", "main(steps=30, runs='.')", "spiral.safetensors"),
        ("film_unet", "main(steps=2, runs='.')", "film-digits.png"),
        ("sweep", "main(steps=2, runs='.')", "rates/compare.html"),
        ("sampler_and_guidance", "main(n=4, folder='.')", "00003.png"),
        ("lightning_bridge", "main(epochs=1, count=64, folder='.')", "shapes.png"),
        ("accelerate_bridge", "main(steps=2, batch=4, folder='.')", "digits-accelerated.png"),
    ],
)
def test_an_example_runs(own_cache, tmp_path, name, call, made):
    if name.endswith("_bridge"):
        package = name.removesuffix("_bridge")
        pytest.importorskip(package, reason=f"learns in the loop of {package}, which is not installed")
    script = EXAMPLES / f"{name}.py"
    assert len(script.read_text().splitlines()) <= 60
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}; {name}.{call}"],
        cwd=tmp_path,
        env=environment(EXAMPLES),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / made).exists()


@pytest.fixture(scope="module")
def plugged(tmp_path_factory, own_cache):
    """Runs a command where the package of plug-ins is installed; ``.dots`` data are in its folder."""
    folder = tmp_path_factory.mktemp("plugged")
    copy, place = folder / "copy", folder / "site"
    shutil.copytree(EXAMPLES / "dots_package", copy)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", place]
    subprocess.run([*map(str, pip), str(copy)], check=True, capture_output=True)
    dice = np.random.default_rng(0)
    rows = [f"{('round', 'square')[k % 2]} {' '.join(map(str, dice.integers(0, 256, 64)))}\n" for k in range(40)]
    (folder / "circles.dots").write_text("".join(rows))

    def run(*words: str, status: int = 0, wait: bool = True):
        command = [sys.executable, *words] if words[0] == "-c" else [sys.executable, "-m", "undiffuse", *words]
        options = {"cwd": folder, "env": environment(place), "text": True, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
        if not wait:
            return process
        out, err = process.communicate(timeout=300)
        assert process.returncode == status, err
        return out + err

    run.folder = folder
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    newest = max((run / "checkpoints").glob("step-*"))
    return {f"{file.name}/{k}": v for file in newest.glob("*.safetensors") for k, v in load_file(file).items()}


@pytest.fixture(scope="module")
def trained(plugged) -> Path:
    plugged("train", "circles.dots", *HOW, "--steps", "40", "--name", "whole")
    return plugged.folder / "runs" / "whole"


def test_its_pieces_are_options_with_their_help(plugged):
    said = " ".join(plugged("train", "--help").split())
    assert "--dot-width N Channels of the dots' network." in said
    assert "Registered: charbonnier (between l1 and l2)." in said
    assert "twice" in plugged("samplers")


def test_it_is_trained_killed_and_resumed_to_the_bit(plugged, trained):
    command = ["train", "circles.dots", *HOW, "--steps", "40", "--name", "killed", "--checkpoint-every", "1"]
    process = plugged(*command, "--log-every", "1", wait=False)
    folder = plugged.folder / "runs" / "killed" / "checkpoints"
    until = time.monotonic() + 120
    while not any(int(place.name[5:]) > 2 for place in folder.glob("step-*")) and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    plugged("train", "--resume", "runs/killed")
    whole, killed = weights(trained), weights(folder.parent)
    assert any("momentum_buffer" in name for name in whole)
    assert whole.keys() == killed.keys()
    assert [name for name in whole if not torch.equal(whole[name], killed[name])] == []


def test_it_is_sampled_measured_and_drawn_again(plugged, trained):
    plugged("sample", str(trained), "-n", "2", "--sampler", "twice(part=0.3)", "--steps", "3", "--out", "drawn")
    picture = plugged.folder / "drawn" / "00001.png"
    assert "twice(part=0.3)" in plugged("info", str(picture))
    assert "mean distance" in plugged("evaluate", str(trained), "-n", "40", "--extractor", "pixels", "--steps", "2")
    assert "runs/whole" in plugged("report", str(trained))


def test_the_studio_knows_it(plugged, trained):
    process = plugged("studio", "--port", "0", "--device", "cpu", wait=False)
    try:
        address = re.search(r"http://[^\s/]+", process.stdout.readline())[0]

        def ask(path: str, body: object = None):
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(f"{address}/v1/{path}", data, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer) if "json" in answer.headers["content-type"] else answer.read().decode()

        network = {one["name"]: one for one in ask("settings")["train"]["network"]}
        assert "dots" in network["architecture"]["choices"]
        assert network["dot_width"]["help"].startswith("Channels of the dots' network.")
        assert "twice" in [one["name"] for one in ask("samplers")["samplers"]]
        assert ask("models/whole")["parameters"] > 100
        job = ask("samples", {"model": "whole", "n": 1, "settings": {"sampler": "twice(part=0.3)", "steps": 2}})
        assert "event: done" in ask(job["events"].removeprefix("/v1/"))
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--loss", "charbonier"), "--loss cannot be 'charbonier'; perhaps you meant 'charbonnier'"),
        (("--loss", "charbonnier(d=1)"), "The loss 'charbonnier' has no option 'd': it has c"),
        (("--dot-width", "8"), "has no --dot-width"),
        (("--architecture", "dots", "--base", "8"), "has no --base"),
    ],
)
def test_a_mistake_is_one_sentence(plugged, words, sentence):
    said = plugged("train", "circles.dots", "--steps", "1", *words, status=2)
    assert sentence in said
    assert said.count("\n") <= 2


def test_without_the_package_a_sentence_says_what_is_missing(plugged, trained):
    done = subprocess.run(
        [sys.executable, "-m", "undiffuse", "sample", str(trained)],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "'network.architecture' in" in done.stderr
    assert "'dots'" in done.stderr
