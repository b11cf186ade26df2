import pytest
from tiny import tiny_settings

import undiffuse
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten
from undiffuse.training.run.settings_without_effect import rules_of, unheeded


@pytest.mark.parametrize(
    ("name", "value", "beside"),
    [
        ("weight_decay", 0.1, {"optimizer": "adamw"}),
        ("gamma", 3.0, {"weighting": "min-snr"}),
        ("p2_gamma", 0.5, {"weighting": "p2"}),
        ("logit_mean", 0.5, {"time_law": "logit-normal"}),
        ("condition_dropout", 0.2, {"condition": ("class",)}),
        ("augmentation", 0.3, {"upscale": 2}),
        ("heads", 2, {"head_width": None}),
        ("buffer", 10, {"stream": True}),
    ],
)
def test_a_setting_that_changes_nothing_is_said_and_one_that_does_is_not(name, value, beside):
    alone = override(TrainConfig(), **{name: value, **({"head_width": 8} if name == "heads" else {})})
    said = unheeded({name: value}, alone)
    assert len(said) == 1
    assert said[0].startswith(f"`{name}={value:g}` changes nothing here: it acts with")
    assert unheeded({name: value}, override(alone, **beside)) == []


def test_a_setting_at_its_default_or_not_given_is_not_said():
    assert unheeded({"gamma": 5.0}, TrainConfig()) == []
    assert unheeded({}, override(TrainConfig(), weight_decay=0.1)) == []


def test_the_table_names_settings():
    assert set(rules_of(TrainConfig())) <= set(flatten(TrainConfig()))


def test_a_training_says_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = flatten(tiny_settings())
    small = {name: settings[name] for name in ("base", "multipliers", "blocks", "attention_levels")}
    undiffuse.train("digits", recipe="small", steps=1, batch=2, weight_decay=0.1, sample_every=0, **small)
    assert "warning: `weight_decay=0.1` changes nothing here: it acts with `optimizer=adamw`" in capsys.readouterr().err
