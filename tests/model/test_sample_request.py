"""What Python's callers ask for: numbers of any make, and nothing that would take the machine's memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.model import Cascade, Model, load
from undiffuse.model.resolve import enlarges
from undiffuse.model.sample_request import unheeded


@pytest.fixture(scope="module")
def digits() -> Model:
    return load("digits")


def test_numbers_of_numpy_and_torch_are_numbers(digits: Model, tmp_path) -> None:
    plain = digits.sample(2, seed=3, steps=1)
    for make in (np.int64, np.uint8, torch.tensor):
        made = digits.sample(make(2), seed=make(3), steps=make(1), guidance=1)
        assert np.array_equal(made.array, plain.array)
        assert made.settings == plain.settings
        assert made.save(tmp_path / make.__name__)  # its numbers go into JSON
    assert digits.plan(SampleConfig()).settings is not None


@pytest.mark.parametrize("name", ["n", "seed", "first"])
@pytest.mark.parametrize("value", [2.0, "2", None, np.float32(2), np.array([2]), torch.tensor(2.5)])
def test_what_is_no_whole_number_is_said_before_anything_is_drawn(digits: Model, name: str, value: object) -> None:
    with pytest.raises(UndiffuseError, match="whole number"):
        digits.sample(**{"n": 1, "steps": 1, name: value})


def test_a_million_million_samples_are_refused_and_not_counted_out_in_memory(digits: Model) -> None:
    with pytest.raises(UndiffuseError, match="at most 100,000,000 samples at a time"):
        digits.sample(10**12)
    with pytest.raises(UndiffuseError, match="at most 100,000,000 samples at a time"):
        next(digits.draw(range(10**24)))


@pytest.mark.parametrize("indices", [range(0, 6, 2), [0, 1], 3, None])
def test_samples_that_no_range_in_steps_of_one_names_are_not_others(digits: Model, indices) -> None:
    """Every second one was drawn as all of them."""
    with pytest.raises(UndiffuseError, match="range in steps of 1"):
        next(digits.draw(indices, steps=1))


def test_a_device_that_is_not_here_is_a_sentence_in_python_too() -> None:
    with pytest.raises(UndiffuseError, match="there is no device 'gpu' here"):
        load("digits", device="gpu")


def test_weights_may_be_named_by_their_rate_as_a_number() -> None:
    assert load("digits", weights=0.995).provenance["weights"] == "0.995"  # type: ignore[arg-type]


@pytest.mark.parametrize(("path", "typed"), [("runs/a", "runs/a"), ("a b", "'a b'"), ("-a", "./-a"), ("$x", "'$x'")])
def test_a_path_in_a_command_can_be_copied_into_a_shell(path: str, typed: str) -> None:
    assert quoted(path) == typed


def test_learned_times_of_a_model_without_a_folder_are_chosen_by_its_name(digits: Model, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UndiffuseError, match=r"^digits has no .* undiffuse timesteps digits --evaluations 3$"):
        digits.sample(1, steps=3, spacing="learned")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"eta": 0.5}, "`eta=0.5` changes nothing here: it acts with `sampler=ddim`"),
        ({"sampler": "ddim", "variance": "large"}, "`variance=large` .* `sampler=ddpm`"),
        ({"churn": 10.0}, "`churn=10` .* `sampler=edm`"),
        ({"tolerance": 1e-3}, "`tolerance=0.001` .* `sampler=ode`"),
        ({"guidance_rescale": 0.7}, "`guidance_rescale=0.7` .* `guidance` other than 1"),
        ({"guidance_interval": (0.1, 2.0)}, "`guidance_interval=0.1,2.0` .* `guidance` other than 1"),
        ({"avoid": "3"}, "`avoid=3` .* `guidance` other than 1"),
        ({"augmentation": 0.2}, "`augmentation=0.2` .* a cascade"),
        ({"morph": 0.2}, "`morph=0.2` .* `morph_to`"),
    ],
)
def test_a_setting_without_effect_is_said_to_be_so(digits: Model, settings: dict[str, object], words: str) -> None:
    with pytest.warns(UserWarning, match=words):
        digits.plan(SampleConfig.of(**settings))


@pytest.mark.parametrize("name", ["steps", "spacing"])
def test_what_times_leave_nothing_of_is_said_of_what_was_passed(digits: Model, name: str) -> None:
    value: object = {"steps": 50, "spacing": "karras"}[name]
    with pytest.warns(UserWarning, match=f"`{name}={value}` changes nothing here: it acts without `times`"):
        digits.sample(1, times=(900.0, 500.0), **{name: value})
    advised = SampleConfig.of(sampler="ddim", steps=100, spacing="linspace")  # of edits, which nobody typed
    assert digits.sample(1, settings=advised, times=(900.0, 500.0)).settings.solver.steps == 2


def test_settings_that_act_and_settled_ones_are_not_spoken_of(digits: Model) -> None:
    acting: list[dict[str, object]] = [
        {"sampler": "ddim", "eta": 0.5},
        {"sampler": "ddpm", "variance": "large"},
        {"sampler": "edm", "churn": 10.0},
        {"sampler": "ode", "tolerance": 1e-3},
        {"guidance": 2.0, "avoid": "3", "guidance_rescale": 0.7, "guidance_interval": (0.1, 2.0)},
        {"times": (900.0, 500.0)},
    ]
    for settings in acting:  # warnings are errors here
        assert digits.plan(digits.plan(SampleConfig.of(**settings)).settings).settings.solver.steps in (20, 2)


def test_the_model_below_a_stage_is_not_blamed_for_what_the_stage_is_told(digits: Model) -> None:
    enlarging = replace(digits.config, conditions=replace(digits.config.conditions, upscale=2))
    stage = replace(digits, config=enlarging)
    assert unheeded(SampleConfig.of(augmentation=0.2), enlarges([digits, stage])) == []
    plan = Cascade((digits, stage)).plan(augmentation=0.2, steps=1)  # warnings are errors here
    assert plan.low_res([0], 0).shape[0] == 1


def test_samples_name_the_weights_that_were_loaded(digits: Model) -> None:
    """`undiffuse sample --from` looks for those: of raw weights pictures said that they were averaged."""
    other = replace(digits, loaded_as="raw", provenance={**digits.provenance, "weights": "raw"})
    assert other.sample(1, steps=1).settings.compute.weights == "raw"
    assert digits.sample(1, steps=1).settings.compute.weights == "ema"
    assert digits.sample(1, steps=1, weights=digits.provenance["weights"]).settings.compute.weights == "0.995"
    with pytest.raises(UndiffuseError, match=r"loaded with the weights '0.995'.*undiffuse.load\(..., weights='raw'\)"):
        digits.sample(1, steps=1, weights="raw")


def test_a_morph_goes_from_one_seeds_sample_to_the_others_to_the_bit(digits: Model) -> None:
    """By a sampler that takes fresh noise in every step."""
    how: dict[str, object] = {"steps": 3, "sampler": "dpm++2m-sde"}
    first, second = (digits.sample(2, seed=seed, first=5, **how).array for seed in (3, 8))
    morphs = [digits.sample(2, seed=3, first=5, morph_to=8, morph=part, **how).array for part in (0.0, 0.5, 1.0)]
    assert np.array_equal(morphs[0], first)
    assert np.array_equal(morphs[2], second)
    assert not np.array_equal(morphs[1], first)
    assert not np.array_equal(morphs[1], second)
    back = digits.sample(2, seed=8, first=5, morph_to=3, morph=0.5, **how).array
    assert np.abs(back.astype(int) - morphs[1].astype(int)).max() <= 1, "the middle is the same from both sides"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"morph_to": -1}, "`morph_to` takes a seed, a whole number from 0, and it is -1"),
        ({"morph_to": 1, "morph": 1.5}, "`morph` takes a number from 0 to 1, and it is 1.5"),
    ],
)
def test_a_morph_out_of_range_is_refused(digits: Model, settings: dict[str, object], words: str) -> None:
    with pytest.raises(UndiffuseError, match=words):
        digits.sample(1, **settings)


def test_what_enlarges_does_not_morph(digits: Model) -> None:
    stage = replace(digits, config=replace(digits.config, conditions=replace(digits.config.conditions, upscale=2)))
    with pytest.raises(UndiffuseError, match=r"`morph_to` .* enlarges small images"):
        Cascade((digits, stage)).plan(morph_to=1)
