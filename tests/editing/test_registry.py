"""The table of edits: an option is the same at every door, and says itself beside what it acts."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, get_type_hints

import pytest

from undiffuse import editing
from undiffuse.cli import COMMANDS, main
from undiffuse.cli.edit.make_commands import command
from undiffuse.cli.parse_values import show
from undiffuse.cli.parser import Parser
from undiffuse.config.flags import flag_of
from undiffuse.config.kinds import kind_of
from undiffuse.config.sampling import SampleConfig
from undiffuse.editing.options import options_of, rules_of, unheeded
from undiffuse.editing.registry import EDITS, edits_of, overlap_of
from undiffuse.errors import UndiffuseError
from undiffuse.studio.settings_schema import all_fields, edit_options

MARGINS = {"top", "bottom", "left", "right"}
"""In Python these are one argument, for any number of axes."""
INVERTED = ("interpolate", "invert", "translate")
"""Edits whose Python function takes an `Inverter`."""
NEEDED = {"translate": {"to": "three"}}
RULES = [(name, each) for name, row in EDITS.items() for each in options_of(row.options)]
LIMITED = [(name, each) for name, each in RULES if rules_of(EDITS[name].options)[each].least is not None] + [
    (name, each) for name, each in RULES if rules_of(EDITS[name].options)[each].above is not None
]
BESIDE = [(name, each) for name, each in RULES if rules_of(EDITS[name].options)[each].acts_with]


def actions(name: str) -> dict[str, Any]:
    """The options of a command by the field that they set."""
    parser = Parser(name, "")
    command(name).configure(parser)
    return {action.dest: action for action in parser._actions}


def test_every_edit_is_a_command_and_described() -> None:
    assert {name.removeprefix("edit ") for name in COMMANDS if name.startswith("edit ")} == set(EDITS)
    assert set(all_fields()["edits"]) == set(EDITS) == {name for name in EDITS if hasattr(editing, name)}


def test_a_new_row_is_a_command_before_anybody_wrote_a_page_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(EDITS, "mirror", replace(EDITS["vary"], summary="the other way around"))
    assert main(["edit", "mirror", "--help"]) == 0
    said = capsys.readouterr().out
    assert "The other way around.\n" in said
    assert "--strength X" in said
    assert main(["edit", "miror"]) == 2
    assert "perhaps you meant 'mirror'" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "option"), RULES)
def test_an_option_is_the_same_on_the_command_line_and_over_http(name: str, option: str) -> None:
    field, flag = options_of(EDITS[name].options)[option], rules_of(EDITS[name].options)[option].flag
    typed = actions(name)[option]
    (told,) = [one for one in edit_options(EDITS[name]) if one["name"] == option]
    assert flag_of(flag or option) in typed.option_strings
    assert field.text
    assert typed.help.startswith(field.text)
    assert told["help"] == field.text
    assert told["default"] == field.default
    assert typed.required == field.required
    assert ("(default: " in typed.help) == (field.default is not None)
    if field.default is not None:
        assert typed.help.endswith(f"(default: {show(field.default)})")
    assert told["choices"] == (list(field.kind.choices) or None)
    for choice in field.kind.choices:
        assert typed.type(choice) == choice


@pytest.mark.parametrize("name", EDITS)
def test_a_python_function_has_the_options_of_its_row(name: str) -> None:
    functions = [getattr(editing, name), *([editing.Inverter] if name in INVERTED else [])]
    options, found = options_of(EDITS[name].options), set()
    for function in functions:
        hints = get_type_hints(function)
        for each, parameter in inspect.signature(function).parameters.items():
            if each in options:
                found.add(each)
                assert parameter.default in (options[each].default, inspect.Parameter.empty)
                if options[each].kind.choices:
                    assert kind_of(hints[each]).choices == options[each].kind.choices
    assert set(options) - found - {"overlap"} == (MARGINS if name == "outpaint" else set())


@pytest.mark.parametrize(("name", "option"), LIMITED)
def test_a_value_beyond_an_options_limit_is_refused_at_every_door(name: str, option: str) -> None:
    rule = rules_of(EDITS[name].options)[option]
    low = rule.least - 1 if rule.least is not None else rule.above
    with pytest.raises(UndiffuseError, match=f"^`{option}` takes a "):
        EDITS[name].options(**NEEDED.get(name, {}) | {option: low})
    with pytest.raises(UndiffuseError, match=f"^{flag_of(rule.flag or option)} cannot be '{low}'; it takes a "):
        actions(name)[option].type(str(low))


@pytest.mark.parametrize(("name", "option"), BESIDE)
def test_an_option_that_changes_nothing_says_beside_what_it_acts(name: str, option: str) -> None:
    options, rule = EDITS[name].options, rules_of(EDITS[name].options)[option]
    assert rule.acts_with is not None
    other, values = rule.acts_with
    kind, usual = options_of(options)[other].kind, options_of(options)[option].default
    value = True if usual is False else usual + 1 if isinstance(usual, int) else usual / 2
    for choice in kind.choices or (False, True):
        how = options(**NEEDED.get(name, {}) | {other: choice, option: value})
        said = unheeded(how)
        if choice in values:
            assert said == []
        else:
            (sentence,) = said
            assert sentence.startswith(f"`{option}")
            assert sentence.partition("acts with ")[2].startswith(f"`{other}")
        assert unheeded(replace(how, **{option: usual})) == []


def test_quick_is_few_steps_and_leaves_what_is_said(class_model: Any) -> None:
    row = EDITS["inpaint"]
    how, settings = row.resolve(class_model, {}, {}, quick=True)
    assert (how.scale, settings) == (2.0, SampleConfig.of(sampler="ddpm", steps=50))  # type: ignore[attr-defined]
    for said, walked, scale, steps in (
        ({}, {"steps": 20}, 2.0, 20),
        ({}, {"steps": 100}, 1.0, 100),
        ({"scale": 3.0}, {}, 3.0, 50),
        ({"method": "pigdm"}, {}, 1.0, 100),
    ):
        how, settings = row.resolve(class_model, said, walked, quick=True)
        assert (how.scale, settings.solver.steps) == (scale, steps)  # type: ignore[attr-defined]
    how, settings = row.resolve(class_model, {}, {})
    assert (how.scale, settings.solver.steps) == (1.0, 250)  # type: ignore[attr-defined]


def test_a_model_is_offered_what_it_can_do(model: Any, color_model: Any, class_model: Any, stage: Any) -> None:
    assert set(edits_of(model)) == set(EDITS) - {"colorize", "translate"}
    assert set(edits_of(color_model)) == set(EDITS) - {"translate"}
    assert set(edits_of(class_model)) == set(EDITS) - {"colorize"}
    assert edits_of(stage) == ["upscale"]


def test_a_stage_enlarges_by_what_it_learned(model: Any, stage: Any) -> None:
    row = EDITS["upscale"]
    how, settings = row.resolve(stage, {}, {})
    assert row.filled(how, stage, (4, 4)).factor == 2
    assert settings == SampleConfig.of(augmentation=0.0)
    how, settings = row.resolve(model, {}, {})
    assert (row.filled(how, model, (4, 4)).factor, settings.solver.sampler) == (4, "ddpm")


def test_tiles_share_a_quarter_where_a_picture_is_larger(model: Any, stage: Any) -> None:
    options = EDITS["vary"].options
    asked = ("auto", "none", 3)
    assert [overlap_of(options(overlap=each), model, (8, 8)) for each in asked] == [None, None, 3]
    assert [overlap_of(options(overlap=each), model, (8, 9)) for each in asked] == [2, None, 3]
    assert overlap_of(options(), stage, (64, 64)) is None
