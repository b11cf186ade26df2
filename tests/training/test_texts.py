"""A model of texts: what is said of each image reaches the network, and what is asked for reaches it the same way."""

import hashlib
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_data, tiny_settings

from undiffuse.conditioning import request
from undiffuse.conditioning.request import CLASS, TEXT, conditions_of, resolve_conditions
from undiffuse.conditioning.text import embedding_table
from undiffuse.conditioning.text.embedding_table import text_table
from undiffuse.conditioning.text.encoder import PACKAGE, SIZE
from undiffuse.config.data import DataConfig
from undiffuse.config.sampling import Guide, Prompt, SampleConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.diffusion.guidance import ClassifierFree, Conditioned
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model
from undiffuse.networks.conditions import Condition
from undiffuse.training.api import start_run
from undiffuse.training.build import make_train_step

TOLD = (Condition(TEXT, "tokens", SIZE),)


class Letters:
    """An encoder in the published one's place: a vector for each word, the same everywhere."""

    sha256 = "letters"
    calls = 0

    def tokens(self, text):
        Letters.calls += 1
        rows = [np.frombuffer(hashlib.sha256(word.encode()).digest() * 12, np.uint8) for word in text.split()]
        return torch.from_numpy(np.stack(rows) / 128 - 1).float()


@pytest.fixture(autouse=True)
def letters(monkeypatch, tmp_path):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedding_table, "load_encoder", Letters)
    monkeypatch.setattr(request, "load_encoder", Letters)


@dataclass(frozen=True)
class Described:
    info: object
    images: object
    labels: object
    said: list

    def texts(self):
        return self.said


def described():
    data = tiny_data()
    light = data.images.reshape(len(data.images), -1).mean(1) > 128
    said = [("a light one" if k else "dark") for k in light]
    said[3] = ""
    return Described(replace(data.info, texts=39), data.images, None, said)


def settings(**flat):
    return tiny_settings(condition=("text",), dropout=0.0, flip=False, **flat)


def test_a_batch_of_texts_is_filled_up_with_nothing():
    found = text_table(["b c", "", "a", "b c"])
    batch = found.batch(torch.tensor([0, 1, 2, 3]))
    assert batch.shape == (4, 2, SIZE)
    assert batch.isnan().all(-1).tolist() == [[False, False], [True, True], [False, True], [False, False]]
    torch.testing.assert_close(batch[0], Letters().tokens("b c"), rtol=0, atol=1e-3)
    assert found.batch(torch.tensor([1])).isnan().all()


def test_a_text_is_read_once():
    text_table(["x", "y", "x"])
    before = Letters.calls
    text_table(["y", "x"])
    assert Letters.calls == before


def test_a_step_is_told_the_texts_of_its_own_images():
    data = described()
    train_step = make_train_step(build_model(settings(condition_dropout=0.0, batch=8), data.info), data, 4)
    for step in range(5):
        batch = train_step.batch(step)
        light = batch.x0.flatten(1).mean(1) > 128 / 127.5 - 1
        pieces = (~batch.conditions[TEXT].isnan().any(-1)).sum(1)
        expected = torch.where(light, 3, 1)
        assert ((pieces == expected) | (pieces == 0)).all()


def test_a_text_model_trains_and_draws(tmp_path):
    model = start_run(settings(steps=3, sample_every=0, attention_levels=(0,)), described(), tmp_path / "run")
    told, untold = (model.sample(2, steps=2, text=text).array for text in ("dark", ""))
    assert told.shape == untold.shape == (2, 1, 8, 8)


def test_what_is_asked_for_and_what_to_avoid_are_of_one_length():
    info = described().info
    plain = build_model(settings(), info).denoiser
    assert isinstance(
        resolve_conditions(Prompt(text="dark"), Guide(), TOLD, info).denoiser(plain, range(4)), Conditioned
    )
    asked = SampleConfig.of(text="a light one", avoid="dark", guidance=2.0)
    guided = resolve_conditions(asked.prompt, asked.guide, TOLD, info).denoiser(plain, range(4))
    assert isinstance(guided, ClassifierFree)
    assert guided.conditions[TEXT].shape == guided.without[TEXT].shape == (4, 3, SIZE)
    assert guided.without[TEXT].isnan().all(-1)[0].tolist() == [False, True, True]
    nothing = resolve_conditions(Prompt(text="dark"), Guide(guidance=2.0), TOLD, info).denoiser(plain, range(4))
    assert nothing.without[TEXT].isnan().all()


def test_a_text_alone_leaves_the_class_open():
    info = replace(described().info, classes=("dark", "light"))
    told = (Condition(CLASS, "class", 2), *TOLD)
    assert resolve_conditions(Prompt(text="dark"), Guide(), told, info).rows[CLASS].tolist() == [2]
    assert resolve_conditions(Prompt(text="dark", classes=("light",)), Guide(), told, info).rows[CLASS].tolist() == [1]
    assert resolve_conditions(Prompt(), Guide(), told, info).rows[CLASS].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("asked", "told", "sentence"),
    [
        ({"text": "dark"}, (), "trained without texts"),
        ({"classes": ("light",)}, TOLD, "trained without classes"),
        ({"guidance": 2.0}, TOLD, "needs a `text`"),
        ({"avoid": "dark"}, TOLD, "needs a `text`"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(asked, told, sentence):
    wanted = SampleConfig.of(**asked)
    with pytest.raises(UndiffuseError, match=sentence):
        resolve_conditions(wanted.prompt, wanted.guide, told, described().info)


def test_data_without_texts_cannot_train_a_text_model():
    with pytest.raises(UndiffuseError, match="columns file_name and text"):
        conditions_of(settings(), tiny_data().info)


def folder_of(tmp_path, metadata, name="metadata.jsonl"):
    place = tmp_path / "photos"
    place.mkdir()
    for k in range(3):
        Image.fromarray(np.full((4, 4), 40 * k, np.uint8)).save(place / f"{k}.png")
    (place / name).write_text(metadata)
    return DataConfig(source=str(place))


def test_texts_come_from_metadata_and_change_the_fingerprint(tmp_path):
    rows = '{"file_name": "0.png", "text": "black"}\n{"file_name": "2.png", "text": "a grey one, with a \\u00fc"}\n'
    config = folder_of(tmp_path, rows)
    data = prepare(config, progress=False)
    assert data.texts() == ["black", "", "a grey one, with a ü"]
    assert (data.info.texts, data.info.classes) == (2, ())
    (tmp_path / "photos" / "metadata.jsonl").write_text(rows.replace("black", "dark"))
    assert prepare(config, progress=False).info.fingerprint != data.info.fingerprint


def test_texts_and_classes_may_stand_side_by_side(tmp_path):
    rows = "file_name,class,text\n0.png,a,one\n1.png,b,two\n2.png,a,\n"
    data = prepare(folder_of(tmp_path, rows, "metadata.csv"), progress=False)
    assert (data.texts(), data.info.classes) == (["one", "two", ""], ("a", "b"))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ('{"file_name": "0.png", "text": ["a"]}', "a text for each file"),
        ('{"file_name": "0.png", "text": "a"}\n{"file_name": "0.png", "text": "b"}', "one text per file"),
    ],
)
def test_bad_texts_are_one_sentence(tmp_path, rows, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        prepare(folder_of(tmp_path, rows), progress=False)


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")
def test_the_encoder_fits_the_condition():
    from undiffuse.conditioning.text.encoder import load_encoder

    assert load_encoder().tokens("a seven").shape == (4, SIZE)
