"""Asking for classes: the user's words, the network's tensors, and that training and sampling agree on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import TinyData, tiny_data, tiny_settings

from undiffuse.checkpoints.training_checkpoint import load, save
from undiffuse.conditioning.class_names import class_number, class_numbers
from undiffuse.conditioning.request import CLASS, conditions_of, dropped, resolve_conditions, standardized
from undiffuse.config.sampling import Guide, Prompt, SampleConfig
from undiffuse.data.standardizer import Standardizer
from undiffuse.diffusion.guidance import ClassifierFree, Conditioned
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model
from undiffuse.networks.conditions import Condition
from undiffuse.runtime.random_streams import generator
from undiffuse.training.api import start_run
from undiffuse.training.build import make_train_state, make_train_step, restore, to_checkpoint
from undiffuse.training.loop import training
from undiffuse.training.optim.muon import ENDS, split

CLASSES = ("dark", "light")
TOLD = (Condition(CLASS, "class", 2),)


def labeled():
    """The tiny data, whose pictures are dark or light, with those classes."""
    data = tiny_data()
    labels = (data.images.reshape(len(data.images), -1).mean(1) > 128).astype(np.int64)
    return TinyData(replace(data.info, classes=CLASSES), data.images, labels)


def settings(**flat):
    return tiny_settings(condition=("class",), dropout=0.0, flip=False, **flat)


def test_classes_are_asked_for_by_name_by_word_and_all_by_turns():
    assert class_number("light", CLASSES) == 1
    assert class_number("none", CLASSES) == 2
    assert class_number("seven", [str(k) for k in range(10)]) == 7
    assert class_numbers((), CLASSES) == (0, 1)
    assert class_numbers(("light", "all"), CLASSES) == (1, 0, 1)


def test_a_class_that_does_not_exist_is_answered_by_the_nearest_one():
    with pytest.raises(UndiffuseError, match="perhaps you meant 'light'"):
        class_number("ligth", CLASSES)


def test_data_without_classes_cannot_be_conditioned_on_them():
    with pytest.raises(UndiffuseError, match="a folder for each"):
        conditions_of(settings(), tiny_data().info)
    assert conditions_of(tiny_settings(), labeled().info) == ()


@pytest.mark.parametrize("asked", [{"classes": ("light",)}, {"guidance": 2.0}, {"avoid": "dark"}])
def test_an_unconditional_model_cannot_be_asked(asked):
    wanted = SampleConfig.of(**asked)
    with pytest.raises(UndiffuseError, match="without classes"):
        resolve_conditions(wanted.prompt, wanted.guide, (), labeled().info)


def test_guidance_is_one_evaluation_more_only_where_it_is_wanted():
    info = labeled().info
    plain = build_model(settings(), info).denoiser
    assert isinstance(resolve_conditions(Prompt(), Guide(), TOLD, info).denoiser(plain, range(4)), Conditioned)
    guided = resolve_conditions(Prompt(), Guide(guidance=2.0, avoid="dark"), TOLD, info).denoiser(plain, range(4))
    assert isinstance(guided, ClassifierFree)
    assert guided.conditions[CLASS].tolist() == [0, 1, 0, 1]
    assert guided.without[CLASS].tolist() == [0, 0, 0, 0]


def test_a_share_of_the_conditions_is_dropped_the_same_every_time():
    values = {CLASS: torch.zeros(4000, dtype=torch.int64)}
    once, again = (dropped(TOLD, values, 0.1, generator(0, "condition", 3))[CLASS] for _ in range(2))
    assert torch.equal(once, again)
    assert set(once.tolist()) == {0, 2}
    assert (once == 2).double().mean() == pytest.approx(0.1, abs=0.02)


def test_a_step_is_told_the_classes_of_its_own_images():
    data = labeled()
    model = build_model(settings(condition_dropout=0.0, batch=8), data.info)
    train_step = make_train_step(model, data, 4)
    for step in range(3):
        batch = train_step.batch(step)
        light = (batch.x0.flatten(1).mean(1) > 128 / 127.5 - 1).long()
        assert torch.equal(batch.conditions[CLASS], light)


def test_the_loss_depends_on_what_the_network_is_told():
    data = labeled()
    told, untold = (
        next(training(make_train_step(model, data, 4), make_train_state(model)))
        for model in (_effective(build_model(settings(condition_dropout=share), data.info)) for share in (0.0, 0.999))
    )
    assert told.loss != untold.loss


def _effective(model):
    with torch.no_grad():
        for p in model.network.parameters():
            p.copy_(0.1 * torch.randn(p.shape, generator=generator(0, "effective")))
    return model


def test_sample_i_has_its_class_whatever_is_drawn_beside_it():
    model = _effective(build_model(settings(), labeled().info))
    how = {"steps": 2, "micro_batch": 4, "sampler": "ddim", "threshold": "none"}
    both = model.sample(6, **how).array
    np.testing.assert_array_equal(model.sample(2, first=4, **how).array, both[4:6])
    light = model.sample(6, classes=("light",), **how).array
    assert (light[1::2] == both[1::2]).all()
    assert (light[0::2] != both[0::2]).any()


def test_the_null_class_with_any_guidance_is_the_unconditional_model():
    model = _effective(build_model(settings(), labeled().info))
    how = {"steps": 2, "micro_batch": 4, "sampler": "ddim", "classes": ("none",)}
    np.testing.assert_array_equal(model.sample(4, **how).array, model.sample(4, guidance=1.0, **how).array)
    close = model.sample(4, guidance=3.0, **how).array.astype(int) - model.sample(4, **how).array
    assert abs(close).max() <= 1


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"classes": ("none",)}, "so there is no `classes=none`"),
        ({"classes": ("light", "none")}, "so there is no `classes=none`"),
        ({"guidance": 2.0}, "leave out `guidance`, or name a class with `avoid`"),
    ],
)
def test_a_table_that_never_had_a_row_for_no_class_is_not_asked_for_it(asked, sentence):
    """As those of other people's checkpoints, whose last row is one of ours that nobody trained."""
    model = build_model(settings(condition_dropout=0.0), labeled().info)
    with pytest.raises(UndiffuseError, match=sentence):
        model.sample(2, steps=2, **asked)
    assert len(model.sample(2, steps=2).array) == 2
    assert len(model.sample(2, steps=2, guidance=2.0, avoid="dark").array) == 2


