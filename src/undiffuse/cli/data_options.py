"""Options of the commands that look at data and do not train on them."""

from __future__ import annotations

from typing import Any

from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.parser import Parser
from undiffuse.config.data import DataConfig

SOURCE = "a folder, a file or a pattern such as 'shards/{00..09}.tar' of any kind in docs/use/data.md, hf:ORG/NAME"
"""What DATA may be, for the help."""
TRAINING = ("source", "flip", "stream", "buffer", "vectors", "pairs")
"""Fields of `DataConfig` that say where the data are, how a training goes through them and what it is told of them."""
PREPARATION = ("size", "crop", "crop_from", "channels", "skip_unreadable", "frames", "stride")
"""The others: what samples are made of the files."""


def data_word(word: str) -> str:
    """DATA as it was typed, without two meanings (`data.preparation.named`); imported late, for it loads NumPy."""
    from undiffuse.data.preparation.named import typed_source

    return typed_source(word)


def add_data(group: Any, flag: str, text: str) -> None:
    """An option that names data."""
    group.add_argument(flag, type=data_word, metavar="DATA", help=text)


def add_preparation(parser: Parser, title: str, defaults: bool = False) -> None:
    """An option for each setting of how data are prepared."""
    add_fields(parser, DataConfig, title, TRAINING, defaults)


def typed_preparation(options: dict[str, Any]) -> dict[str, Any]:
    """The typed settings of preparation, and what goes with them."""
    typed = {name: options[name] for name in PREPARATION if name in options}
    if typed.get("crop") in ("none", "center"):  # whoever prepares other data so has no use for the run's --crop-from
        typed.setdefault("crop_from", None)
    return typed
