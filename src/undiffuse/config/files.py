"""Settings to and from YAML, JSON and flat names, strictly.

A file that is silently half-read is worse than one that is refused, so here

* an unknown key is an error with a suggestion, and so is a key that stands twice,
* a value of the wrong type is one sentence that names the key,
* a file of a newer version is refused, and a key that is left out keeps its default.

PyYAML follows YAML 1.1, in which ``1e-4`` is a string, ``no`` is false and ``12:30`` is 750. The loader and dumper here
know only the scalars of YAML 1.2's core schema, and both know the same ones, so what is written is what is read.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from undiffuse.config.fields import Kind, Variants, fields_of, variants_of
from undiffuse.config.schema import CLASSIFIER, CONFIG_VERSION, TrainConfig
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.runtime.installing import upgrade

T = TypeVar("T")

BUDGETS = ("steps", "images", "minutes")
"""The three ways to say how long; exactly one of them is set."""


# --- dictionaries -----------------------------------------------------------------------------------------------------


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """The settings as nested dictionaries of plain values, the format's version first."""
    return {"version": CONFIG_VERSION, **_plain(asdict(config))}


def spelled_out(config: TrainConfig) -> dict[str, Any]:
    """As `to_dict`, with the fields of all architectures, others' at their defaults: for people to read."""
    flat, tree = flatten(config), to_dict(config)
    sections = {name: fields_of(_class_of(name)) for name, part in tree.items() if isinstance(part, dict)}
    return tree | {name: {one: _plain(flat[one]) for one in known} for name, known in sections.items()}


def from_dict(tree: Any, where: str = "the settings") -> TrainConfig:
    """The inverse of `to_dict`; ``where`` names the file in messages.

    Raises:
        UndiffuseError: unknown or misspelt key, wrong type, or a version newer than this program's.
    """
    if not isinstance(tree, dict):
        raise UndiffuseError(f"{where} must hold settings as 'key: value' lines, got {_show(tree)}")
    tree = dict(tree)
    version = tree.pop("version", None)
    if type(version) is not int or version < 1:
        raise UndiffuseError(f"{where} must begin with 'version: {CONFIG_VERSION}', got version {_show(version)}")
    if version > CONFIG_VERSION:
        raise UndiffuseError(
            f"{where} has format version {version}, this undiffuse reads up to {CONFIG_VERSION}; "
            f"upgrade with: {upgrade()}"
        )
    return from_plain(TrainConfig, _of_yesterday(tree), where)


def _of_yesterday(tree: dict[str, Any]) -> dict[str, Any]:
    """Settings as they are called today: P2's exponent had min-SNR's name, gamma, and a classifier's network, which is
    a U-Net's way down, the architecture of the run that it was trained for."""
    if tree.get("recipe") == CLASSIFIER and isinstance(network := tree.get("network"), dict):
        tree = {**tree, "network": {**network, "architecture": "unet"}}
    objective = tree.get("objective")
    if not isinstance(objective, dict) or objective.get("weighting") != "p2" or "p2_gamma" in objective:
        return tree
    if "gamma" not in objective:
        return tree
    return {**tree, "objective": {**objective, "p2_gamma": objective["gamma"]}}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def from_plain(cls: type[T], tree: Any, where: str, prefix: str = "") -> T:
    """A dataclass from a dictionary of plain values, its names and types checked; ``where`` names the file.

    Raises:
        UndiffuseError: unknown or missing key, or a value of the wrong type.
    """
    if not isinstance(tree, dict):
        part = f" in its section '{prefix.rstrip('.')}'" if prefix else ""
        raise UndiffuseError(f"{where} must hold 'key: value' settings{part}, got {_show(tree)}")
    if variants := variants_of(cls):
        told = fields_of(cls)[variants.told_by]
        name = _value(tree.get(told.name, told.default), told.kind, f"{prefix}{told.name}", where)
        cls, tree = variants.classes[name], _own(variants, name, tree, where, prefix)
    known = fields_of(cls)
    for key in tree:
        if key not in known:
            raise UndiffuseError(f"unknown setting '{prefix}{key}' in {where}{perhaps(str(key), known)}")
    for name, field in known.items():
        if field.required and name not in tree:
            raise UndiffuseError(f"'{prefix}{name}' is missing in {where}")
    return cls(**{key: _value(tree[key], known[key].kind, f"{prefix}{key}", where) for key in tree})


def _own(variants: Variants, name: str, tree: dict[str, Any], where: str, prefix: str) -> dict[str, Any]:
    """A section without what other classes of its union have: files of yesterday hold the fields of all."""
    every, own = variants.fields, fields_of(variants.classes[name])
    others = {key: tree[key] for key in tree if key in every and key not in own}
    variants.own(name, {key: _value(value, every[key].kind, f"{prefix}{key}", where) for key, value in others.items()})
    return {key: value for key, value in tree.items() if key not in others}


