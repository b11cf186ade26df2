"""Settings survive every way in and out, and what cannot be right is refused in one sentence."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undiffuse.config.data import DataConfig
from undiffuse.config.files import check_pieces, from_dict, from_yaml, override, read_config, to_dict, to_yaml
from undiffuse.config.schema import CONFIG_VERSION, TrainConfig
from undiffuse.config.sections import flatten, sections
from undiffuse.config.training import EMAConfig, LoopConfig, OptimizerConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.losses import P2
from undiffuse.errors import UndiffuseError
from undiffuse.factories.loss import make_weighting
from undiffuse.recipes import RECIPES

INFO = DataInfo("things", "0" * 64, 1000, (1, 16, 16), "uint8", 0.0, 255.0, (0.0,), (0.5,))
UNUSUAL = replace(
    TrainConfig(),
    recipe="digits",
    data=DataConfig(source="no", size=(28, 32), flip=True),
    optimizer=OptimizerConfig(lr=1e-4, clip=None, weight_decay=1 / 3),
    ema=EMAConfig(ema=(0.999, 0.9999)),
    loop=LoopConfig(minutes=4.0),
)


@pytest.mark.parametrize("config", [TrainConfig(), UNUSUAL])
def test_yaml_and_json_give_back_equal_settings(config):
    assert from_yaml(to_yaml(config)) == config
    assert from_yaml(json.dumps(to_dict(config), indent=2)) == config
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=12)
    | st.sampled_from(
        ["1e-4", "0x10", "010", "12:30", "2024-01-01", "on", "~", "", "=", "<<", "a\x85b", "\u2028", "фото"]
    )
)
def test_any_source_name_survives_yaml(name):
    config = TrainConfig(data=DataConfig(source=name))
    assert from_yaml(to_yaml(config)) == config


@settings(max_examples=60, deadline=None)
@given(st.floats(allow_nan=False))
def test_any_float_survives_yaml_to_the_last_bit(value):
    config = TrainConfig(optimizer=OptimizerConfig(lr=value))
    assert from_yaml(to_yaml(config)).optimizer.lr.hex() == value.hex()


def test_an_exponent_without_a_point_is_a_number():
    assert from_yaml("version: 1\noptimizer: {lr: 1e-4}").optimizer.lr == 1e-4


def test_a_key_that_is_left_out_keeps_its_default():
    assert from_yaml("version: 1") == TrainConfig()
    assert from_yaml("version: 1\nloop:\n  batch: 7").loop == LoopConfig(batch=7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 1\nlop: {}", ["'lop'", "perhaps you meant 'loop'", "run.yaml"]),
        ("version: 1\noptimizer: {lrr: 1}", ["'optimizer.lrr'", "perhaps you meant 'lr'"]),
        ("version: 1\noptimizer: {lr: fast}", ["'optimizer.lr'", "a number", "'fast'"]),
        ("version: 1\nloop: {batch: true}", ["'loop.batch'", "a whole number", "True"]),
        ("version: 1\nloop: {batch: 1.5}", ["'loop.batch'", "a whole number", "1.5"]),
        ("version: 1\nloop: {batch: null}", ["'loop.batch'", "None"]),
        ("version: 1\ndata: {flip: yes}", ["'data.flip'", "true or false", "'yes'"]),
        ("version: 1\ndata: {size: [1, 2, 3]}", ["'data.size'", "a list of 2", "null"]),
        ("version: 1\nnetwork: {multipliers: [1, a]}", ["'network.multipliers'", "a list"]),
        ("version: 1\ndiffusion: {time_input: indx}", ["'diffusion.time_input'", "perhaps you meant 'index'"]),
        ("version: 1\ndata: digits", ["'data'", "section", "'digits'"]),
        ("version: 1\nloop: {batch: 1, batch: 2}", ["'batch' stands twice"]),
        ("version: 1\nversion: 1", ["'version' stands twice"]),
        (f"version: {CONFIG_VERSION + 1}\nnew: 1", ["version 2", "up to 1", "upgrade"]),
        ("loop: {batch: 1}", ["'version: 1'"]),
        ("version: one", ["'version: 1'", "'one'"]),
        ("version: true", ["'version: 1'"]),
        ("- a list", ["key: value"]),
        ("", ["key: value"]),
        ("version: [", ["not valid YAML"]),
        ("!!python/object/apply:os.getcwd []", ["not valid YAML"]),
        ("? [a]\n: 1", ["not valid YAML"]),
        ("[" * 5000, ["not valid YAML"]),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_sentence(text, words):
    with pytest.raises(UndiffuseError) as caught:
        from_yaml(text, "run.yaml")
    message = str(caught.value)
    assert all(word in message for word in [*words, "run.yaml"]), message
    assert "\n" not in message


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UndiffuseError, match="No such file"):
        read_config(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UndiffuseError, match="not text"):
        read_config(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text(to_yaml(UNUSUAL), encoding="utf-8")
    assert read_config(tmp_path / "config.yaml") == UNUSUAL


def test_every_setting_has_one_flat_name():
    tree = to_dict(TrainConfig())
    nested = [name for section in tree.values() if isinstance(section, dict) for name in section]
    assert len(nested) == len(set(nested))
    students = {name for name, section in sections(TrainConfig).items() if section == "distillation"}
    assert set(sections(TrainConfig)) == {*nested, "recipe", *students}, "files of others have no such section"


def test_flat_names_reach_their_sections():
    config = override(TrainConfig(), lr=1, base=64, multipliers=[1, 2], recipe="mine", clip=None)
    assert config.optimizer == OptimizerConfig(lr=1.0, clip=None)
    assert config.network.base == 64
    assert config.network.multipliers == (1, 2)
    assert config.recipe == "mine"
    assert override(TrainConfig(), **flatten(UNUSUAL)) == UNUSUAL


def test_a_given_budget_replaces_the_recipes():
    config = TrainConfig(loop=LoopConfig(minutes=4.0))
    assert override(config, steps=100).loop == LoopConfig(steps=100)
    assert override(config, minutes=2).loop == LoopConfig(minutes=2.0)
    assert override(config, steps=None).loop == LoopConfig(minutes=4.0)
    both = override(config, steps=1, images=2).loop
    assert (both.steps, both.images, both.minutes) == (1, 2, None)  # refused later, by name


@pytest.mark.parametrize(
    ("flat", "words"),
    [
        ({"learning_rate": 1.0}, ["unknown setting 'learning_rate'"]),
        ({"bath": 4}, ["perhaps you meant 'batch'"]),
        ({"batch": "4"}, ["'batch'", "a whole number"]),
        ({"ema": 0.9}, ["'ema'", "a list"]),
    ],
)
def test_a_wrong_flat_setting_is_one_sentence(flat, words):
    with pytest.raises(UndiffuseError) as caught:
        override(TrainConfig(), **flat)
    assert all(word in str(caught.value) for word in words)


def test_p2_has_an_exponent_of_its_own_and_files_of_yesterday_keep_theirs():
    """It was called gamma, which is min-SNR's, and 5 where nobody gave it."""
    objective = from_dict({"version": 1, "objective": {"weighting": "p2", "gamma": 5.0}}).objective
    assert make_weighting(objective) == P2(5.0)
    objective = from_dict({"version": 1, "objective": {"weighting": "p2"}}).objective
    assert make_weighting(objective) == P2(1.0)
    today = override(TrainConfig(), weighting="p2", p2_gamma=0.5)
    assert from_dict(to_dict(today)) == today
    assert make_weighting(override(RECIPES["small"].build(INFO), weighting="p2").objective) == P2(1.0)
    assert from_dict({"version": 1, "objective": {"weighting": "min-snr", "gamma": 2.0}}).objective.p2_gamma == 1.0


def test_the_gamma_of_one_weighting_is_not_taken_for_anothers():
    with pytest.raises(UndiffuseError, match=r"gamma is min-SNR's; .* `p2_gamma=0\.5`"):
        override(TrainConfig(), weighting="p2", gamma=0.5)


def test_a_piece_that_is_registered_elsewhere_is_read_and_missed_where_it_is_needed():
    config = from_yaml("version: 1\nobjective: {loss: elsewhere(c=0.5)}\ndiffusion: {schedule: cosin}")
    assert config.objective.loss == "elsewhere(c=0.5)"
    assert from_yaml(to_yaml(config)) == config
    with pytest.raises(UndiffuseError, match="There is no schedule 'cosin'; perhaps you meant 'cosine'"):
        check_pieces(config)
    with pytest.raises(UndiffuseError, match="There is no loss 'elsewhere' here: import or install the package"):
        check_pieces(override(config, schedule="cosine"))
    with pytest.raises(UndiffuseError, match="A loss is named by a text like 'mine'"):
        from_yaml("version: 1\nobjective: {loss: 'a(b'}")
