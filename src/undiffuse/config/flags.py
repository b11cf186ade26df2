"""Settings as the command line calls them, and its spelling of sentences that name some.

Core sentences name a setting as Python does, in backquotes (see `errors`): "give `beta_start` and `beta_end`". Whoever
speaks to somebody at a command line passes them through `in_flags`: "give --beta-start and --beta-end".
"""

from __future__ import annotations

import re
from functools import cache

FLAGS = {"classes": "--class", "start_from": "--from", "meant_for": "--for", "repeats": "--passes"}
"""Settings whose option is called otherwise: ``class``, ``from`` and ``for`` are short, and no names in Python."""
_ARGUMENTS = """n out overwrite name runs resume recipe config mask to reference held_out repeat training pictures
normal extractor inception_weights evaluations candidates method rtol atol exact noise overlap
repeats updates teacher_steps factor scale jump way frames strength std iterations within quick probes probe"""
ARGUMENTS = frozenset(_ARGUMENTS.split())
"""Arguments of functions, no fields of settings, that sentences name."""
SETTING = re.compile(r"`([a-z]\w*)(?:=([^`]*))?`")


def flag_of(name: str) -> str:
    """The option that sets a field."""
    return FLAGS.get(name, ("-" if len(name) == 1 else "--") + name.replace("_", "-"))


def in_flags(sentence: str) -> str:
    """A sentence with its settings as they are typed; what else stands in backquotes stays as it is."""
    return SETTING.sub(_typed, sentence)


def _typed(setting: re.Match[str]) -> str:
    name, value = setting.groups()
    if name not in _known():
        return setting[0]
    flag = flag_of(name)
    if value in (None, "True", "False"):
        return f"--no-{flag[2:]}" if value == "False" else flag
    return f"{flag} {value}"


@cache
def _known() -> frozenset[str]:
    from undiffuse.config.sampling import SampleConfig
    from undiffuse.config.schema import TrainConfig
    from undiffuse.config.sections import sections

    return ARGUMENTS | sections(TrainConfig).keys() | sections(SampleConfig).keys()
