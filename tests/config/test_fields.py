"""Fields of settings: their kinds, and the strings below them."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Optional

import numpy as np
import pytest
import torch

from undiffuse.config import training
from undiffuse.config.fields import _module_texts, fields_of
from undiffuse.config.kinds import kind_of
from undiffuse.config.training import LoopConfig


@dataclass(frozen=True)
class Parent:
    size: int = 1
    """Of a thing."""


@dataclass(frozen=True)
class Child(Parent):
    name: str = ""
    """What it is called."""


def test_a_field_has_the_string_below_it() -> None:
    texts = [field.text for field in fields_of(LoopConfig).values()]
    assert len(texts) == len(LoopConfig.__dataclass_fields__)
    assert all(text and "\n" not in text for text in texts)


def test_a_field_of_a_parent_has_the_string_below_it_there() -> None:
    assert fields_of(Child)["size"].text == "Of a thing."
    assert [field.owner for field in fields_of(Child).values()] == [Parent, Child]


def test_equal_annotations_have_one_kind() -> None:
    assert kind_of(int | None) is kind_of(Optional[int])  # noqa: UP045
    assert kind_of(tuple[int, ...]) is not kind_of(tuple[int, int])


@pytest.mark.parametrize(
    ("hint", "value", "kept"),
    [
        (float, 3, 3.0),
        (int, np.int64(3), 3),
        (float, torch.tensor(0.5), 0.5),
        (int | None, None, None),
        (tuple[int, ...], [], ()),
        (tuple[tuple[int, float], ...], [[1, 2]], ((1, 2.0),)),
        (int | tuple[int, int], [4, 5], (4, 5)),
    ],
)
def test_a_value_is_kept_as_its_annotation_says(hint: Any, value: Any, kept: Any) -> None:
    found = kind_of(hint).fit(value)
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, True),
        (int, 3.0),
        (float, 10**400),
        (float, "3"),
        (bool, 1),
        (str, None),
        (Literal["a", "b"], "c"),
        (tuple[int, int], [1, 2, 3]),
        (tuple[int, ...], "12"),
        (int | None, "none"),
    ],
)
def test_a_value_of_another_kind_is_refused(hint: Any, value: Any) -> None:
    with pytest.raises(TypeError):
        kind_of(hint).fit(value)


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


def test_one_text_stands_for_a_list_of_it():
    words = kind_of(tuple[Literal["class", "text"], ...])
    assert words.fit("class") == ("class",)
    assert kind_of(tuple[str, ...]).fit("seven") == ("seven",)
    for kind, value in ((words, "klass"), (kind_of(tuple[int, ...]), "3"), (kind_of(tuple[str, str]), "ab")):
        with pytest.raises(TypeError):
            kind.fit(value)
