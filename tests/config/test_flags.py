"""Sentences of the core name settings as Python does; at the command line they name options."""

from __future__ import annotations

import pickle
import sys

import pytest

from undiffuse.cli.spelling import spelled_streams
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.flags import in_flags
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
