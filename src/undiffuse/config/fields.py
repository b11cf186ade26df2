"""The string below each field of a dataclass of settings: its help on the command line and in the studio."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from threading import Lock

_ONE_AT_A_TIME = Lock()
"""Python 3.11 counts the depth of a tree it builds in one place for all threads, and fails where two meet."""


def field_texts(cls: type) -> dict[str, str]:
    """The string below each field of a dataclass; Python itself forgets them."""
    return _module_texts(cls.__module__)[cls.__name__]


@cache
def _module_texts(module: str) -> dict[str, dict[str, str]]:
    """For each class of a module: the string below each annotated field."""
    source = inspect.getsource(sys.modules[module])
    with _ONE_AT_A_TIME:
        tree = ast.parse(source)
    return {node.name: dict(_described(node.body)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _described(body: Sequence[ast.stmt]) -> list[tuple[str, str]]:
    found = []
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found.append((field.target.id, " ".join(str(text.value.value).split())))
    return found
