"""Threads by what the system allows, and how they wait: decided before torch is loaded, never against the user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from undiffuse.runtime import cores
from undiffuse.runtime.cores import BUSY, IDLE, Allowance, allowance, is_busy, prepare, waiting, why


@pytest.fixture(autouse=True)
def four_cores_and_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delitem(sys.modules, "torch")


def system(root: Path, groups: str, **files: str) -> Path:
    """A file system whose /proc/self/cgroup says ``groups``; ``files`` by their paths in /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_a_quota_the_cores_of_the_affinity_mask_are_the_threads(tmp_path: Path) -> None:
    assert allowance(tmp_path) == Allowance(4, None)
    assert allowance(tmp_path).threads == 4
    unlimited = system(tmp_path / "a", "0::/\n", **{"cpu.max": "max 100000\n"})
    assert allowance(unlimited).quota is None
    v1 = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert allowance(system(tmp_path / "b", "1:cpu:/\n", **v1)).quota is None


def test_the_quota_of_version_2_is_read_of_the_own_group_and_of_those_above(tmp_path: Path) -> None:
    files = {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n", "cpu.max": "300000 100000\n"}
    assert allowance(system(tmp_path, "0::/a/b\n", **files)).quota == 1.5


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
def test_the_quota_of_version_1_is_read_even_where_the_path_is_the_hosts(tmp_path: Path, controllers: str) -> None:
    mount = f"{controllers}/cpu.cfs_"
    files = {f"{mount}quota_us": "50000\n", f"{mount}period_us": "25000\n"}
    groups = f"4:memory:/docker/1\n3:{controllers}:/docker/1\n2:cpuset:/docker/1\n0::/docker/1\n"
    assert allowance(system(tmp_path, groups, **files)) == Allowance(4, 2.0)


@pytest.mark.parametrize("text", ["", "nonsense", "0 100000", "100000 0", "-5 100000", "100000", "1 2 3"])
def test_a_quota_that_says_nothing_limits_nothing(tmp_path: Path, text: str) -> None:
    assert allowance(system(tmp_path, "0::/\n", **{"cpu.max": text})).quota is None


@pytest.mark.parametrize(
    ("quota", "threads"), [(0.1, 1), (1.0, 1), (1.2, 1), (1.5, 2), (2.0, 2), (2.7, 3), (4.0, 4), (64.0, 4)]
)
def test_threads_are_the_quota_to_the_nearest_whole_number_and_at_most_the_cores(quota: float, threads: int) -> None:
    assert Allowance(4, quota).threads == threads


def test_a_quota_below_the_cores_gives_so_many_threads_and_none_gives_torchs_own(tmp_path: Path) -> None:
    limited: dict[str, str] = {}
    prepare(limited, system(tmp_path / "a", "0::/\n", **{"cpu.max": "200000 100000"}))
    assert limited == {"GOMP_SPINCOUNT": str(IDLE), "OMP_NUM_THREADS": "2"}
    free: dict[str, str] = {}
    prepare(free, tmp_path / "b")
    assert free == {"GOMP_SPINCOUNT": str(IDLE)}


@pytest.mark.parametrize(("running", "busy"), [(1, False), (5, False), (6, True), (40, True)])
def test_a_machine_is_busy_where_others_leave_too_few_cores(tmp_path: Path, running: int, busy: bool) -> None:
    root = system(tmp_path, "0::/\n")
    (root / "proc/stat").write_text(f"cpu  1 2 3\nprocs_running {running}\nprocs_blocked 9\n")
    assert is_busy(4, root) is busy  # of 8 cores, and this process is one of those running
    given: dict[str, str] = {}
    prepare(given, root)
    assert given == {"GOMP_SPINCOUNT": str(BUSY if busy else IDLE)}


def test_a_machine_that_is_busy_for_a_moment_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = system(tmp_path, "0::/\n")
    stat = root / "proc/stat"
    stat.write_text("procs_running 40\n")
    monkeypatch.setattr("time.sleep", lambda seconds: stat.write_text("procs_running 2\n"))
    assert not is_busy(4, root)


@pytest.mark.parametrize("said", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "passive"}])
def test_what_the_user_said_stands(tmp_path: Path, said: dict[str, str]) -> None:
    root = system(tmp_path, "0::/\n", **{"cpu.max": "100000 100000"})
    given = {**said, "OMP_NUM_THREADS": "3"}
    prepare(given, root)
    assert given == {**said, "OMP_NUM_THREADS": "3"}


def test_nothing_is_set_where_torch_is_loaded_or_openmp_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, given = system(tmp_path, "0::/\n", **{"cpu.max": "100000 100000"}), dict[str, str]()
    monkeypatch.setattr(sys, "platform", "darwin")
    prepare(given, root)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "torch", cores)
    prepare(given, root)
    assert given == {}


def test_the_reason_names_cores_quota_and_what_the_user_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "allowance", lambda: Allowance(4, 1.5))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "12")
    assert why(2) == "this process may run on 4 of 8 cores, of which the control group's quota gives it 1.5"
    assert why(3).startswith("OMP_NUM_THREADS=3; this process may run on 4 of 8 cores")
    assert waiting() == "GOMP_SPINCOUNT=12"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert "milliseconds" in waiting()


def test_importing_the_package_or_a_part_of_it_sets_the_waiting_without_loading_torch() -> None:
    free = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    code = "import undiffuse.config.schema, os, sys; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=free, check=True, capture_output=True, text=True)
    spins, loaded = done.stdout.split()
    assert spins in (str(IDLE), str(BUSY))
    assert loaded == "False"
