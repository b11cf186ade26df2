"""Numbers as conditions from the command line: from a column of a table to a picture, and back."""

import numpy as np
import pytest
from PIL import Image

from undiffuse.provenance.png import read_metadata


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """Bars of three widths, as files and as an .npz."""
    place = tmp_path_factory.mktemp("data") / "bars"
    place.mkdir()
    images = np.zeros((12, 8, 8), np.uint8)
    for k, image in enumerate(images):
        image[:, 2 : 3 + k % 3] = 255 - k
        Image.fromarray(image).save(place / f"{k:02}.png")
    rows = [f"{k:02}.png,{1 + k % 3},{-k}" for k in range(12)]
    (place / "metadata.csv").write_text("\n".join(["file_name,width,shade", *rows]))
    np.savez(place.parent / "bars.npz", x=images, width=1 + np.arange(12) % 3)
    return place


def test_a_run_is_asked_by_numbers_and_its_pictures_say_so(undiffuse, tiny, bars, tmp_path):
    told = ["--vectors", "width,shade", "--condition", "vector"]
    run = tmp_path / "bars"
    assert undiffuse("train", bars, *tiny, *told, "--runs", tmp_path, "--name", "bars").status == 0
    assert "the numbers width, shade" in (run / "README.md").read_text()
    found = undiffuse("info", run)
    assert "vectors               width,shade" in found.out
    how = ["-n", 2, "--steps", 2, "--vector", "-1.5,3"]
    assert undiffuse("sample", run, *how, "--guidance", 2).status == 0
    (picture,) = run.glob("pictures/*/00001.png")
    assert "--1.5-3-guidance-2" in picture.parent.name
    assert read_metadata(picture).origin.sample.prompt.vector == (-1.5, 3.0)
    assert "identical" in undiffuse("sample", "--from", picture).out
    assert undiffuse("sample", run, "-n", 1, "--steps", 2).status == 0  # by nothing
    assert undiffuse("train", "--resume", run).status == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "FOLDER", "--condition", "vector"], "needs to know which numbers: --vectors angle,width"),
        (["train", "FOLDER", "--condition", "vectr"], "perhaps you meant 'vector'"),
        (["train", "FOLDER", "--vectors", "widht"], "no column 'widht'; perhaps you meant 'width'"),
        (["train", "FOLDER", "--vectors", "width", "--stream"], "--vectors is not for --stream"),
        (["train", "FILE", "--vectors", "with"], "no array 'with'; perhaps you meant 'width'"),
        (["data", "FOLDER", "--vectors", "width,width"], "names a column twice"),
        (["sample", "digits", "--vector", "1"], "trained without numbers"),
        (["sample", "digits", "--vector", "wide"], "it takes numbers with commas between them"),
    ],
)
def test_what_cannot_be_is_one_sentence(undiffuse, bars, tmp_path, words, sentence):
    places = {"FOLDER": bars, "FILE": bars.parent / "bars.npz"}
    runs = ["--runs", tmp_path, "--steps", 1] if words[0] == "train" else []
    found = undiffuse(*(places.get(word, word) for word in words), *runs)
    assert (found.status, found.out) == (2, "")
    assert sentence in found.err
    assert list(tmp_path.iterdir()) == []


def test_data_tells_of_the_numbers(undiffuse, bars, tmp_path):
    found = undiffuse("data", bars.parent / "bars.npz", "--vectors", "width", "--out", tmp_path / "sheet.png")
    assert "numbers     of 12\n            width: mean 2, std 0.8165, 1 .. 3" in found.out
