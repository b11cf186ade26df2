from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from undiffuse.cli import main
from undiffuse.runtime import allocator
from undiffuse.runtime.allocator import keep_freed_memory

FAULTS = """
import resource
import torch
from undiffuse.runtime.allocator import keep_freed_memory

x, conv, norm = torch.randn(16, 32, 28, 28), torch.nn.Conv2d(32, 32, 3, padding=1), torch.nn.GroupNorm(8, 32)

def step():
    h = x
    for _ in range(4):
        h = h + conv(torch.nn.functional.silu(norm(h)))
    h.square().mean().backward()

print(keep_freed_memory())
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture
def plain(monkeypatch):
    """An environment that says nothing of memory, and a glibc that only notes down what it is told."""
    told = {}

    class Library:
        @staticmethod
        def mallopt(setting, value):
            told[setting] = value
            return 1

    monkeypatch.setattr("os.environ", {})
    monkeypatch.setattr("ctypes.CDLL", lambda name: Library)
    return told


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_step_that_repeats_itself_gets_no_new_pages():
    done = subprocess.run([sys.executable, "-c", FAULTS], env={}, capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    assert kept == "True"
    assert int(faults) < 8_000, "left to itself glibc has these steps fault about 40,000 times"


def test_what_glibc_is_told(plain):
    assert keep_freed_memory()
    assert plain == {allocator.M_MMAP_THRESHOLD: 33_554_432, allocator.M_TRIM_THRESHOLD: 2_147_483_647}


@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX"])
def test_settings_of_the_environment_stand(plain, monkeypatch, name):
    monkeypatch.setattr("os.environ", {name: "1"})
    assert not keep_freed_memory()
    assert plain == {}


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_other_c_libraries_are_left_alone(plain, monkeypatch, error):
    def none(name):
        raise error("no mallopt")

    monkeypatch.setattr("ctypes.CDLL", none)
    assert not keep_freed_memory()


@pytest.mark.parametrize(("command", "told"), [("samplers", True), ("studio", False)])
def test_the_command_line_keeps_memory_but_for_servers(plain, monkeypatch, command, told):
    monkeypatch.setattr("undiffuse.cli.studio.run", lambda typed: None)
    assert main([command]) == 0
    assert bool(plain) is told
