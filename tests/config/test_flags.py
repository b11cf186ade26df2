"""Sentences of the core name settings as Python does; at the command line they name options."""

from __future__ import annotations

import ast
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import undiffuse
from undiffuse.cli.spelling import spelled_streams
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.fields import fields_of
from undiffuse.config.flags import SETTING, in_flags
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError
from undiffuse.factories.schedule import make_schedule


@pytest.mark.parametrize(
    ("sentence", "typed"),
    [
        ("`beta_start` and `beta_end` go together", "--beta-start and --beta-end go together"),
        ("use `spacing=log-snr` or karras", "use --spacing log-snr or karras"),
        ("add `size=64 48` `crop=center`", "add --size 64 48 --crop center"),
        ("there is no `classes=none`", "there is no --class none"),
        ("`start_from` and `meant_for=diffusers`", "--from and --for diffusers"),
        ("lower `n`", "lower -n"),
        ("add `flip=True`, or `compile=False`", "add --flip, or --no-compile"),
        ("leave out `overwrite`", "leave out --overwrite"),
    ],
)
def test_settings_are_spelled_as_they_are_typed(sentence: str, typed: str) -> None:
    assert in_flags(sentence) == typed


@pytest.mark.parametrize(
    "sentence",
    ["steps and size", "see `undiffuse samplers`", "`Model.sample` draws", "a `noun`", "a lone ` steps", "`"],
)
def test_other_words_stay_as_they_are(sentence: str) -> None:
    assert in_flags(sentence) == sentence


def test_python_reads_the_names_of_fields() -> None:
    with pytest.raises(UndiffuseError) as caught:
        make_schedule(DiffusionConfig(beta_start=0.1))
    assert str(caught.value) == "`beta_start` and `beta_end` go together; give both or none"


def test_a_setting_is_still_one_after_pickling_and_inside_another_sentence() -> None:
    error = UndiffuseError("give `beta_end`")
    outer = UndiffuseError(f"rank 1: {pickle.loads(pickle.dumps(error))}; or none")
    assert in_flags(str(outer)) == "rank 1: give --beta-end; or none"


def test_whatever_the_command_line_prints_is_spelled(capsys: pytest.CaptureFixture[str]) -> None:
    with spelled_streams():
        print("try `steps=20`")
        print("lower `guidance`", file=sys.stderr)
    print("try `steps=20`")
    assert capsys.readouterr() == ("try --steps 20\ntry `steps=20`\n", "lower --guidance\n")


PACKAGE = Path(undiffuse.__file__).parent
DOORS = ("cli", "studio", "reports")
OF_COMMANDS = (
    "checkpoints/learned_timesteps.py",  # the end of an `undiffuse timesteps` command
    "config/flags.py",
    "data/writing/agreement.py",  # an `undiffuse data` command, put together
    "export/sample_onnx.py",  # a program of its own
    "sweeps.py",  # the commands of its runs
    "training/api.py",  # the end of an `undiffuse sample` command
)
"""Files of the core that hold parts of commands."""
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*(?!\w)")
COMMAND = re.compile(r"(undiffuse [a-z-]+|torchrun|pip install|python [-a-z{]+)[^;]*$", re.DOTALL)


def literals(path: Path) -> Iterator[str]:
    """The texts in a file, {} in place of what is filled in; no docstrings, assertions or arguments of a parser."""
    tree = ast.parse(path.read_text())
    passed: set[int] = set()
    for node in ast.walk(tree):
        if id(node) in passed:
            passed |= {id(part) for part in ast.iter_child_nodes(node)}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(id(node.value))
        elif isinstance(node, ast.Assert) or (
            isinstance(node, ast.Call) and called(node) in ("add_argument", "install")
        ):
            passed |= {id(part) for part in ast.iter_child_nodes(node)}
        elif isinstance(node, ast.JoinedStr):
            passed |= {id(part) for part in node.values if isinstance(part, ast.Constant)}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def called(node: ast.AST) -> str:
    """The last name of what a node calls, if it calls something."""
    function = getattr(node, "func", node)
    return str(getattr(function, "attr", getattr(function, "id", ""))) if isinstance(node, ast.Call) else ""


@pytest.fixture(scope="module")
def sentences() -> list[tuple[str, str]]:
    """(file, text) of the core."""
    files = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
    return [(name, text) for name, path in files.items() if name.split("/")[0] not in DOORS for text in literals(path)]


def test_the_core_spells_no_flags_outside_whole_commands(sentences: list[tuple[str, str]]) -> None:
    assert [
        (file, text)
        for file, text in sentences
        if file not in OF_COMMANDS
        for flag in FLAG.finditer(text)
        if not COMMAND.search(text[: flag.start()])
    ] == []


def test_every_setting_that_a_sentence_names_is_an_option(sentences: list[tuple[str, str]]) -> None:
    sections = [
        field.kind.section
        for cls in (SampleConfig, TrainConfig)
        for field in fields_of(cls).values()
        if field.kind.section
    ]
    helps = [(cls.__name__, field.text) for cls in sections for field in fields_of(cls).values()]
    named = [(where, setting[0]) for where, text in [*sentences, *helps] for setting in SETTING.finditer(text)]
    assert len(named) > 200
    assert [(where, setting) for where, setting in named if in_flags(setting) == setting] == []


def test_help_of_settings_names_them_as_python_does() -> None:
    sections = [
        field.kind.section
        for cls in (SampleConfig, TrainConfig)
        for field in fields_of(cls).values()
        if field.kind.section
    ]
    texts = [field.text for cls in sections for field in fields_of(cls).values()]
    assert [text for text in texts if FLAG.search(text) and "`undiffuse bench --compile`" not in text] == []
