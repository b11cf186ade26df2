"""Settings of a training to and from YAML and JSON, strictly.

A file that is silently half-read is worse than one that is refused, so here

* an unknown key is an error with a suggestion, and so is a key that stands twice,
* a value of the wrong type is one sentence that names the key,
* a file of a newer version is refused, and a key that is left out keeps its default.

PyYAML follows YAML 1.1, in which ``1e-4`` is a string, ``no`` is false and ``12:30`` is 750. The loader and dumper here
know only the scalars of YAML 1.2's core schema, and both know the same ones, so what is written is what is read.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from undiffuse.config.distillation import NoDistillation
from undiffuse.config.fields import check_registered
from undiffuse.config.schema import CLASSIFIER, CONFIG_VERSION, TrainConfig
from undiffuse.config.sections import change, flat_fields, flatten, from_plain, sections, show
from undiffuse.config.students import check_student
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.runtime.installing import upgrade

BUDGETS = ("steps", "images", "minutes")
"""The three ways to say how long; exactly one of them is set."""


# --- dictionaries -----------------------------------------------------------------------------------------------------


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """The settings as nested dictionaries of plain values, the format's version first; those of a student are of
    students alone."""
    tree = {"version": CONFIG_VERSION, **_plain(asdict(config))}
    if isinstance(config.distillation, NoDistillation):
        del tree["distillation"]
    return tree


def spelled_out(config: TrainConfig) -> dict[str, Any]:
    """As `to_dict`, with the fields of all architectures, others' at their defaults: for people to read."""
    tree, values = to_dict(config), flatten(config)
    tree["network"] = {name: _plain(values[name]) for name, home in sections(TrainConfig).items() if home == "network"}
    return tree


def from_dict(tree: Any, where: str = "the settings") -> TrainConfig:
    """The inverse of `to_dict`; ``where`` names the file in messages.

    Raises:
        UndiffuseError: unknown or misspelt key, wrong type, a version newer than this program's, or a student
            that cannot be.
    """
    if not isinstance(tree, dict):
        raise UndiffuseError(f"{where} must hold settings as 'key: value' lines, got {show(tree)}")
    tree = dict(tree)
    version = tree.pop("version", None)
    if type(version) is not int or version < 1:
        raise UndiffuseError(f"{where} must begin with 'version: {CONFIG_VERSION}', got version {show(version)}")
    if version > CONFIG_VERSION:
        raise UndiffuseError(
            f"{where} has format version {version}, this undiffuse reads up to {CONFIG_VERSION}; "
            f"upgrade with: {upgrade()}"
        )
    config = from_plain(TrainConfig, _of_yesterday(tree), where)
    check_student(config, where)
    return config


def _of_yesterday(tree: dict[str, Any]) -> dict[str, Any]:
    """Old settings under their names of today.

    P2's exponent was called gamma, as min-SNR's is, and a classifier's network, which is a U-Net's way down, had the
    architecture of the run that it was trained for.
    """
    if tree.get("recipe") == CLASSIFIER and isinstance(network := tree.get("network"), dict):
        tree = {**tree, "network": {**network, "architecture": "unet"}}
    objective = tree.get("objective")
    if isinstance(objective, dict) and objective.get("weighting") == "p2" and "gamma" in objective:
        tree = {**tree, "objective": {"p2_gamma": objective["gamma"], **objective}}
    return tree


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


# --- flat names -------------------------------------------------------------------------------------------------------


def override(config: TrainConfig, **flat: Any) -> TrainConfig:
    """``config`` with settings changed by their flat names: ``override(config, lr=1e-4, base=64)``; see `change`.

    A budget given here (steps, images or minutes) takes the place of the budget that ``config`` has.

    Raises:
        UndiffuseError: unknown name (with a suggestion), or a value of the wrong type.
    """
    known = sections(TrainConfig)
    for name in flat:
        if name not in known:
            raise UndiffuseError(f"unknown setting '{name}'{perhaps(name, known)}")
    for name, value in flat.items():
        check_registered(flat_fields(TrainConfig)[name], value)
    if any(flat.get(name) is not None for name in BUDGETS):
        flat = {**dict.fromkeys(BUDGETS), **flat}
    changed = change(config, flat, "the settings")
    if "gamma" in flat and "p2_gamma" not in flat and changed.objective.weighting == "p2":
        raise UndiffuseError(
            f"gamma is min-SNR's; the exponent of the weighting p2 has a name of its own: `p2_gamma={flat['gamma']:g}`"
        )
    return changed


def check_pieces(config: TrainConfig) -> None:
    """Check that the registered pieces which settings name are there: files may name what is registered elsewhere.

    Raises:
        UndiffuseError: one of them is not.
    """
    values = flatten(config)
    for name, field in flat_fields(TrainConfig).items():
        check_registered(field, values[name])


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
    """Read settings from YAML, or from JSON, which is YAML."""
    try:
        tree = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UndiffuseError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    return from_dict(tree, where)


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
