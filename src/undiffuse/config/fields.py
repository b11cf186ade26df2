"""The fields of a dataclass of settings, read from its annotations once: name, kind of value, default, help.

Whoever needs to know what a setting takes asks here: files (`Kind.fit`), the command line (`Kind.read`, `Kind.metavar`)
and forms; `kinds` says what values there are.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from itertools import pairwise
from typing import Any, get_type_hints

from undiffuse.config import registry
from undiffuse.config.kinds import Kind, choice, kind_of
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class Field:
    """A setting.

    Args:
        owner: the dataclass, or its parent, that declares it.
        default: None where it is required.
        required: True where there is no default.
        about: the help, where that is more than the string below the field.
    """

    owner: type
    name: str
    kind: Kind
    default: Any
    required: bool
    about: str = ""

    @property
    def text(self) -> str:
        """The help: the string below the field, and what is registered beside its words."""
        found = self.about or _module_texts(self.owner.__module__).get(self.owner.__name__, {}).get(self.name, "")
        pieces = registry.registered(self.kind.registry).values() if self.kind.registry else ()
        more = ", ".join(f"{piece.name} ({piece.note})" if piece.note else piece.name for piece in pieces)
        return f"{found} Registered: {more}." if more else found


def check_registered(field: Field, value: Any) -> None:
    """Check that what somebody typed, and not a file, names a piece that is there.

    Raises:
        UndiffuseError: there is no such piece.
    """
    if field.kind.registry and isinstance(value, str) and value not in field.kind.words:
        registry.check(field.kind.registry, value)


def fields_of(cls: type) -> Mapping[str, Field]:
    """The fields of a dataclass by name, in their order; of the parent of `Variants`, the fields of all classes."""
    variants = variants_of(cls)
    return _fields_of(cls) if variants is None else variants.fields


_UNIONS: dict[type, Variants] = {}
"""The open unions by the parents of their classes."""


class Variants:
    """An open union of classes of settings, told apart by one of their fields.

    Args:
        parent: of the classes; `fields_of` it are the fields of all classes.
        told_by: name of the field that tells, a Literal of a class's names.
        given: the class, of a name alone, of what is not known here; such names join when a file or a program has them.

    Attributes:
        classes: by those names.
        fields: of all classes; the help of a field that some classes lack says which have it.
    """

    def __init__(self, parent: type, told_by: str, given: Callable[[str], type] | None = None) -> None:
        _UNIONS[parent] = self
        self._given = given
        self.told_by = told_by
        self.classes: dict[str, type] = {}
        self._given_classes: dict[str, type] = {}
        self.fields: Mapping[str, Field] = {}

    def add(self, cls: type) -> None:
        """Join a dataclass to the union."""
        own = fields_of(cls)
        names = own[self.told_by].kind.choices if self.told_by in own else ()
        if not names or own[self.told_by].default not in names:
            raise UndiffuseError(
                f"{cls.__name__} should be a frozen dataclass with a field `{self.told_by}`, a Literal of its names "
                "with one of them as its default"
            )
        if required := [name for name, field in own.items() if field.required]:
            raise UndiffuseError(f"'{required[0]}' of {cls.__name__} needs a default, for it may be left out")
        if taken := [name for name in names if name in self.classes]:
            raise UndiffuseError(f"the {self.told_by} '{taken[0]}' is there already; give {cls.__name__} another name")
        for name, field in self.fields.items():
            new = own.get(name, field)
            if name != self.told_by and (new.kind is not field.kind or new.default != field.default):
                raise UndiffuseError(
                    f"'{name}' of {cls.__name__} should be {field.kind.stored}, by default {field.default}, as in "
                    f"{field.owner.__name__}; give the field another name"
                )
        self.classes |= dict.fromkeys(names, cls)
        self.fields = {name: self._with_owners(name) for name in {**self.fields, **own}}

    def add_given(self, name: Any) -> None:
        """Join the class of a name alone, where there is none of this name; help and choices do not list it."""
        if self._given and isinstance(name, str) and name not in self.classes:
            registry.read(self.told_by, name)
            self._given_classes.setdefault(name, self._given(name))

    def class_of(self, name: str) -> type:
        """The class of one of the names, of those that were given, too."""
        return self.classes.get(name) or self._given_classes[name]

    def _with_owners(self, name: str) -> Field:
        owners = {told: fields_of(cls)[name] for told, cls in self.classes.items() if name in fields_of(cls)}
        first, *_ = owners.values()
        if name == self.told_by:
            texts = dict.fromkeys(one.text.removesuffix(".") for one in owners.values() if one.text)
            return replace(first, kind=choice(tuple(self.classes), self._given_classes), about=f"{'; '.join(texts)}.")
        few = len(owners) < len(self.classes)
        return replace(first, about=f"{first.text} ({self.told_by} {', '.join(owners)})".lstrip()) if few else first

    def own(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values that the class of this name has; others are left out where they are at their defaults."""
        mine, every = fields_of(self.class_of(name)), self.fields
        for key, value in values.items():
            if key in every and key not in mine and value != every[key].default:
                raise UndiffuseError(
                    f"`{self.told_by}={name}` has no `{key}`: leave it out, or where a recipe sets "
                    f"it give its default, {every[key].default}"
                )
        return {key: value for key, value in values.items() if key in mine}


def variants_of(cls: type | None) -> Variants | None:
    """The union of which a class is the parent."""
    return _UNIONS.get(cls) if cls else None


@cache
def _fields_of(cls: type) -> Mapping[str, Field]:
    hints = get_type_hints(cls, include_extras=True)
    return {
        field.name: Field(
            owner=next(one for one in cls.__mro__ if field.name in inspect.get_annotations(one)),
            name=field.name,
            kind=kind_of(hints[field.name]),
            default=None if field.default is MISSING else field.default,
            required=field.default is MISSING and field.default_factory is MISSING,
        )
        for field in fields(cls)
    }


@cache
def _module_texts(module: str) -> dict[str, dict[str, str]]:
    """The string below each annotated field of each class of a module, which Python itself forgets."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError):  # written in a notebook or a console: there is no file
        return {}
    with registry.ONE_AT_A_TIME:
        tree = ast.parse(source)
    return {node.name: dict(_described(node.body)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _described(body: Sequence[ast.stmt]) -> list[tuple[str, str]]:
    found = []
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found.append((field.target.id, " ".join(str(text.value.value).split())))
    return found
