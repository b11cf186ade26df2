"""The strings below the fields of settings."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from undiffuse.config import training
from undiffuse.config.fields import _module_texts, field_texts
from undiffuse.config.training import LoopConfig


def test_a_field_has_the_string_below_it() -> None:
    assert set(field_texts(LoopConfig)) <= set(LoopConfig.__dataclass_fields__)
    assert all(text and "\n" not in text for text in field_texts(LoopConfig).values())


@pytest.fixture
def restless() -> Iterator[None]:
    """The collector comes often and lets another thread go on, in the middle of whatever is being built."""
    usual = gc.get_threshold()
    gc.callbacks.append(pause)
    gc.set_threshold(200)
    yield
    gc.set_threshold(*usual)
    gc.callbacks.remove(pause)


def pause(phase: str, info: dict[str, int]) -> None:
    time.sleep(0)


def test_threads_may_ask_at_the_same_time(restless: None) -> None:
    """Python 3.11 counts the depth of a tree that is built in one place for all threads."""

    def fresh(_: int) -> int:
        return len(_module_texts.__wrapped__(training.__name__))

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(fresh, range(24)))
    assert counts == [counts[0]] * 24
