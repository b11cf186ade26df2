"""Numbers as conditions: what is said of an image reaches the network, and decides what comes when it is asked for."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TinyData, tiny_data, tiny_settings

from undiffuse.conditioning.request import CLASS, VECTOR, Guides, conditions_of, resolve_conditions
from undiffuse.config.files import override
from undiffuse.config.sampling import Guide, Prompt, SampleConfig
from undiffuse.data.info import DataInfo
from undiffuse.data.standardizer import Standardizer
from undiffuse.diffusion.guidance import ClassifierFree, Conditioned
from undiffuse.errors import UndiffuseError
from undiffuse.export.model_file import write
from undiffuse.model import build_model, load
from undiffuse.networks.conditions import Condition
from undiffuse.runtime.random_streams import generator
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.batches import TrainData, examples_of, order_of
from undiffuse.training.build import make_train_step
from undiffuse.training.callbacks.previews import preview_plan
from undiffuse.training.run.finetune import started_from

TOLD = (Condition(VECTOR, "vector", 2),)
DDIM = {"steps": 2, "sampler": "ddim", "threshold": "none"}


@dataclass(frozen=True)
class Numbered:
    info: DataInfo
    images: Any
    rows: Any
    labels: Any = None

    def vectors(self):
        return self.rows


def numbered(scale=1.0):
    """The tiny data with their mean brightness and how much they vary; of the fourth nothing is said."""
    data = tiny_data()
    flat = data.images.reshape(len(data.images), -1)
    rows = np.stack([scale * flat.mean(1), flat.std(1)], 1).astype(np.float32)
    known = rows.astype(np.float64)
    mean, std = (tuple(values.tolist()) for values in (known.mean(0), known.std(0)))
    info = replace(data.info, numbers=Standardizer(("brightness", "grain"), mean, std))
    rows[3] = np.nan
    return Numbered(info, data.images, rows)


def settings(**flat):
    return tiny_settings(condition=("vector",), dropout=0.0, flip=False, **flat)


def _effective(model):
    with torch.no_grad():
        for p in model.network.parameters():
            p.copy_(0.1 * torch.randn(p.shape, generator=generator(0, "effective")))
    return model


def test_a_step_is_told_the_numbers_of_its_own_images_in_the_datas_standard():
    data = numbered()
    train_step = make_train_step(build_model(settings(condition_dropout=0.0, batch=8), data.info), data, 4)
    mean, std = (np.array(values) for values in (data.info.numbers.mean, data.info.numbers.std))
    for step in range(5):
        batch = train_step.batch(step)
        told = batch.conditions[VECTOR].double().numpy() * std + mean
        pixels = (batch.x0.double().numpy() + 1) * 127.5
        silent = np.isnan(told).all(1)
        np.testing.assert_allclose(told[~silent, 0], pixels.mean((1, 2, 3))[~silent], atol=1e-2)
        np.testing.assert_allclose(told[~silent, 1], pixels.std((1, 2, 3))[~silent], atol=1e-2)


def test_what_is_asked_for_is_in_the_standard_of_the_data():
    info = numbered().info
    mean, std = info.numbers.mean, info.numbers.std
    found = resolve_conditions(Prompt(vector=(mean[0] + std[0], mean[1] - 2 * std[1])), Guide(), TOLD, info)
    torch.testing.assert_close(found.rows[VECTOR], torch.tensor([[1.0, -2.0]]))


def test_guidance_leads_from_no_numbers_to_those_that_are_asked_for():
    info = numbered().info
    plain = build_model(settings(), info).denoiser
    assert resolve_conditions(Prompt(), Guide(), TOLD, info).denoiser(plain, range(4)) is plain
    assert isinstance(
        resolve_conditions(Prompt(vector=(1, 2)), Guide(), TOLD, info).denoiser(plain, range(4)), Conditioned
    )
    guided = resolve_conditions(Prompt(vector=(1, 2)), Guide(guidance=2.0), TOLD, info).denoiser(plain, range(4))
    assert isinstance(guided, ClassifierFree)
    assert guided.conditions[VECTOR].shape == guided.without[VECTOR].shape == (4, 2)
    assert guided.without[VECTOR].isnan().all()


def test_numbers_alone_leave_the_class_open():
    info = replace(numbered().info, classes=("dark", "light"))
    told = (Condition(CLASS, "class", 2), *TOLD)
    assert resolve_conditions(Prompt(vector=(1, 2)), Guide(), told, info).rows[CLASS].tolist() == [2]
    both = resolve_conditions(Prompt(vector=(1, 2), classes=("light",)), Guide(), told, info)
    assert both.rows[CLASS].tolist() == [1]
    assert VECTOR in both.rows
    assert set(resolve_conditions(Prompt(), Guide(), told, info).rows) == {CLASS}
    led = resolve_conditions(
        Prompt(vector=(1, 2)), Guide(), TOLD, info, Guides(classifier=object(), classifier_classes=("a", "b"))
    )
    assert led.rows[CLASS].tolist() == [0, 1]  # a classifier leads to a class, and by default to each


@pytest.mark.parametrize(
    ("asked", "told", "sentence"),
    [
        ({"vector": (1.0, 2.0)}, (), "trained without numbers"),
        ({"vector": (1.0,)}, TOLD, "2 numbers, brightness,grain; it got 1"),
        ({"classes": ("light",)}, TOLD, "trained without classes"),
        ({"guidance": 2.0}, TOLD, "needs a `text`, a `vector`"),
        ({"vector": (1.0, 2.0), "avoid": "dark"}, TOLD, "trained without classes"),
        ({"text": "dark"}, TOLD, "trained without texts"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(asked, told, sentence):
    wanted = SampleConfig.of(**asked)
    with pytest.raises(UndiffuseError, match=sentence):
        resolve_conditions(wanted.prompt, wanted.guide, told, numbered().info)


def test_data_without_numbers_cannot_train_a_model_of_them():
    with pytest.raises(UndiffuseError, match="`vectors=angle,width` names columns"):
        conditions_of(settings(), tiny_data().info)


@pytest.mark.parametrize("forged", [{"std": (1.0,)}, {"std": (1.0, 0.0)}, {"mean": ()}])
def test_a_forged_standard_is_one_sentence(forged):
    info = numbered().info
    with pytest.raises(UndiffuseError, match="a mean and a standard deviation"):
        conditions_of(settings(), replace(info, numbers=replace(info.numbers, **forged)))


def test_dropped_numbers_are_the_unconditional_model_to_the_last_bit():
    """Beside the same images, numbers that are hidden say nothing, whatever they were."""
    losses = []
    for scale in (1.0, 5.0):
        data = numbered(scale)
        model = _effective(build_model(settings(condition_dropout=0.0), data.info))
        train_step = make_train_step(model, replace(data, rows=np.full_like(data.rows, np.nan)), 4)
        batch = train_step.batch(0)
        told = model.network(batch.x0, torch.ones(4), **batch.conditions)
        losses.append(told)
        torch.testing.assert_close(told, model.network(batch.x0, torch.ones(4)), rtol=0, atol=0)
    assert torch.equal(*losses)


def test_a_model_and_its_file_keep_names_means_and_spreads(tmp_path):
    data = numbered()
    start_run(settings(steps=2, sample_every=0), data, tmp_path / "run")
    model = load(tmp_path / "run")
    write(model, tmp_path / "bars.safetensors")
    for found in (model.info, load(tmp_path / "bars.safetensors").info):
        assert found.numbers == data.info.numbers


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    config = settings(steps=6, checkpoint_every=3, keep=0)
    whole = start_run(config, numbered(), tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints" / "step-00000006").iterdir():
        path.unlink()
    resumed = resume_run(tmp_path / "run", dataset=numbered())
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name])


def _on_from(folder, **flat):
    start = override(tiny_settings(), start_from=str(folder)).start
    return override(started_from(settings(sample_every=0, ema_warmup=False), start), **flat)


def test_a_network_learns_numbers_later_and_begins_as_it_was(tmp_path):
    plain = start_run(tiny_settings(steps=3, sample_every=0, ema_warmup=False), tiny_data(), tmp_path / "old")
    start_run(_on_from(tmp_path / "old", condition=("vector",), steps=2), numbered(), tmp_path / "new")
    begun = load(tmp_path / "new" / "checkpoints" / "step-00000000")
    asked = begun.sample(4, vector=(100.0, 3.0), **DDIM).array
    np.testing.assert_array_equal(asked, plain.sample(4, **DDIM).array)


def test_a_run_from_another_is_told_numbers_in_the_others_standard(tmp_path):
    old = start_run(settings(steps=3, sample_every=0, ema_warmup=False), numbered(), tmp_path / "old")
    others = numbered(scale=3.0)
    start_run(_on_from(tmp_path / "old", steps=2), others, tmp_path / "new")
    begun = load(tmp_path / "new" / "checkpoints" / "step-00000000")
    assert begun.info.numbers.mean == old.info.numbers.mean != others.info.numbers.mean
    how = {"vector": (100.0, 3.0), **DDIM}
    np.testing.assert_array_equal(begun.sample(4, **how).array, old.sample(4, **how).array)
    told = make_train_step(begun, others, 2).batch(0).conditions[VECTOR].double()
    values = told * torch.tensor(old.info.numbers.std) + torch.tensor(old.info.numbers.mean)
    known = values[~values.isnan()]
    assert np.isin(known.numpy().round(1), others.rows.astype(np.float64).round(1)).all()


def test_a_run_from_one_of_other_numbers_is_one_sentence(tmp_path):
    start_run(settings(steps=1, sample_every=0), numbered(), tmp_path / "old")
    data = numbered()
    numbers = replace(data.info.numbers, names=("light", "grain"))
    renamed = replace(data, info=replace(data.info, numbers=numbers))
    with pytest.raises(UndiffuseError, match="add `vectors=brightness,grain`"):
        start_run(_on_from(tmp_path / "old", steps=1), renamed, tmp_path / "new")
    with pytest.raises(UndiffuseError, match="here they are none"):
        start_run(_on_from(tmp_path / "old", steps=1), TinyData(tiny_data().info, data.images), tmp_path / "new")


def test_a_weak_model_of_another_standard_is_refused(tmp_path):
    model = start_run(settings(steps=1, sample_every=0), numbered(), tmp_path / "a")
    start_run(settings(steps=1, sample_every=0), numbered(scale=2.0), tmp_path / "b")
    with pytest.raises(UndiffuseError, match="on other scales than this model"):
        model.sample(1, weak=str(tmp_path / "b"), guidance=2.0, vector=(100.0, 3.0), steps=2)


def test_grids_are_drawn_by_what_is_said_of_the_first_images(tmp_path):
    data = numbered()
    config = settings(batch=4, sample_count=6, condition_dropout=0.5)
    model = _effective(build_model(config, data.info))
    train_step = make_train_step(model, data, 4)
    first = order_of(TrainData.of(data), config)
    told = np.concatenate([first(0), first(1)])[:6]
    expected = (data.rows[told] - np.array(data.info.numbers.mean)) / np.array(data.info.numbers.std)
    np.testing.assert_allclose(train_step.examples[VECTOR], expected, rtol=1e-6, atol=1e-6)
    drawn = preview_plan(model, train_step.whole_images, train_step.examples, SampleConfig.of(**DDIM)).sample(6).array
    for k, row in enumerate(data.rows[told].tolist()):
        alone = model.sample(1, first=k, vector=() if np.isnan(row[0]) else tuple(row), **DDIM).array[0]
        assert abs(drawn[k].astype(int) - alone).max() <= 1
    assert examples_of(TrainData.of(data), build_model(tiny_settings(), data.info), {}) == {}


def bars(count=512):
    """Upright bars on 12 x 12 pixels, and where they stand and how wide they are."""
    dice = np.random.default_rng(0)
    middle, width = dice.uniform(3, 9, count), dice.uniform(1, 4, count)
    edges = np.arange(13.0)
    covered = np.clip(
        np.minimum(edges[1:], (middle + width / 2)[:, None]) - np.maximum(edges[:-1], (middle - width / 2)[:, None]),
        0,
        1,
    )
    images = np.broadcast_to((covered * 255).round().astype(np.uint8)[:, None, None], (count, 1, 12, 12)).copy()
    rows = np.stack([middle, width], 1)
    mean, std = (tuple(values.tolist()) for values in (rows.mean(0), rows.std(0)))
    x = images / 127.5 - 1
    info = DataInfo("bars", "bars", count, (1, 12, 12), "uint8", 0.0, 255.0, (float(x.mean()),), (float(x.std()),))
    info = replace(info, numbers=Standardizer(("middle", "width"), mean, std))
    return Numbered(info, images, rows.astype(np.float32))


@pytest.mark.slow
def test_numbers_decide_where_a_bar_stands_and_how_wide_it_is(tmp_path):
    run = settings(
        steps=700, lr=3e-3, batch=32, timesteps=200, base=16, multipliers=(1, 2), blocks=1, warmup=20,
        sample_every=0, checkpoint_every=0, ema=(0.99,), offset_noise=0.0,
    )  # fmt: skip
    model = start_run(run, bars(), tmp_path / "run")
    for asked in ((4.0, 3.0), (8.0, 3.0), (6.0, 1.5)):
        drawn = model.sample(16, vector=asked).array.astype(float).mean((1, 2)) / 255
        width = drawn.sum(1)
        middle = (drawn * (np.arange(12) + 0.5)).sum(1) / width
        assert abs(middle.mean() - asked[0]) < 0.5
        assert abs(width.mean() - asked[1]) < 0.5
        assert middle.std() < 1.0  # of all data 1.7