def test_a_conditional_run_draws_what_it_is_asked_for(tmp_path):
    """Two brightnesses are learned in some hundred steps, and come when they are called."""
    run = settings(steps=400, lr=3e-3, sample_every=0, checkpoint_every=0, batch=16, timesteps=100, base=16, warmup=0)
    model = start_run(run, labeled(), tmp_path / "run")
    means = {name: model.sample(16, classes=(name,), guidance=1.5).array.mean() for name in CLASSES}
    assert means["light"] > means["dark"] + 25


def test_classes_that_muon_moved_once_are_moved_by_it_when_their_run_goes_on(monkeypatch, tmp_path):
    """Of a run that was begun before Adam took the table of classes over: the same steps, to the last bit."""
    config, data = settings(optimizer="muon", steps=6), labeled()

    def start():
        model = build_model(config, data.info)
        return model, make_train_state(model)

    def go_on(model, train_state, steps):
        for _ in zip(range(steps), training(make_train_step(model, data, 6), train_state), strict=False):
            pass

    model, today = start()
    go_on(model, today, 2)
    table = f"told.{CLASS}.rows.weight"
    assert f"exp_avg/{table}" in to_checkpoint(today, model, 6).optimizer
    with monkeypatch.context() as yesterday:
        yesterday.setattr("undiffuse.training.optim.optimizer.split", lambda network: split(network, ENDS))
        model, train_state = start()
    go_on(model, train_state, 2)
    assert f"momentum/{table}" in to_checkpoint(train_state, model, 6).optimizer
    place = save(to_checkpoint(train_state, model, 6), tmp_path)
    go_on(model, train_state, 3)
    resumed_model, resumed = start()
    restore(resumed, load(place), place)
    go_on(resumed_model, resumed, 3)
    assert resumed.step == train_state.step == 5
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, resumed_model.network.state_dict()[name]), name


def test_numbers_that_nobody_learned_anything_near_are_refused():
    info = replace(labeled().info, numbers=Standardizer(("angle",), (10.0,), (2.0,)))
    assert standardized((14.0,), ("vector",), info).tolist() == [2.0]
    with pytest.raises(UndiffuseError, match=r"angle = 1e\+30, and the data had 10 \+- 2"):
        standardized((1e30,), ("vector",), info)
