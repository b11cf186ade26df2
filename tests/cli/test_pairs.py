"""Pictures as conditions from the command line: two folders, a run, and samples that go by pictures of the user's."""

import numpy as np
import pytest
from PIL import Image

from undiffuse.provenance.png import read_metadata


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Bright squares, their negatives under the same names, and one picture more."""
    place = tmp_path_factory.mktemp("data")
    for name in ("photos", "sketches", "new"):
        (place / name).mkdir()
    for k in range(12):
        image = np.zeros((8, 8), np.uint8)
        image[k % 4 : k % 4 + 3, 2:5] = 200 + k
        Image.fromarray(image).save(place / "photos" / f"{k}.png")
        Image.fromarray(255 - image).save(place / "sketches" / f"{k}.png")
        Image.fromarray(255 - image.T).save(place / "new" / f"new-{k % 3}.png")
    return place


def test_a_run_of_pairs_draws_one_for_each_picture_that_it_is_given(undiffuse, tiny, places, tmp_path):
    run = tmp_path / "pairs"
    told = ["--pairs", places / "sketches", "--condition", "image"]
    assert undiffuse("train", places / "photos", *tiny, *told, "--runs", tmp_path, "--name", "pairs").status == 0
    assert undiffuse("sample", run, "--steps", 2, "--image", places / "new").status == 0
    assert len(list(run.glob("pictures/*-new/0*.png"))) == 3
    assert undiffuse("sample", run, "--steps", 2, "--image", places / "new" / "new-1.png", "-n", 2).status == 0
    picture = next(run.glob("pictures/*-new-1/00001.png"))
    assert str(places / "new" / "new-1.png@") in read_metadata(picture).origin.sample.prompt.image
    assert "identical" in undiffuse("sample", "--from", picture).out
    assert undiffuse("train", "--resume", run).status == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "photos", "--condition", "image"], "--pairs FOLDER names a folder of pictures of the same names"),
        (["train", "photos", "--pairs", "new", "--condition", "image"], "got none for 12 of 12, such as '0.png'"),
        (["train", "photos", "--pairs", "sketches", "--stream"], "--pairs is not for --stream"),
        (["data", "photos", "--pairs", "skteches"], "which does not exist; perhaps you meant 'sketches'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(undiffuse, places, tmp_path, words, sentence):
    runs = ["--runs", tmp_path, "--steps", 1] if words[0] == "train" else []
    paths = {"photos", "sketches", "new", "skteches"}
    found = undiffuse(*(places / word if word in paths else word for word in words), *runs)
    assert (found.status, found.out) == (2, "")
    assert sentence in found.err


def test_data_tells_of_the_pairs(undiffuse, places, tmp_path):
    found = undiffuse("data", places / "photos", "--pairs", places / "sketches", "--out", tmp_path / "sheet.png")
    assert "pairs       a picture for each, 8 x 8 (height x width), grey, 8 bits" in found.out


def test_a_model_without_pairs_goes_by_no_picture(undiffuse, places):
    found = undiffuse("sample", "digits", "--image", places / "new")
    assert found.status == 2
    assert "trained without pairs" in found.err
