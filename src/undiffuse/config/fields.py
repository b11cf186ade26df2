"""The fields of a dataclass of settings, read from its annotations once: name, kind of value, default, help.

Whoever needs to know what a setting takes asks here: files (`Kind.fit`), the command line (`Kind.read`, `Kind.metavar`)
and forms. A new kind of value is a function here and a line in `kind_of`.
"""

from __future__ import annotations

import ast
import csv
import inspect
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from itertools import cycle, pairwise
from types import MappingProxyType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from undiffuse.config import registry
from undiffuse.errors import UndiffuseError

# --- kinds ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Kind:
    """The values that a setting takes. Equal annotations have one and the same kind.

    Args:
        fit: a value from Python, YAML or JSON to the one that is kept; TypeError where it is of another kind.
        read: a word of the command line to the value that it stands for; ValueError where it stands for none.
        stored: a file's value, in words.
        typed: an option's value, in words.
        metavar: stands after the option in its help.
        words: the only values that there are, where they can be listed.
        registry: the kind of pieces whose texts serve, too, see `config.registry`.
        members: of a list, the kinds of its values.
        options: of a union, its kinds, of which the first that fits is taken.
        section: the dataclass, where settings are nested in settings.
    """

    fit: Callable[[Any], Any]
    read: Callable[[str], Any]
    stored: str
    typed: str
    metavar: str
    words: tuple[str, ...] = ()
    registry: str = ""
    members: tuple[Kind, ...] = ()
    options: tuple[Kind, ...] = ()
    section: type | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        """The only values that there are, where they can be listed."""
        return (*self.words, *(registry.registered(self.registry) if self.registry else ()))

    @property
    def alternatives(self) -> tuple[Kind, ...]:
        """The kinds of a union; else this one alone."""
        return self.options or (self,)

    @property
    def each(self) -> Kind:
        """The kind of a list's values; else this one."""
        return self.members[0] if self.members else self


def _scalar(cls: type, metavar: str, words: str) -> Kind:
    """One value of a type of Python's; a whole number serves as any number."""

    def fit(value: Any) -> Any:
        value = _plain(value)
        if cls is float and type(value) is int and abs(value) <= sys.float_info.max:
            return float(value)
        if type(value) is not cls:  # exact: True is no whole number
            raise TypeError
        return value

    def read(word: str) -> Any:
        value = cls(word)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(word)
        return value

    return Kind(fit, read, words, words, metavar)


def _no_value(value: Any) -> None:
    if value is not None:
        raise TypeError


def _no_word(word: str) -> None:
    if word.lower() != "none":
        raise ValueError(word)


def _choice(words: tuple[str, ...], given: Mapping[str, Any] = MappingProxyType({})) -> Kind:
    """One of some words, or of those that a program gave."""

    def fit(value: Any) -> Any:
        if TEXT.fit(value) not in (*words, *given):
            raise TypeError
        return _plain(value)

    def read(word: str) -> str:
        if word not in words:
            raise ValueError(word)
        return word

    stored = "one of " + ", ".join(map(repr, words))
    return Kind(fit, read, stored, stored, "|".join(words), words=words)


@dataclass(frozen=True)
class Registered:
    """Beside a setting's type, in `Annotated`: it takes the library's own words and whatever is registered.

    Args:
        kind: of pieces, see `registry`.
        words: the library's own.
    """

    kind: str
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        registry.reserve(self.kind, *self.words)


def _registered(names: Registered) -> Kind:
    """The texts of registered pieces beside the library's own words.

    A file's text is taken for what it may be elsewhere: whoever makes the piece says that there is none. What is typed
    has to be there.
    """

    def fit(value: Any) -> str:
        text: str = TEXT.fit(value)
        if text not in names.words:
            registry.read(names.kind, text)
        return text

    def read(word: str) -> str:
        if word not in names.words and not registry.knows(names.kind, word):
            raise ValueError(word)
        return word

    stored = f"{', '.join(map(repr, names.words))} or the text of a registered {names.kind}"
    return Kind(fit, read, stored, stored, "|".join(names.words), words=names.words, registry=names.kind)


