"""A classifier of noisy images: trained on a run's process, stored like a run, and asked while sampling."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import TinyData, tiny_data, tiny_settings

from undiffuse.config.sampling import SampleConfig
from undiffuse.config.training import ClassifierConfig
from undiffuse.diffusion.guidance import Autoguided, ClassifierGuided
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model, load
from undiffuse.model.noise_classifier import load_noisy_classifier
from undiffuse.training.api import start_run
from undiffuse.training.classifier import classifier_settings, save_classifier, train_noisy_classifier

CLASSES = ("dark", "light")
HOW = {"sampler": "ddim", "steps": 10, "micro_batch": 16}
RUN = tiny_settings(steps=2, timesteps=100, flip=False, dropout=0.0, sample_every=0)


def labeled():
    data = tiny_data()
    labels = (data.images.reshape(len(data.images), -1).mean(1) > 128).astype(np.int64)
    return TinyData(replace(data.info, classes=CLASSES), data.images, labels)


def trained(**flat):
    settings = ClassifierConfig(**{"steps": 60, "batch": 8, "lr": 3e-3, "base": 8, "device": "cpu", **flat})
    return train_noisy_classifier(classifier_settings(settings, RUN, RUN.data), labeled())


@pytest.fixture(scope="module")
def learned():
    return trained()


@pytest.fixture(scope="module")
def folder(learned, tmp_path_factory):
    place = tmp_path_factory.mktemp("run") / "classifier"
    save_classifier(learned, place)
    return place


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "run"
    start_run(RUN, labeled(), place)
    return place


def test_it_learns_what_can_be_seen_and_not_what_cannot(learned):
    """Brightness shows through much noise; in the last quarter of this process hardly through any."""
    first, *_, last = learned.accuracy
    assert first == 1
    assert learned.images == 4
    assert last <= first


def test_its_gradient_leads_to_the_class(learned):
    x = torch.zeros(2, 1, 8, 8)
    logits = learned.classifier(x + 0.5, torch.tensor(10.0)), learned.classifier(x - 0.5, torch.tensor(10.0))
    assert [row.argmax().item() for row in (logits[0][0], logits[1][0])] == [1, 0]


def test_it_is_the_same_every_time_and_leaves_the_global_stream_alone(learned):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = trained()
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(
        learned.classifier.network.state_dict().values(), again.classifier.network.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_what_was_stored_is_what_is_read(learned, folder):
    read = load_noisy_classifier(folder)
    x, t = torch.randn(3, 1, 8, 8), torch.tensor([1.0, 50.0, 100.0])
    torch.testing.assert_close(read(x, t), learned.classifier(x, t), rtol=0, atol=0)
    assert read.info.classes == CLASSES
    assert json.loads((folder / "accuracy.json").read_text())["held-out images"] == 4


def test_damage_is_noticed(learned, tmp_path):
    place = save_classifier(learned, tmp_path / "classifier")
    file = place / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UndiffuseError):
        load_noisy_classifier(tmp_path / "classifier")


def test_data_without_classes_cannot_train_one():
    config = classifier_settings(ClassifierConfig(steps=1, device="cpu"), RUN, RUN.data)
    with pytest.raises(UndiffuseError, match="a folder for each class"):
        train_noisy_classifier(config, tiny_data())


def test_an_unconditional_run_is_led_to_a_class(run, folder):
    """Its network is new and knows only that eps is 0: all that is there comes from the classifier."""
    model = load(run)
    means = {
        name: model.sample(8, classifier=str(folder), classes=(name,), guidance=8.0, **HOW).array.mean()
        for name in CLASSES
    }
    assert means["light"] > means["dark"] + 10


def test_without_a_scale_the_classifier_does_nothing(run, folder):
    model = load(run)
    with pytest.warns(
        UserWarning, match="^`classifier=.*` changes nothing here: it acts with `guidance` other than 0$"
    ):
        led = model.sample(4, classifier=str(folder), guidance=0.0, **HOW).array
    np.testing.assert_array_equal(led, model.sample(4, **HOW).array)


def test_a_weak_model_leads_by_what_it_does_worse(run):
    model, early = load(run), run / "checkpoints" / "step-00000000"
    settings = SampleConfig.of(weak=str(early), guidance=2.0)
    denoiser = model.plan(settings, threshold="none").denoiser(range(2))
    assert isinstance(denoiser, Autoguided)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor(50.0, dtype=torch.float64)
    strong, weak = model.denoiser(x, t), load(early).denoiser(x, t)
    torch.testing.assert_close(denoiser(x, t).eps, 2 * strong.eps - weak.eps)


def test_settings_say_which_weights_led(run, folder):
    model = load(run)
    settled = model.plan(classifier=str(folder), guidance=2.0).settings
    assert settled.guide.classifier == f"{folder}@{load_noisy_classifier(folder).sha256[:12]}"
    assert model.plan(settled).settings == settled
    assert isinstance(model.plan(settled, threshold="none").denoiser(range(2)), ClassifierGuided)
    with pytest.raises(UndiffuseError, match="other contents than were meant"):
        model.plan(classifier=f"{folder}@{'0' * 12}")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"classifier": "{folder}", "classes": ("middling",)}, "There is no class 'middling'"),
        ({"classifier": "{folder}", "avoid": "dark", "guidance": 2.0}, "`avoid` is for guidance without"),
        ({"classifier": "{folder}", "classes": ("none",)}, "no `classes=none`"),
        (
            {"classifier": "{folder}", "guidance_rescale": 0.5, "guidance": 2.0},
            "are not for guidance by a `classifier`",
        ),
        ({"classifier": "{folder}", "weak": "{run}", "guidance": 2.0}, "not both"),
        ({"classifier": "{run}"}, "no classifier of noisy images"),
        ({"classifier": "{run}/nowhere"}, "holds no classifier"),
        ({"weak": "{run}"}, "nowhere at `guidance=1`"),
        ({"weak": "{run}", "guidance": 2.0, "classes": ("dark",)}, "without classes"),
    ],
)
def test_what_cannot_lead_is_one_sentence(run, folder, asked, sentence):
    words = {"folder": folder, "run": run}
    asked = {name: value.format(**words) if isinstance(value, str) else value for name, value in asked.items()}
    with pytest.raises(UndiffuseError, match=sentence):
        load(run).sample(1, **asked, **HOW)


def test_another_process_is_not_led(folder):
    model = build_model(tiny_settings(timesteps=50), labeled().info)
    with pytest.raises(UndiffuseError, match="timesteps=100"):
        model.sample(1, classifier=str(folder), **HOW)
