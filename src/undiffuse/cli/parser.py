"""An argparse parser whose errors are one sentence, and which gives back only what was typed."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from undiffuse.errors import UndiffuseError, perhaps

NUMBER = re.compile(r"[-+]?[\d.][\d.,e+-]*", re.IGNORECASE)
UNRECOGNIZED = "unrecognized arguments: "
SENTENCES = (
    (r"^argument (?:-\w/)?([^\s/]+)\S*: expected one argument$", r"\1 needs a value after it"),
    (r"^argument (?:-\w/)?([^\s/]+)\S*: ignored explicit argument (.*)$", r"\1 takes no value, so not \2"),
    (rf"^{UNRECOGNIZED}(.*?)(: .*)?$", r"There is no place for '\1'\2"),
    (r"^the following arguments are required: (.*)$", r"This needs \1"),
)
"""argparse's messages as sentences of ours."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises one-sentence errors and gives back only what was typed."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            add_help=False,
            formatter_class=_Formatter,
        )
        self._positionals.title = "arguments"
        self.lists: set[str] = set()
        """Options that take lists of numbers; see `_join_lists`."""
        self.surplus = ""
        """What a word that has no place was likely to be, with {} for the word: "real images go to --reference {}"."""

    def error(self, message: str) -> NoReturn:
        if self.surplus and message.startswith(UNRECOGNIZED):
            word = message.removeprefix(UNRECOGNIZED)
            message += f": {self.surplus.replace('{}', shlex.join([word]))}"
        for pattern, words in SENTENCES:
            message = re.sub(pattern, words, message)
        raise UndiffuseError(f"{message}; see {self.prog} --help")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        for word in argv:
            self._check_known(word)
        return self.parse_args(self._join_lists(argv))

    def _check_known(self, word: str) -> None:
        """Misspelt options first: argparse would complain of what is missing because of them."""
        if not word.startswith("-") or word == "-" or NUMBER.fullmatch(word):
            return
        whole = word.split("=")[0]
        dashes = {f"-{whole}", whole[1:]} & self._option_string_actions.keys() if len(whole) > 2 else set()
        if whole not in self._option_string_actions and dashes:  # --n for -n, -seed for --seed
            raise UndiffuseError(f"{self.prog} has no option '{whole}'; perhaps you meant '{dashes.pop()}'")
        name = whole if word.startswith("--") else word[:2]
        if name not in self._option_string_actions:
            close = perhaps(name, self._option_string_actions)
            # The list of all options would be no sentence.
            hint = close if "perhaps" in close else f"; see {self.prog} --help"
            raise UndiffuseError(f"{self.prog} has no option '{name}'{hint}")

    def _join_lists(self, argv: Sequence[str]) -> list[str]:
        """``--size 64 96`` becomes ``--size 64,96``, so that a list ends where its numbers end."""
        joined: list[str] = []
        inside = False
        for word in argv:
            if inside and NUMBER.fullmatch(word) and NUMBER.fullmatch(joined[-1]):
                joined[-1] += f",{word}"
                continue
            # A list's option itself is followed by its first value, which the next turn may extend.
            inside = word in self.lists or (inside and joined[-1] in self.lists)
            joined.append(word)
        # argparse takes '-10' for a number, and '-10,2' and '-1e3' for options.
        takes = [name for name, act in self._option_string_actions.items() if name[:2] == "--" and act.nargs is None]
        negative = [k for k in range(1, len(joined)) if joined[k - 1] in takes and NUMBER.fullmatch(joined[k])]
        for k in reversed(negative):
            joined[k - 1 : k + 1] = [f"{joined[k - 1]}={joined[k]}"]
        return joined


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Options and their help in two columns of a width that reads well."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """Arguments one by one, options as [OPTIONS]: sixty options in brackets tell nobody anything."""
        arguments = [action for action in actions if not action.option_strings]
        words = [f"[{a.dest}]" if a.nargs == "?" else a.dest for a in arguments]
        super().add_usage(" ".join(["%(prog)s", *words, "[OPTIONS]"]), [], [], prefix)
