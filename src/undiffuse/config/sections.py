"""Settings in sections: to and from plain values, and by flat names, strictly.

`TrainConfig` and `SampleConfig` are made of sections. The name of a field is unique over all sections of its class, so
that ``lr=1e-4`` and ``steps=20`` say in Python and on the command line which one is meant. A file holds a `TrainConfig`
by sections, and a class that is `Flat` by flat names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar, Self, TypeVar

from undiffuse.config.fields import Field, Variants, fields_of, variants_of
from undiffuse.config.kinds import Kind
from undiffuse.errors import UndiffuseError, in_one_sentence, perhaps

T = TypeVar("T")


class Flat:
    """A class of sections that are named flat wherever they are written: in files, in pictures, over HTTP."""

    called: ClassVar[str] = "the settings"
    """The settings in messages."""

    @classmethod
    @in_one_sentence
    def of(cls, **flat: Any) -> Self:
        """Settings by their flat names, the others at their defaults; errors as for `change`."""
        return change(cls(), flat, cls.called)

    @in_one_sentence
    def changed(self, **flat: Any) -> Self:
        """These settings with others of these flat names."""
        return change(self, flat, self.called)

    def flat(self) -> dict[str, Any]:
        return flatten(self)


# --- plain values -----------------------------------------------------------------------------------------------------


def from_plain(cls: type[T], tree: Any, where: str, prefix: str = "") -> T:
    """A dataclass from a dictionary of plain values, its names and types checked; ``where`` names the file.

    Raises:
        UndiffuseError: unknown or missing key, or a value of the wrong type.
    """
    if not isinstance(tree, dict):
        part = f" in its section '{prefix.rstrip('.')}'" if prefix else ""
        raise UndiffuseError(f"{where} must hold 'key: value' settings{part}, got {show(tree)}")
    if issubclass(cls, Flat):
        return change(cls(), tree, where, prefix)
    if variants := variants_of(cls):
        told = fields_of(cls)[variants.told_by]
        if tree.keys() <= {told.name}:  # the settings of a network that a program gave
            variants.add_given(tree.get(told.name))
        name = _value(tree.get(told.name, told.default), told.kind, f"{prefix}{told.name}", where)
        cls, tree = variants.class_of(name), _own(variants, name, tree, where, prefix)
    known = fields_of(cls)
    _check_known(tree, known, where, prefix)
    for name, field in known.items():
        if field.required and name not in tree:
            raise UndiffuseError(f"'{prefix}{name}' is missing in {where}")
    return cls(**{key: _value(tree[key], known[key].kind, f"{prefix}{key}", where) for key in tree})


def to_plain(settings: Any) -> dict[str, Any]:
    """The inverse of `from_plain`."""
    if isinstance(settings, Flat):
        return settings.flat()
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {name: to_plain(value) if is_dataclass(value) else value for name, value in values.items()}


def _check_known(names: Mapping[str, Any], known: Mapping[str, Any], where: str, prefix: str) -> None:
    for name in names:
        if name not in known:
            raise UndiffuseError(f"unknown setting '{prefix}{name}' in {where}{perhaps(str(name), known)}")


def _own(variants: Variants, name: str, tree: dict[str, Any], where: str, prefix: str) -> dict[str, Any]:
    """A section without what other classes of its union have: files of yesterday hold the fields of all."""
    every, own = variants.fields, fields_of(variants.class_of(name))
    others = {key: tree[key] for key in tree if key in every and key not in own}
    variants.own(name, {key: _value(value, every[key].kind, f"{prefix}{key}", where) for key, value in others.items()})
    return {key: value for key, value in tree.items() if key not in others}


def _value(value: Any, kind: Kind, name: str, where: str) -> Any:
    if kind.section:
        return from_plain(kind.section, value, where, f"{name}.")
    try:
        return kind.fit(value)
    except TypeError:
        suggestion = perhaps(value, kind.each.choices) if kind.each.choices and isinstance(value, str) else ""
        raise UndiffuseError(f"'{name}' in {where} must be {kind.stored}, got {show(value)}{suggestion}") from None


def show(value: Any) -> str:
    """A value as messages quote it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# --- flat names -------------------------------------------------------------------------------------------------------


def sections(cls: type) -> dict[str, str]:
    """Section of every setting by its flat name, e.g. ``{"lr": "optimizer"}``; '' for those outside any section."""
    found: dict[str, str] = {}
    for name, field in fields_of(cls).items():
        found |= dict.fromkeys(fields_of(field.kind.section), name) if field.kind.section else {name: ""}
    return found


def flat_fields(cls: type) -> dict[str, Field]:
    """The fields of a class and of its sections, by flat names."""
    found: dict[str, Field] = {}
    for name, field in fields_of(cls).items():
        found |= fields_of(field.kind.section) if field.kind.section else {name: field}
    return found


def flatten(config: Any) -> dict[str, Any]:
    """Every setting by its flat name; a field that the section's class lacks at its default."""
    homes, known = sections(type(config)), flat_fields(type(config))
    parts = {name: getattr(config, section) if section else config for name, section in homes.items()}
    return {name: getattr(parts[name], name, field.default) for name, field in known.items()}


def change(config: T, flat: Mapping[str, Any], where: str, prefix: str = "") -> T:
    """The settings with others of these flat names; ``where`` names their source.

    Lists serve as tuples and whole numbers as floats. Another class of a union takes over what both have.

    Raises:
        UndiffuseError: unknown name (with a suggestion), or a value of the wrong type.
    """
    homes, known = sections(type(config)), flat_fields(type(config))
    _check_known(flat, known, where, prefix)
    changes: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        changes.setdefault(homes[name], {})[name] = _value(value, known[name].kind, f"{prefix}{name}", where)
    top = changes.pop("", {})
    kinds = fields_of(type(config))
    parts = {name: _changed(getattr(config, name), kinds[name].kind, new) for name, new in changes.items()}
    made: T = replace(config, **top, **parts)  # type: ignore[type-var]
    return made


def _changed(old: Any, kind: Kind, new: dict[str, Any]) -> Any:
    """A section with new values, of another class of its union where they say so."""
    variants = variants_of(kind.section)
    if variants is None:
        return replace(old, **new)
    name = new.get(variants.told_by, getattr(old, variants.told_by))
    both = fields_of(variants.class_of(name)).keys() & fields_of(type(old)).keys()
    return variants.class_of(name)(**{**{key: getattr(old, key) for key in both}, **variants.own(name, new)})
