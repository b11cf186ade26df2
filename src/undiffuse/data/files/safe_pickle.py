"""Pickles of plain values and NumPy arrays, read by an interpreter that cannot call anything.

Python's own reader looks up whatever name a pickle holds and calls it; that is how a file runs code. Here a name is a
string and nothing else. The few that NumPy's arrays and Python 2's bytes need are known by heart and acted out in
this file; any other ends the reading. Nothing is imported, no attribute is looked up, nothing of the file is called.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.errors import UndiffuseError

_MARK = object()
_ARRAY = {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}
_ENCODE = "_codecs encode"
_TYPES = ("u1", "i1", "u2", "i2", "i4", "i8", "f4", "f8", "b1")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_BYTES = {"BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class _Name:
    """A name that Python's own reader would have looked up."""

    name: str


@dataclass
class _Type:
    """A dtype under construction."""

    code: str
    order: str = "|"


@dataclass
class _Array:
    """An array under construction."""

    value: NDArray[Any] | None = None


@dataclass
class _Machine:
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def since_mark(self) -> list[Any]:
        place = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items


def read_plain_pickle(data: bytes, name: str) -> Any:
    """The value in a pickle of None, numbers, texts, bytes, lists, tuples, dicts and numeric arrays.

    Text of Python 2 comes back as bytes.

    Raises:
        UndiffuseError: the pickle names anything else, or is damaged.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            _step(machine, opcode.name, argument, name)
        (value,) = machine.stack
        return _finished(value, {})
    except UndiffuseError:
        raise
    except Exception as error:  # an interpreter on damaged bytes fails in every way there is
        raise UndiffuseError(
            f"expected a pickle of plain values, got a damaged one: {name}: {str(error)[:100]}"
        ) from error


def _step(m: _Machine, op: str, argument: Any, name: str) -> None:
    stack = m.stack
    if op in ("PROTO", "FRAME", "STOP"):
        return
    if op in _LITERALS:
        stack.append(argument)
    elif op in _BYTES:
        stack.append(argument.encode("latin-1") if isinstance(argument, str) else argument)
    elif op in _CONSTANTS:
        stack.append(_CONSTANTS[op])
    elif op in _EMPTY:
        stack.append(_EMPTY[op]())
    elif op == "MARK":
        stack.append(_MARK)
    elif op in ("BINPUT", "LONG_BINPUT"):
        m.memo[argument] = stack[-1]
    elif op == "MEMOIZE":
        m.memo[len(m.memo)] = stack[-1]
    elif op in ("BINGET", "LONG_BINGET"):
        stack.append(m.memo[argument])
    elif op in ("TUPLE", *_TUPLES):
        items = m.since_mark() if op == "TUPLE" else [stack.pop() for _ in range(_TUPLES[op])][::-1]
        stack.append(tuple(items))
    elif op in ("APPEND", "APPENDS"):
        items = m.since_mark() if op == "APPENDS" else [stack.pop()]
        _a(list, stack[-1]).extend(items)
    elif op in ("SETITEM", "SETITEMS"):
        items = m.since_mark() if op == "SETITEMS" else [stack.pop() for _ in range(2)][::-1]
        _a(dict, stack[-1]).update(zip(map(_key, items[::2]), items[1::2], strict=True))
    elif op in ("GLOBAL", "STACK_GLOBAL"):
        stack.append(_name(argument if op == "GLOBAL" else " ".join([stack.pop(), stack.pop()][::-1]), name))
    elif op == "REDUCE":
        arguments, called = stack.pop(), _a(_Name, stack.pop())
        stack.append(_act_out(called.name, arguments))
    elif op == "BUILD":
        state = stack.pop()
        _build(stack[-1], state)
    else:
        raise UndiffuseError(f"expected a pickle of plain values in {name}, got its instruction {op}; it is not opened")


def _name(name: str, file: str) -> _Name:
    if name in _ARRAY or name in (_ENCODE, "numpy ndarray", "numpy dtype"):
        return _Name(name)
    raise UndiffuseError(
        f"expected a pickle of plain values in {file}, got one that asks for '{name.replace(' ', '.')[:80]}', which "
        "could run any code; it is not opened"
    )


def _act_out(name: str, arguments: Any) -> Any:
    """The result of one of the known callables."""
    if name in _ARRAY:  # (ndarray, (0,), b"b"): an empty array, filled in by BUILD
        return _Array()
    if name == _ENCODE:  # Python 3's way of writing bytes for Python 2
        text, codec = arguments
        if codec not in ("latin1", b"latin1"):
            raise ValueError(f"bytes encoded as {codec!r}")
        return text.encode("latin-1")
    if name == "numpy dtype":
        code = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
        if code not in _TYPES:
            raise ValueError(f"values of type {code!r:.20}")
        return _Type(code)
    raise ValueError(f"{name} called")


def _build(target: Any, state: Any) -> None:
    if isinstance(target, _Type):
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        target.order = order if order in ("<", ">") else "|"
        return
    _, shape, kind, fortran, data = state
    dtype = np.dtype(kind.order.replace("|", "") + kind.code)
    if not all(isinstance(side, int) and side >= 0 for side in shape) or fortran not in (True, False):
        raise ValueError(f"an array of shape {shape!r:.60}")
    if math.prod(shape) * dtype.itemsize != len(_a(bytes, data)):
        raise ValueError(f"{len(data):,} bytes for an array of shape {shape!r:.60}")
    _a(_Array, target).value = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _a(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} should be")
    return value


def _key(value: Any) -> Any:
    return value if isinstance(value, (str, bytes, int)) else _a(str, value)


def _finished(value: Any, done: dict[int, Any]) -> Any:
    """Arrays in place of what they were made from; names that were never called are no values.

    ``done`` holds what was finished before: a value that stands in many places is finished once, or a few bytes of
    lists of lists would take for ever.
    """
    if id(value) not in done:
        if isinstance(value, _Array):
            done[id(value)] = _a(np.ndarray, value.value)
        elif isinstance(value, dict):
            done[id(value)] = {key: _finished(item, done) for key, item in value.items()}
        elif isinstance(value, (list, tuple)):
            done[id(value)] = type(value)(_finished(item, done) for item in value)
        elif isinstance(value, (_Name, _Type)):
            raise TypeError("a name where a value should be")
        else:
            return value
    return done[id(value)]
