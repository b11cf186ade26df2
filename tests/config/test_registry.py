"""Registered pieces and kept objects by the texts that stand for them."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

import pytest

from undiffuse.config import registry
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class Leap:
    strength: float = 1.0
    parts: tuple[int, ...] = (1,)


class Opaque:
    pass


@pytest.fixture(autouse=True)
def leap(monkeypatch):
    monkeypatch.setitem(registry._KINDS, "sampler", registry._Kind(own=("ddim",)))
    registry.register("sampler", "leap", Leap, "by leaps")


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("leap", Leap()),
        ("leap()", Leap()),
        ("leap(strength=0.5)", Leap(0.5)),
        ("leap( strength = -1e-3, parts=(1, 2) )", Leap(-1e-3, (1, 2))),
    ],
)
def test_a_text_makes_a_piece(text, made):
    assert registry.make("sampler", text) == made
    assert registry.knows("sampler", text)


def test_settings_of_an_options_name_are_its_default():
    assert registry.make("sampler", "leap", strength=3.0, other=1) == Leap(3.0)
    assert registry.make("sampler", "leap(strength=2.0)", strength=3.0) == Leap(2.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "leap(",
        "leap(1)",
        "leap(strength=open('x'))",
        "leap(strength=Leap)",
        "leap(strength=1, strength=2)",
        "leap(**{})",
        "leap)(",
        "leap(strength=1) or x",
        "a" * 2000,
        "leap(strength=" + "(" * 300 + ")" * 300 + ")",
    ],
)
def test_other_texts_are_refused_and_never_run(text):
    with pytest.raises(UndiffuseError, match="A sampler is named by a text like 'mine' or"):
        registry.make("sampler", text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("leep", "There is no sampler 'leep'; perhaps you meant 'leap'"),
        ("ddin(eta=1)", "perhaps you meant 'ddim'"),
        ("ddim(eta=1)", "'ddim' comes with undiffuse, and its options are settings: give the name alone and `eta=1`"),
        ("zzz", "There is no sampler 'zzz' here: import or install the package that registers it"),
        ("leap(strenth=1)", "The sampler 'leap' has no option 'strenth': it has strength, parts"),
    ],
)
def test_what_is_not_there_is_one_sentence(text, sentence):
    with pytest.raises(UndiffuseError, match=sentence.replace("(", r"\(")):
        registry.make("sampler", text)


def test_a_name_is_registered_once_and_by_its_owner_again():
    registry.register("sampler", "leap", Leap)  # a module that is imported again
    for name in ("leap", "ddim"):
        with pytest.raises(UndiffuseError, match=f"There is a sampler '{name}' already"):
            registry.register("sampler", name, Opaque)
    for name in ("a(b)", "", " a", "a,b", 3):
        with pytest.raises(UndiffuseError, match="The name of a sampler is a text without"):
            registry.register("sampler", name, Leap)
    with pytest.raises(UndiffuseError, match="give `x` of lambda a default"):
        registry.register("sampler", "needy", lambda x: x)


def test_an_object_of_a_registered_class_has_the_text_that_makes_it():
    assert registry.keep("sampler", Leap()) == "leap"
    text = registry.keep("sampler", Leap(0.25))
    assert text == "leap(strength=0.25)"
    assert registry.make("sampler", text) == Leap(0.25)


def test_another_object_is_known_to_this_process_by_its_class():
    one = Opaque()
    assert registry.keep("sampler", one) == "Opaque"
    assert registry.make("sampler", "Opaque") is one
    two = Opaque()
    registry.keep("sampler", two)
    assert registry.make("sampler", "Opaque") is two, "the later takes the place of what looks alike"


def test_an_object_never_takes_a_name_of_the_library():
    ddim = type("ddim", (), {})()
    assert registry.keep("sampler", ddim) == "given ddim"
    assert registry.make("sampler", "given ddim") is ddim


def test_an_object_that_no_text_makes_is_kept_under_another():
    strange = Leap(strength=Opaque())
    assert registry.keep("sampler", strange) == "given leap"
    assert registry.make("sampler", "given leap") is strange
    assert registry.make("sampler", "leap") == Leap()


def test_a_package_that_cannot_be_imported_is_left_out_in_a_sentence(monkeypatch):
    class Broken:
        name, value = "broken", "broken.pieces"

        def load(self):
            raise ImportError("No module named 'broken'\nand more")

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Broken()] if group == "undiffuse" else [])
    registry.load_packages.cache_clear()
    with pytest.warns(UserWarning, match="'broken' .* is left out, .* ImportError: No module named 'broken'$"):
        registry.load_packages()
    registry.load_packages.cache_clear()


def test_texts_of_a_list_are_parted_by_the_commas_outside_of_parentheses():
    texts = ["ddim", "leap(strength=0.5, parts=(1, 2))", "heun"]
    assert registry.split(",".join(texts)) == texts
