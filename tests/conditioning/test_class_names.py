"""Classes are asked for by their names, whatever these are."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from undiffuse.checkpoints.saved_model import unknown_data
from undiffuse.conditioning.class_names import as_typed, class_names, class_number, class_numbers, split_names
from undiffuse.config.files import override
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.editing import Editor, translate
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model, build_model

TRAPS = ("none", "all", "cat, tabby")
PLAIN = ("x", "y", "z")


def model_of(classes: tuple[str, ...]) -> Model:
    torch.manual_seed(0)
    small = {"base": 8, "multipliers": (1,), "blocks": 1, "attention_levels": (), "timesteps": 10}
    config = override(TrainConfig(), **small, condition=("class",))
    model = build_model(config, unknown_data("things", (1, 8, 8), classes))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return replace(model, provenance={"sha256": "0"})


@pytest.mark.parametrize(
    ("trap", "plain"), [((t,), (p,)) for t, p in zip(TRAPS, PLAIN, strict=True)] + [((":none",), (":none",)), ((), ())]
)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_classes_called_like_words_are_drawn_as_any_others_are(trap, plain, guidance):
    how = {"steps": 2, "seed": 0, "guidance": guidance}
    drawn = model_of(TRAPS).sample(3, classes=trap, **how)
    assert np.array_equal(drawn.array, model_of(PLAIN).sample(3, classes=plain, **how).array)
    assert drawn.settings.prompt.classes == trap


def test_guidance_leads_away_from_a_class_called_none_when_that_is_asked_for():
    drawn = {
        names: [
            model_of(names).sample(2, steps=2, classes=(names[1],), guidance=3.0, avoid=avoid).array
            for avoid in (names[0], ":none", "")
        ]
        for names in (TRAPS, PLAIN)
    }
    assert all(np.array_equal(a, b) for a, b in zip(drawn[TRAPS], drawn[PLAIN], strict=True))
    assert not np.array_equal(drawn[TRAPS][0], drawn[TRAPS][1])
    assert np.array_equal(drawn[TRAPS][1], drawn[TRAPS][2])


def test_a_picture_of_a_class_called_none_is_translated_from_that_class():
    x0 = torch.rand(1, 1, 8, 8) * 2 - 1
    found = {}
    for names in (TRAPS, PLAIN):
        editor = Editor.of(model_of(names), SampleConfig.of(sampler="ddim", steps=3))
        found[names] = [
            translate(editor, x0, names[1], source, strength=0.9).pictures for source in (names[0], ":none")
        ]
    assert all(torch.equal(a, b) for a, b in zip(found[TRAPS], found[PLAIN], strict=True))
    assert not torch.equal(*found[TRAPS])


def test_a_comma_in_a_class_name_can_be_asked_for():
    classes = ("cat, tabby", "dog", "cat", "a,b,c", 'say "hi"')
    assert split_names("cat, tabby", classes) == ["cat, tabby"]
    assert split_names("dog,cat, tabby", classes) == ["dog", "cat, tabby"]
    assert split_names("cat, tabby,a,b,c,cat", classes) == ["cat, tabby", "a,b,c", "cat"]
    assert split_names('"cat, tabby", dog', classes) == ["cat, tabby", "dog"]
    assert split_names('say "hi"', classes) == ['say "hi"']
    assert split_names("dog, cat", classes) == ["dog", "cat"]
    assert split_names("all,dog", classes) == ["all", "dog"]
    assert class_numbers(("dog,cat, tabby", "cat"), classes) == (1, 0, 2)
    with pytest.raises(UndiffuseError, match="no class 'cow'"):
        class_numbers(("cow,dog",), classes)


def test_names_that_others_are_made_of_are_told_apart_by_quotes():
    classes = ("a", "b", "a,b")
    assert split_names("a,b", classes) == ["a,b"]
    assert split_names('"a","b"', classes) == ["a", "b"]
    assert class_names(("a", "b"), classes) == ("a", "b")


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8), min_size=1, unique=True))
def test_any_names_can_be_typed_as_a_list(names):
    assert split_names(as_typed(names), names) == names


def test_none_in_a_list_with_all_is_the_null_class():
    assert class_numbers(("none", "all"), PLAIN) == (3, 0, 1, 2)
    assert class_number(":none", PLAIN) == 3


def test_the_script_beside_an_onnx_file_finds_names_with_commas():
    place = Path(__file__).parents[2] / "src" / "undiffuse" / "export" / "sample_onnx.py"
    pytest.importorskip("onnxruntime")
    spec = importlib.util.spec_from_file_location("sample_onnx", place)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.split_names("cat, tabby,dog", ["cat, tabby", "dog"]) == ["cat, tabby", "dog"]
    assert script.split_names("dog, cow", ["dog"]) == ["dog", "cow"]
