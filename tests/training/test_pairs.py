"""Pictures as conditions: which belongs to which image, that the network is told them, and that samples follow them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_data, tiny_settings

from undiffuse.conditioning.request import CLASS, IMAGE, conditions_of, resolve_conditions
from undiffuse.config.data import DataConfig
from undiffuse.config.sampling import Guide, Prompt
from undiffuse.data.preparation.prepare import prepare
from undiffuse.data.read_image import read_pairs
from undiffuse.diffusion.guidance import ClassifierFree
from undiffuse.errors import UndiffuseError
from undiffuse.export.model_file import write
from undiffuse.model import build_model, load
from undiffuse.networks.conditions import Condition
from undiffuse.runtime.process_group import Group
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.batches import TrainData, condition_batches, condition_tables
from undiffuse.training.build import make_train_step
from undiffuse.training.parallel.batch_shards import BatchShard
from undiffuse.visualization.data_summary import describe

TOLD = (Condition(IMAGE, "image", 3),)
DDIM = {"steps": 2, "sampler": "ddim", "threshold": "none"}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))


def folders(tmp_path, count=6, side=8):
    """Grey images, and their negatives in colour whose red is their number, as files of another kind and order."""
    dice = np.random.default_rng(0)
    for k in range(count):
        image = dice.integers(0, 256, (side, side), np.uint8)
        color = np.stack([np.full_like(image, 10 * k), 255 - image, image // 2], -1)
        for name, pixels in ((f"photos/{'ab'[k % 2]}/{k}.png", image), (f"sketches/{'ab'[k % 2]}/{k}.tiff", color)):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return DataConfig(source=str(tmp_path / "photos"), pairs=str(tmp_path / "sketches"))


def opened(tmp_path, **changed):
    return prepare(replace(folders(tmp_path), **changed), progress=False)


def settings(**flat):
    return tiny_settings(**{"condition": ("image",), "dropout": 0.0, "flip": False, **flat})


def test_each_image_is_told_the_picture_of_its_name(tmp_path):
    data = opened(tmp_path)
    np.testing.assert_array_equal(data.pairs[np.arange(6)][:, 1], 255 - data.images[:, 0])
    assert data.pairs[np.array([5, 0])][:, 0, 0, 0].tolist() == [50, 0]
    assert (data.info.pair.channels, data.info.pair.shape, data.info.pair.high) == (3, (3, 8, 8), 255)
    assert "pairs       a picture for each, 8 x 8 (height x width), RGB, 8 bits" in describe(data)


def test_a_step_is_told_the_pictures_of_its_own_images_mirrored_with_them(tmp_path):
    data = opened(tmp_path)
    train_step = make_train_step(build_model(settings(condition_dropout=0.0, batch=4, flip=True), data.info), data, 8)
    mirrored = 0
    for step in range(6):
        batch = train_step.batch(step)
        torch.testing.assert_close(batch.conditions[IMAGE][:, 1], -batch.x0[:, 0])
        pixels = ((batch.x0[:, 0] + 1) * 127.5).round().numpy()
        mirrored += sum(not (data.images[:, 0] == one).all((1, 2)).any() for one in pixels)
    assert 0 < mirrored < 24


def test_processes_that_train_together_are_told_the_pictures_of_their_own_images(tmp_path):
    data = opened(tmp_path)
    model = build_model(settings(condition_dropout=0.3, batch=5, flip=True), data.info)
    tables = condition_tables(TrainData.of(data), model)
    whole, *parts = (
        condition_batches(TrainData.of(data), model, share, tables)
        for share in (BatchShard(5), BatchShard(5, 1, Group(0, 2)), BatchShard(5, 1, Group(1, 2)))
    )
    nothing = torch.empty(0)
    for step in range(4):
        together = torch.cat([part(step, nothing)[IMAGE] for part in parts])
        torch.testing.assert_close(together, whole(step, nothing)[IMAGE], rtol=0, atol=0, equal_nan=True)


def test_pictures_change_the_fingerprint_and_share_the_cache(tmp_path):
    config = folders(tmp_path)
    data = prepare(config, progress=False)
    alone = prepare(replace(config, pairs=""), progress=False)
    assert (alone.path, alone.pairs) == (data.path, None)
    assert alone.info.fingerprint != data.info.fingerprint
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "sketches" / "a" / "0.tiff")
    assert prepare(config, progress=False).info.fingerprint != data.info.fingerprint


def test_arrays_are_paired_by_their_numbers(tmp_path):
    images = np.random.default_rng(0).random((5, 6, 6), np.float32)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", 100 * images - 7)
    config = DataConfig(source=str(tmp_path / "x.npy"), pairs=str(tmp_path / "y.npy"))
    data = prepare(config, progress=False)
    np.testing.assert_array_equal(data.pairs[np.arange(5)][:, 0], 100 * images - 7)
    assert data.info.pair.low == pytest.approx(100 * images.min() - 7)
    np.save(tmp_path / "y.npy", images[:4])
    with pytest.raises(UndiffuseError, match="got none for 1 of 5, such as 'sample 4'"):
        prepare(config, progress=False)


def test_size_and_channels_hold_for_both(tmp_path):
    data = opened(tmp_path, size=4, channels="grey")
    assert data.info.shape == data.info.pair.shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda place: (place / "sketches/a/0.tiff").unlink(), r"got none for 1 of 6, such as 'a/0.png'"),
        (lambda place: Image.new("RGB", (8, 8)).save(place / "sketches/b/1.png"), "two called 'b/1'"),
    ],
)
def test_what_does_not_match_is_one_sentence(tmp_path, change, sentence):
    config = folders(tmp_path)
    change(tmp_path)
    with pytest.raises(UndiffuseError, match=sentence):
        prepare(config, progress=False)


def test_pictures_of_another_size_are_one_sentence(tmp_path):
    config = folders(tmp_path)
    folders(tmp_path / "large", side=9)
    with pytest.raises(UndiffuseError, match="got 9 x 9 for images of 8 x 8; make them alike with `size`"):
        prepare(replace(config, pairs=str(tmp_path / "large" / "sketches")), progress=False)


def test_data_without_pictures_cannot_train_a_model_of_pairs():
    with pytest.raises(UndiffuseError, match="`pairs=FOLDER`"):
        conditions_of(settings(), tiny_data().info)


def test_a_sample_goes_by_its_picture_whatever_is_drawn_beside_it(tmp_path):
    data = opened(tmp_path)
    model = build_model(settings(), data.info)
    with torch.no_grad():
        for k, parameter in enumerate(model.network.parameters()):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(k)))
    how = {"image": str(tmp_path / "sketches" / "a"), "micro_batch": 4, **DDIM}
    five = model.sample(5, **how)
    alone = model.sample(1, first=4, **{**how, "image": str(tmp_path / "sketches" / "a")}).array
    np.testing.assert_array_equal(five.array[4:], alone)
    other = model.sample(5, **{**how, "image": str(tmp_path / "sketches" / "a" / "0.tiff")}).array
    same = (five.array == other).all((1, 2, 3)).tolist()
    assert same == [True, False, False, True, False]  # pictures 0, 2, 4, 0, 2 and 0, 0, 0, 0, 0
    assert "@" in five.settings.prompt.image


def test_a_picture_that_changed_is_refused_where_a_sample_is_made_again(tmp_path):
    data = opened(tmp_path)
    model = build_model(settings(), data.info)
    path = tmp_path / "sketches" / "a" / "0.tiff"
    made = model.sample(1, image=str(path), **DDIM)
    Image.new("RGB", (8, 8)).save(path)
    again = build_model(settings(), data.info)
    with pytest.raises(UndiffuseError, match="other contents than were meant"):
        again.sample(1, settings=made.settings)


def test_pictures_are_prepared_as_those_of_the_training_were(tmp_path):
    config = replace(folders(tmp_path), size=4, channels="grey")
    data = prepare(config, progress=False)
    rows, digest = read_pairs(tmp_path / "sketches" / "a", data.info.pair, config)
    expected = data.pairs[np.arange(6)][[k for k in range(6) if data.name_of(k).startswith("a/")]]
    np.testing.assert_allclose((rows.numpy() + 1) * 127.5, expected, atol=1e-3)
    assert len(digest) == 64


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Image.new("RGB", (9, 8)), "has 8 x 9 pixels .* have 8 x 8"),
        (lambda: Image.new("L", (8, 8)), "has 1 channels where 3 are wanted"),
        (lambda: Image.new("I;16", (8, 8)), "learned uint8 values"),
    ],
)
def test_a_picture_of_another_kind_is_one_sentence(tmp_path, make, sentence):
    model = build_model(settings(), opened(tmp_path).info)
    make().save(tmp_path / "odd.png")
    with pytest.raises(UndiffuseError, match=sentence):
        model.sample(1, image=str(tmp_path / "odd.png"), **DDIM)
    with pytest.raises(UndiffuseError, match="is not there"):
        model.sample(1, image=str(tmp_path / "none.png"), **DDIM)


def test_guidance_leads_from_no_picture_to_the_one_that_is_asked_for():
    info = replace(tiny_data().info.with_pair(3, "uint8", 0.0, 255.0), classes=("a", "b"))
    plain = build_model(settings(), info).denoiser
    picture = torch.zeros(2, 3, 8, 8)
    guided = resolve_conditions(Prompt(image="x"), Guide(guidance=2.0), TOLD, info, look=lambda path: picture).denoiser(
        plain, range(3)
    )
    assert isinstance(guided, ClassifierFree)
    assert guided.conditions[IMAGE].shape == guided.without[IMAGE].shape == (3, 3, 8, 8)
    assert guided.without[IMAGE].isnan().all()
    both = resolve_conditions(
        Prompt(image="x"), Guide(), (Condition(CLASS, "class", 2), *TOLD), info, look=lambda path: picture
    )
    assert both.rows[CLASS].tolist() == [2]
    with pytest.raises(UndiffuseError, match="trained without pairs"):
        resolve_conditions(Prompt(image="x"), Guide(), (), info)
    with pytest.raises(UndiffuseError, match="an `image` to lead to"):
        resolve_conditions(Prompt(), Guide(guidance=2.0), TOLD, info)


def test_a_run_of_pairs_is_resumed_bit_for_bit_and_fits_a_file(tmp_path):
    config = settings(steps=4, checkpoint_every=2, keep=0, sample_every=4)
    config = replace(config, data=folders(tmp_path))
    whole = start_run(config, prepare(config.data, progress=False), tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints" / "step-00000004").iterdir():
        path.unlink()
    resumed = resume_run(tmp_path / "run")
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name])
    write(load(tmp_path / "run"), tmp_path / "pairs.safetensors")
    found = load(tmp_path / "pairs.safetensors")
    assert found.info.pair == whole.info.pair
    assert found.config.data.pairs == "sketches"  # its name, not whose disk it was on


@pytest.mark.slow
def test_a_model_of_pairs_paints_what_a_sketch_says(tmp_path):
    """Squares of any place: told their outline, the model fills it; told nothing, it draws some square."""
    dice = np.random.default_rng(0)
    images, outlines = np.zeros((2, 256, 10, 10), np.uint8)
    for image, outline in zip(images, outlines, strict=True):
        (top, left), size = dice.integers(1, 5, 2), dice.integers(3, 5)
        image[top : top + size, left : left + size] = dice.integers(160, 255)
        outline[top : top + size, left : left + size] = 255
        outline[top + 1 : top + size - 1, left + 1 : left + size - 1] = 0
    np.save(tmp_path / "x.npy", images[:-8])
    np.save(tmp_path / "y.npy", outlines[:-8])
    data = DataConfig(source=str(tmp_path / "x.npy"), pairs=str(tmp_path / "y.npy"))
    config = settings(
        steps=400, lr=3e-3, batch=16, timesteps=100, base=16, warmup=20, sample_every=0, checkpoint_every=0,
        ema=(0.99,), offset_noise=0.0,
    )  # fmt: skip
    model = start_run(replace(config, data=data), prepare(data, progress=False), tmp_path / "run")
    (tmp_path / "held").mkdir()
    for k, outline in enumerate(outlines[-8:]):
        Image.fromarray(outline).save(tmp_path / "held" / f"{k}.png")
    followed = _alike(model.sample(8, image=str(tmp_path / "held")).array[:, 0], images[-8:])
    assert followed.min() > 0.9
    assert _alike(model.sample(8).array[:, 0], images[-8:]).mean() < 0.6


def _alike(drawn, wanted):
    return np.array([np.corrcoef(a.ravel().astype(float), b.ravel())[0, 1] for a, b in zip(drawn, wanted, strict=True)])
