"""Settings that were given and change nothing beside the others."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

NONE: Mapping[str, Any] = MappingProxyType({})


def without_effect(
    given: Mapping[str, Any], rules: Mapping[str, tuple[bool, str]], usual: Mapping[str, Any] = NONE
) -> list[str]:
    """A sentence for each setting that was given and does not act.

    A setting at its default is no wish to be disappointed, so that one list of settings serves several uses.

    Args:
        given: values by name.
        rules: by name, whether the setting acts here, and the end of "it acts ...", such as "with `sampler=ddim`".
        usual: the defaults.
    """
    return [
        f"`{name}{_shown(given[name])}` changes nothing here: it acts {words}"
        for name, (acts, words) in rules.items()
        if not acts and name in given and given[name] != usual.get(name)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "" if value else "=False"
    if isinstance(value, float):
        return f"={value:g}"
    return f"={','.join(map(str, value))}" if isinstance(value, tuple) else f"={value}"