# --- values -----------------------------------------------------------------------------------------------------------


def _value(value: Any, kind: Kind, name: str, where: str) -> Any:
    """The value as its kind wants it, or one sentence."""
    if kind.section:
        return from_plain(kind.section, value, where, f"{name}.")
    try:
        return kind.fit(value)
    except TypeError:
        suggestion = perhaps(value, kind.choices) if kind.choices and isinstance(value, str) else ""
        raise UndiffuseError(f"'{name}' in {where} must be {kind.stored}, got {_show(value)}{suggestion}") from None


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# --- flat names -------------------------------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """Section of every setting by its flat name, e.g. ``{"lr": "optimizer"}``; '' for those outside any section."""
    found: dict[str, str] = {}
    for name, field in fields_of(TrainConfig).items():
        found |= dict.fromkeys(fields_of(field.kind.section), name) if field.kind.section else {name: ""}
    return found


def flatten(config: TrainConfig) -> dict[str, Any]:
    """Every setting by its flat name; those of another architecture at their defaults."""
    found = {}
    for name, section in sections().items():
        part = getattr(config, section) if section else config
        found[name] = getattr(part, name, fields_of(_class_of(section))[name].default)
    return found


def _class_of(section: str) -> type:
    """The class of a section's settings; '' stands for those outside any section."""
    return fields_of(TrainConfig)[section].kind.section or TrainConfig if section else TrainConfig


def override(config: TrainConfig, **flat: Any) -> TrainConfig:
    """``config`` with settings changed by their flat names: ``override(config, lr=1e-4, base=64)``.

    Lists serve as tuples and whole numbers as floats. A budget given here (steps, images or minutes) takes the place of
    the budget that ``config`` has. Another architecture takes over what both have.

    Raises:
        UndiffuseError: unknown name (with a suggestion), or a value of the wrong type.
    """
    known = sections()
    changes: dict[str, dict[str, Any]] = {}
    if any(flat.get(name) is not None for name in BUDGETS):
        flat = {**dict.fromkeys(BUDGETS), **flat}
    for name, value in flat.items():
        if name not in known:
            raise UndiffuseError(f"unknown setting '{name}'{perhaps(name, known)}")
        section = known[name]
        kind = fields_of(_class_of(section))[name].kind
        changes.setdefault(section, {})[name] = _value(value, kind, name, "the settings")
    top = changes.pop("", {})
    changed = replace(
        config, **top, **{name: _changed(getattr(config, name), _class_of(name), new) for name, new in changes.items()}
    )
    if "gamma" in flat and "p2_gamma" not in flat and changed.objective.weighting == "p2":
        raise UndiffuseError(
            f"gamma is min-SNR's; the exponent of the weighting p2 has a name of its own: `p2_gamma={flat['gamma']:g}`"
        )
    return changed


def _changed(old: Any, cls: type, new: dict[str, Any]) -> Any:
    """A section with new values, of another class of its union where they say so."""
    variants = variants_of(cls)
    if variants is None:
        return replace(old, **new)
    name = new.get(variants.told_by, getattr(old, variants.told_by))
    both = fields_of(variants.classes[name]).keys() & fields_of(type(old)).keys()
    return variants.classes[name](**{**{key: getattr(old, key) for key in both}, **variants.own(name, new)})


# --- text -------------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2 and without repeated keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own name; filled below

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes exactly the texts that `_Loader` would take for something else."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


_SCALARS = {
    "null": (r"null|~|", ["n", "~", ""]),
    "bool": (r"true|false", ["t", "f"]),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", list("-+.0123456789")),
}
for _tag, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
# The YAML 1.1 constructor reads a leading 0 as octal; 1.2 does not.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
# PyYAML represents a list in block style; settings read better with short lists in one line.
_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # YAML 1.1 takes these for line breaks, and PyYAML would write them as they are and read them as spaces.
    style = '"' if any(character in text for character in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def to_yaml(config: TrainConfig) -> str:
    """The settings as YAML; `from_yaml` gives back equal settings, floats to the last bit."""
    return yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def from_yaml(text: str, where: str = "the settings") -> TrainConfig:
    """Read settings from YAML, or from JSON, which is YAML.

    Raises:
        UndiffuseError: not YAML, or anything that `from_dict` refuses.
    """
    try:
        tree = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        detail = " ".join(str(error).split())
        raise UndiffuseError(f"{where} is not valid YAML: {detail}") from None
    return from_dict(tree, where)


def to_json(config: TrainConfig) -> str:
    """The settings as JSON."""
    return json.dumps(to_dict(config), indent=2)


def read_config(path: Path) -> TrainConfig:
    """Read a YAML or JSON file of settings.

    Raises:
        UndiffuseError: no such file, not text, or anything that `from_yaml` refuses.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UndiffuseError(f"cannot read the settings in {path}: {reason}") from None
    return from_yaml(text, str(path))
