"""Fixtures of the training's tests; `tiny.py` is a file of its own because the kill test's driver uses it too."""

import importlib.util
import io
import sys
from pathlib import Path

import pytest
import torch

from undiffuse.training.callbacks.console import Console

_spec = importlib.util.spec_from_file_location("tiny", Path(__file__).with_name("tiny.py"))
tiny = importlib.util.module_from_spec(_spec)
sys.modules["tiny"] = tiny
_spec.loader.exec_module(tiny)


@pytest.fixture(autouse=True)
def _one_thread():
    """Several threads on tensors this small are slower, and the order of their sums is not fixed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data():
    return tiny.tiny_data()


@pytest.fixture
def settings():
    return tiny.tiny_settings


@pytest.fixture
def console():
    """A console that writes into ``console.stream``."""
    stream = io.StringIO()
    console = Console(stream=stream)
    console.text = stream.getvalue
    return console
