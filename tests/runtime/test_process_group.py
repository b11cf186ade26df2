"""Sharing out, gathering and agreeing; what fails is in training/test_distributed.py."""

import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from torch.distributed import HashStore

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.process_group import ALONE, Group, _meet, cut, joined
from undiffuse.runtime.rank_failure import speaks
from undiffuse.runtime.torchrun import restarts, started_together

PROCESS = """
import json, os, sys
from contextlib import suppress
import numpy as np
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from undiffuse.runtime.process_group import joined

def work(folder):
    with joined() as group:
        found = {}
        for count in (7, 2, 3):
            mine = group.shard(list(range(count)))
            values = np.array([[k, -k] for k in mine], np.float64) if mine else None
            found[f"gathered {count}"] = group.gather_in_order(values).tolist()
        found["types"] = [str(group.gather_in_order(np.zeros((2, 3), kind)).dtype) for kind in ("u1", "i8", "f4")]
        found["largest"] = group.largest(10 - group.rank)
        texts = [(lambda: "αβγ", 0), (lambda: str(group.rank), 2), (lambda: "", 0)]
        found["told"] = [group.broadcast_text(say, by) for say, by in texts]
        with group.main_first():
            with open(folder + "/turns", "a") as file:
                file.write(f"{group.rank} ")
    with joined() as again:  # nothing of the first meeting is in the way of the second
        found["again"] = again.broadcast_text(lambda: "hello")
    with open(f"{folder}/{group.rank}.json", "w") as file:
        json.dump(found, file)

config = LaunchConfig(
    min_nodes=1, max_nodes=1, nproc_per_node=3, rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id="test",
    max_restarts=0, monitor_interval=0.1, start_method="fork",
)
elastic_launch(config, work)(sys.argv[1])
"""


@pytest.mark.parametrize(("count", "pieces"), [(7, 3), (6, 3), (2, 4), (0, 2), (9, 1)])
def test_a_cut_is_contiguous_and_fair(count, pieces):
    parts = cut(count, pieces)
    assert [number for part in parts for number in part] == list(range(count))
    sizes = [len(part) for part in parts]
    assert sorted(sizes, reverse=True) == sizes
    assert max(sizes) - min(sizes) <= 1
    assert [Group(rank, pieces).shard(range(count)) for rank in range(pieces)] == parts


def test_parts_keep_the_kind_of_their_sequence():
    assert Group(1, 2).shard("abcde") == "de"
    assert Group(0, 2).shard((1, 2, 3)) == (1, 2)
    assert Group(1, 2).shard(range(0, 100, 10)) == range(50, 100, 10)


def test_alone_everything_is_what_it_was(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    values = np.arange(3)
    with joined() as group:
        assert group is ALONE
        assert group.is_main
        assert group.shard([1, 2]) == [1, 2]
        assert group.gather_in_order(values) is values
        assert group.largest(3) == 3
        assert group.broadcast_text(lambda: "a") == "a"
        with group.main_first():
            group.barrier()
    assert (started_together(), restarts()) == (1, 0)
    assert speaks(UndiffuseError("a mistake"))


def test_alone_no_torch_is_loaded():
    code = (
        "import sys; from undiffuse.runtime.process_group import joined; from undiffuse.cli import main\n"
        "with joined() as group: group.barrier()\n"
        "main(['train', '--nix']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "no option '--nix'" in done.stderr


def test_one_of_many_is_not_taken_for_many(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with joined() as group:
        assert group is ALONE


def test_processes_gather_agree_and_take_turns(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *others = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert others == [first, first]
    for count in (7, 2, 3):
        assert first[f"gathered {count}"] == [[k, -k] for k in range(count)]
    assert first["types"] == ["uint8", "int64", "float32"]
    assert first["largest"] == 10
    assert first["told"] == ["αβγ", "2", ""]
    assert first["again"] == "hello"
    assert (tmp_path / "turns").read_text().startswith("0 ")
    assert sorted((tmp_path / "turns").read_text().split()) == ["0", "1", "2"]
    assert "Warning" not in done.stderr


def meet(store, ranks, world, delay=0.0):
    """The meetings that these ranks come to, each in a thread."""
    found = {}

    def come(rank):
        time.sleep(delay * rank)
        found[rank] = _meet(store, rank, world, time.monotonic() + 20)

    threads = [threading.Thread(target=come, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_those_who_meet_again_meet_elsewhere_whoever_comes_late():
    store = HashStore()
    first = meet(store, range(3), 3)
    assert len(set(first.values())) == 1
    second = meet(store, range(3), 3, delay=0.1)  # rank 0 finds the greetings of those who are gone, and waits on
    assert len(set(second.values())) == 1
    assert second[0] != first[0]


def test_who_waits_in_vain_says_so():
    store = HashStore()
    store.set("hello/1", "one who died")
    with pytest.raises(RuntimeError, match="not all of them came"):
        _meet(store, 0, 2, time.monotonic() + 0.2)
