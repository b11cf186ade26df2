"""A run that is killed at any moment, inside a save too, ends in the bits of the uninterrupted one.

In a process of its own, since only one that never ran a backward pass may be forked; see `kill_driver.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("kill_driver.py")


def killed_runs(folder, kills, seed, *method):
    done = subprocess.run(
        [sys.executable, DRIVER, folder, str(kills), str(seed), *method],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_four_kills_change_no_bit(tmp_path):
    result = killed_runs(tmp_path, kills=4, seed=1)
    assert sum(result["kills"].values()) >= 4
    assert sum(result["kills"].values()) > result["kills"]["moment"]  # some of them inside saves
    assert result["differing"] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_thirty_kills_change_no_bit(tmp_path, seed):
    result = killed_runs(tmp_path, kills=30, seed=seed)
    assert sum(result["kills"].values()) >= 30
    assert min(result["kills"].values()) >= 1
    assert result["differing"] == []


@pytest.mark.slow
@pytest.mark.parametrize("method", ["jump", "consistency", "regression", "distribution"])
def test_kills_change_no_bit_of_a_student(tmp_path, method):
    result = killed_runs(tmp_path, 6, 4, method)
    assert sum(result["kills"].values()) >= 6
    assert result["differing"] == []
