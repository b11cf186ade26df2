"""--compile, by the command line: the type checks of the tests' own process and the compiler do not go together."""

import json
import subprocess
import sys

import pytest

TINY = ["--base", "4", "--multipliers", "1", "--blocks", "1", "--no-middle-attention", "--batch", "4", "--steps", "4"]


@pytest.mark.slow
def test_a_compiled_training_has_the_losses_of_the_eager_one(tmp_path):
    losses = {}
    for name, words in {"eager": [], "compiled": ["--compile"]}.items():
        command = ["train", "digits", *TINY, *words, "--device", "cpu", "--runs", str(tmp_path), "--name", name]
        done = subprocess.run([sys.executable, "-m", "undiffuse", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses[name] = [row["loss"] for row in map(json.loads, lines) if "loss" in row]
    assert len(losses["eager"]) >= 1
    assert losses["compiled"] == pytest.approx(losses["eager"], rel=1e-4)