def _list_of(members: tuple[Kind, ...], endless: bool) -> Kind:
    """As many values as there are members, or any number of the one member; a list serves as a tuple.

    On the command line there are commas between them; a text with a comma stands in quotes: ``"size, cm",angle``.
    """
    each, count = members[0], len(members)

    def fit(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or not (endless or len(value) == count):
            raise TypeError
        return tuple(kind.fit(item) for kind, item in zip(cycle(members), value, strict=False))

    def read(word: str) -> tuple[Any, ...]:
        words = [] if word.lower() == "none" else word.split(",")
        if each is TEXT and '"' in word:
            words = next(csv.reader([word], skipinitialspace=True))
        if not (endless or len(words) == count):
            raise ValueError(word)
        return tuple(kind.read(one) for kind, one in zip(cycle(members), words, strict=False))

    several = f"{each.typed.removeprefix('a ')}s"
    return Kind(
        fit,
        read,
        stored=f"a list{'' if endless else f' of {count}'}, each {each.stored}",
        typed=f"{several} with commas between them" if endless else f"{count} {several}",
        metavar=f"{each.metavar},{each.metavar},..." if endless else " ".join(one.metavar for one in members),
        members=members,
    )


def _either(options: tuple[Kind, ...]) -> Kind:
    """The first kind that fits; 'none' is read before any text."""
    others = tuple(kind for kind in options if kind is not NOTHING)
    nothing = (NOTHING,) * (NOTHING in options)
    return Kind(
        lambda value: _first(options, lambda kind: kind.fit(value), TypeError),
        lambda word: _first(nothing + others, lambda kind: kind.read(word), ValueError),
        stored=" or ".join(kind.stored for kind in options),
        typed=" or ".join(kind.typed for kind in others + nothing),
        metavar="|".join(kind.metavar for kind in others),
        options=options,
    )


def _by_fields(value: Any) -> Any:
    raise NotImplementedError("settings in settings are fitted and read field by field, as files and options hold them")


def _plain(value: Any) -> Any:
    """NumPy's numbers, and tensors of one number, as Python's."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _first(kinds: Sequence[Kind], attempt: Callable[[Kind], Any], error: type[Exception]) -> Any:
    for kind in kinds:
        try:
            return attempt(kind)
        except error:
            continue
    raise error


WHOLE = _scalar(int, "N", "a whole number")
NUMBER = _scalar(float, "X", "a number")
TEXT = _scalar(str, "TEXT", "a text")
FLAG = _scalar(bool, "", "true or false")
NOTHING = Kind(_no_value, _no_word, "null", "'none'", "")
_SCALARS = {int: WHOLE, float: NUMBER, str: TEXT, bool: FLAG, types.NoneType: NOTHING}


@cache
def kind_of(hint: Any) -> Kind:
    """The kind of an annotation's values."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _registered(args[1])
    if origin is Literal:
        return _choice(args)
    if origin in (Union, types.UnionType):
        return _either(tuple(map(kind_of, args)))
    if origin is tuple:
        return _list_of(tuple(kind_of(one) for one in args if one is not Ellipsis), endless=args[-1] is Ellipsis)
    if is_dataclass(hint) and isinstance(hint, type):
        return Kind(_by_fields, _by_fields, "settings", "settings", "", section=hint)
    if hint not in _SCALARS:
        known = "int, float, str, bool, Literal, a tuple of these, or None beside one"
        raise UndiffuseError(f"A setting's annotation should be of {known}; {hint} is none of these")
    return _SCALARS[hint]


def check_registered(field: Field, value: Any) -> None:
    """Check that what somebody typed, and not a file, names a piece that is there.

    Raises:
        UndiffuseError: there is no such piece.
    """
    if field.kind.registry and isinstance(value, str) and value not in field.kind.words:
        registry.check(field.kind.registry, value)


# --- fields -----------------------------------------------------------------------------------------------------------


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
            return replace(first, kind=_choice(tuple(self.classes), self._given_classes), about=f"{'; '.join(texts)}.")
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
