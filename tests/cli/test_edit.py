"""``undiffuse edit ...`` on the tiny run: files, words, and the same picture again from what a file says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from undiffuse.cli import main
from undiffuse.provenance.png import read_metadata

Command = Callable[..., Any]
QUICK = ("--steps", 3, "--device", "cpu")


@pytest.fixture
def picture(tmp_path: Path, data: Path) -> Path:
    path = tmp_path / "square.png"
    Image.fromarray(np.load(data)[0]).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, data: Path) -> Path:
    """Three pictures of two sizes."""
    path = tmp_path / "pictures"
    path.mkdir()
    images = np.load(data)
    Image.fromarray(images[0]).save(path / "a.png")
    Image.fromarray(np.concatenate([images[1], images[2]], 1)).save(path / "b.png")
    Image.fromarray(images[3]).save(path / "c.png")
    (path / "notes.txt").write_text("not a picture")
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    return write_mask(tmp_path / "mask.png", (8, 8))


def write_mask(path: Path, size: tuple[int, int]) -> Path:
    values = np.zeros(size, np.uint8)
    values[2:6, 3:7] = 255
    Image.fromarray(values).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.filterwarnings("ignore:.*changes nothing here")  # one list of options for all methods
def test_inpainting_keeps_what_the_mask_keeps(undiffuse: Command, run: Path, picture: Path, mask: Path) -> None:
    said = undiffuse("edit", "inpaint", run, picture, "--mask", mask, "-n", 2, "--jump", 1, "--passes", 2, *QUICK)
    assert said.status == 0, said.err
    home = run / "edits" / "inpaint"
    assert sorted(file.name for file in home.iterdir()) == ["square-0.png", "square-1.png", "square-strip.png"]
    made, given, kept = pixels(home / "square-0.png"), pixels(picture), pixels(mask) == 0
    assert np.array_equal(made[kept], given[kept])
    assert not np.array_equal(made, pixels(home / "square-1.png"))
    with Image.open(home / "square-strip.png") as strip:
        assert strip.mode == "RGB"
        assert strip.width > 3 * 80


def test_a_folder_of_pictures_takes_a_folder_of_masks(
    undiffuse: Command, run: Path, folder: Path, tmp_path: Path
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for name, size in (("a", (8, 8)), ("b", (8, 16)), ("c", (8, 8))):
        write_mask(masks / f"{name}.png", size)
    words = ("edit", "inpaint", run, folder, "--mask", masks, "--method", "ddnm", "--no-strips", *QUICK)
    said = undiffuse(*words)
    assert said.status == 0, said.err
    for name in "abc":
        made, given = pixels(run / "edits" / "inpaint" / f"{name}.png"), pixels(folder / f"{name}.png")
        kept = pixels(masks / f"{name}.png") == 0
        assert np.array_equal(made[kept], given[kept])
    assert not list((run / "edits" / "inpaint").glob("*strip*"))


COMMANDS: dict[str, tuple[tuple[Any, ...], tuple[int, int]]] = {
    "outpaint": (("--right", 5, "--top", 2, "--method", "ddnm"), (10, 13)),
    "upscale": (("--factor", 2), (16, 16)),
    "deblur": (("--std", 0.8), (8, 8)),
    "vary": (("--strength", 0.4), (8, 8)),
    "denoise": (("--noise", 20), (8, 8)),
    "invert": ((), (8, 8)),
}


@pytest.mark.filterwarnings("always:.*pictures? comes? back")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_picture_says_how_it_is_made_again_and_that_makes_it(
    undiffuse: Command, run: Path, picture: Path, tmp_path: Path, name: str
) -> None:
    own, size = COMMANDS[name]
    said = undiffuse("edit", name, run, picture, *own, "--seed", 7, *QUICK)
    assert said.status == 0, said.err
    first = run / "edits" / name / "square.png"
    assert pixels(first).shape == size
    found = read_metadata(first)
    assert found.edited is not None
    assert f"Edit: {name}" in (found.parameters or "")
    assert found.edited.inputs[0].endswith(str(picture))
    assert found.edited.shape == (1, *size)
    command = found.edited.command
    assert command[:3] == ("undiffuse", "edit", name)
    assert undiffuse(*command[1:], "--out", tmp_path / "again").status == 0
    assert np.array_equal(pixels(first), pixels(tmp_path / "again" / "square.png"))
    about = undiffuse("info", first, "--json")
    assert json.loads(about.out)["edited by"]["command"].startswith(f"undiffuse edit {name}")


def test_interpolation_writes_as_many_pictures_as_asked(
    undiffuse: Command, run: Path, folder: Path, tmp_path: Path
) -> None:
    for way in ("slerp", "shared"):
        out = tmp_path / way
        words = ("edit", "interpolate", run, folder / "a.png", folder / "c.png", "--way", way, "--frames", 4)
        said = undiffuse(*words, "--out", out, *QUICK)
        assert said.status == 0, said.err
        assert sorted(file.name for file in out.iterdir()) == [*(f"a-c-{k}.png" for k in range(4)), "a-c-strip.png"]


@pytest.mark.filterwarnings("always:.*pictures? comes? back")
def test_inversion_says_its_error_and_warns_of_a_large_one(undiffuse: Command, run: Path, picture: Path) -> None:
    said = undiffuse("edit", "invert", run, picture, *QUICK)
    assert said.status == 0
    assert "comes back within" in said.out
    assert "dB" in said.out
    assert "take more steps, or --exact" in said.err
    with np.load(run / "edits" / "invert" / "square-latent.npz") as latent:
        assert latent["latent"].shape == (1, 8, 8)


def test_denoising_says_what_noise_it_found(undiffuse: Command, run: Path, picture: Path) -> None:
    said = undiffuse("edit", "denoise", run, picture, *QUICK)
    assert said.status == 0, said.err
    assert "seems to have noise of" in said.out


def test_an_extension_without_margins_adds_a_quarter_of_the_shorter_side(
    undiffuse: Command, run: Path, folder: Path
) -> None:
    said = undiffuse("edit", "outpaint", run, folder / "b.png", "--method", "ddnm", *QUICK)
    assert said.status == 0, said.err
    assert pixels(run / "edits" / "outpaint" / "b.png").shape == (12, 20)


def test_whoever_waits_may_ask_for_few_steps(undiffuse: Command, run: Path, picture: Path, mask: Path) -> None:
    """--quick is 50 steps of DPS and twice its gradient; what is typed beside it holds."""
    made = []
    for more in (("--quick",), ("--scale", 2), ("--quick", "--scale", 1)):
        slow = ("--steps", 15, "--device", "cpu")
        words = ("edit", "inpaint", run, picture, "--mask", mask, "--overwrite", "--no-strips", *more, *slow)
        assert undiffuse(*words).status == 0
        made.append(pixels(run / "edits" / "inpaint" / "square.png"))
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.mark.filterwarnings("always:.quick")
def test_a_wish_to_be_quick_that_changes_nothing_is_said(
    undiffuse: Command, run: Path, picture: Path, mask: Path
) -> None:
    said = undiffuse("edit", "inpaint", run, picture, "--mask", mask, "--method", "ddnm", "--quick", *QUICK)
    assert (said.status, said.err.strip()) == (
        0,
        "undiffuse: --quick changes nothing here: it acts with --method dps",
    )


def test_nothing_is_overwritten_unasked(undiffuse: Command, run: Path, picture: Path) -> None:
    words = ("edit", "vary", run, picture, *QUICK)
    assert undiffuse(*words).status == 0
    again = undiffuse(*words)
    assert again.status == 2
    assert "exists already" in again.err
    assert undiffuse(*words, "--overwrite").status == 0


def bad_inputs(tmp_path: Path, picture: Path, mask: Path) -> dict[str, tuple[tuple[Any, ...], str]]:
    wide = write_mask(tmp_path / "wide.png", (8, 9))
    color = tmp_path / "colour.png"
    Image.new("RGB", (8, 8), "red").save(color)
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:60])
    text = tmp_path / "text.png"
    text.write_text("hello")
    black = tmp_path / "black.png"
    Image.new("L", (8, 8)).save(black)
    empty = tmp_path / "empty"
    empty.mkdir()
    return {
        "a mask of another size": (("inpaint", picture, "--mask", wide), "has 8 x 9 pixels"),
        "no mask": (("inpaint", picture), "needs --mask"),
        "a mask of nothing": (("inpaint", picture, "--mask", black), "nothing to paint"),
        "a mask that is no picture": (("inpaint", picture, "--mask", text), "text.png"),
        "a strength above 1": (("vary", picture, "--strength", 1.5), "lies in 0..1"),
        "a strength below 0": (("vary", picture, "--strength", "-0.5"), "lies in 0..1"),
        "colour for a grey model": (("vary", color), "has 3 channels where 1 are wanted; try --channels grey"),
        "a damaged picture": (("vary", broken), "broken.png"),
        "no picture": (("vary", text), "text.png"),
        "nothing there": (("vary", tmp_path / "nowhere.png"), "is not there"),
        "an empty folder": (("vary", empty), "holds no pictures"),
        "a method that is none": (("inpaint", picture, "--mask", mask, "--method", "dsp"), "dsp"),
        "colour from a grey model": (("colorize", picture), "3 channels"),
        "a margin beyond any machine": (
            ("outpaint", picture, "--left", 10**8),
            "at most 80,000,000 pixels; 8 x 100,000,008",
        ),
        "a factor beyond any machine": (("upscale", picture, "--factor", 10**6), "8,000,000 x 8,000,000 are asked for"),
        "no blur": (("deblur", picture, "--std", 0), "--std cannot be '0'; it takes a number above 0"),
        "a sampler that is not inverted": (("invert", picture, "--sampler", "ddpm"), "Only DDIM"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "a mask of another size",
        "no mask",
        "a mask of nothing",
        "a mask that is no picture",
        "a strength above 1",
        "a strength below 0",
        "colour for a grey model",
        "a damaged picture",
        "no picture",
        "nothing there",
        "an empty folder",
        "a method that is none",
        "colour from a grey model",
        "a margin beyond any machine",
        "a factor beyond any machine",
        "no blur",
        "a sampler that is not inverted",
    ],
)
def test_a_mistake_is_one_sentence_and_exit_status_2(
    undiffuse: Command, finished: Path, picture: Path, mask: Path, tmp_path: Path, case: str
) -> None:
    words, expected = bad_inputs(tmp_path, picture, mask)[case]
    said = undiffuse("edit", words[0], finished, *words[1:], "--device", "cpu", "--out", tmp_path / "out")
    assert said.status == 2, said.out
    assert expected in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_pictures_of_different_sizes_are_not_joined(undiffuse: Command, finished: Path, folder: Path) -> None:
    said = undiffuse("edit", "interpolate", finished, folder / "a.png", folder / "b.png", *QUICK)
    assert said.status == 2
    assert "the first has 1 x 8 x 8 values" in said.err
    assert "the second 1 x 8 x 16" in said.err


def test_colour_becomes_grey_where_that_is_asked_for(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    color = tmp_path / "colour.png"
    Image.new("RGB", (8, 8), (200, 100, 50)).save(color)
    said = undiffuse("edit", "vary", run, color, "--channels", "grey", "--strength", 0, *QUICK)
    assert said.status == 0, said.err
    assert np.array_equal(pixels(run / "edits" / "vary" / "colour.png"), np.full((8, 8), 124))


@pytest.mark.parametrize("chunk", ["{", "[1]", '{"format": 2}', '{"format": 1, "command": "rm"}'])
def test_a_hostile_chunk_is_a_sentence(undiffuse: Command, tmp_path: Path, chunk: str) -> None:
    path, text = tmp_path / "hostile.png", PngInfo()
    text.add_text("undiffuse-edit", chunk)
    Image.new("L", (8, 8)).save(path, pnginfo=text)
    said = undiffuse("info", path)
    assert said.status == 2
    assert said.err.count("\n") == 1


@pytest.fixture(scope="session")
def knowing(tmp_path_factory: pytest.TempPathFactory, data: Path, tiny: list[str]) -> Path:
    """A run of the same pictures that was told two classes, cats and dogs."""
    folder = tmp_path_factory.mktemp("knowing")
    for k, image in enumerate(np.load(data)):
        place = folder / "data" / ("cats", "dogs")[k % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{k}.png")
    argv = ["train", str(folder / "data"), "--runs", str(folder), "--name", "pets", "--condition", "class", *tiny]
    assert main(argv) == 0
    return folder / "pets"


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, data: Path, tiny: list[str]) -> Path:
    """A run that makes 4 x 4 to 8 x 8."""
    runs = tmp_path_factory.mktemp("stages")
    assert main(["train", str(data), "--upscale", "2", "--runs", str(runs), "--name", "up", *tiny]) == 0
    assert main(["train", str(data), "--size", "4", "--runs", str(runs), "--name", "base", *tiny]) == 0
    return runs / "up"


@pytest.mark.filterwarnings("always:.*pictures? comes? back")
def test_a_folder_is_translated_with_its_error_and_strips(
    undiffuse: Command, knowing: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "b.png").unlink()
    words = ("edit", "translate", knowing, folder, "--from", "cats", "--to", "dogs", "--out", tmp_path / "out")
    said = undiffuse(*words, *QUICK)
    assert said.status == 0, said.err
    assert said.out.count("is given back by its inversion within") == 2
    written = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert written == [
        "a-strip.png",
        "a.png",
        "c-strip.png",
        "c.png",
    ]
    found = read_metadata(tmp_path / "out" / "a.png").edited
    assert found is not None
    assert undiffuse(*found.command[1:], "--out", tmp_path / "again").status == 0
    assert np.array_equal(pixels(tmp_path / "out" / "a.png"), pixels(tmp_path / "again" / "a.png"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--to", "dog"), "There is no class 'dog'; perhaps you meant 'dogs'"),
        (("--to", "dogs", "--from", "cat"), "There is no class 'cat'; perhaps you meant 'cats'"),
        (("--from", "cats"), "This needs --to"),
        (("--to", "dogs", "--strength", 1.5), "lies in 0..1"),
        (("--to", "dogs", "--strength", 0, "--steps", 3), "above 0"),
        (("--to", "dogs", "--sampler", "ddpm"), "Only DDIM"),
        (("--to", "dogs", "-n", 2), "leave out -n"),
    ],
)
def test_a_wrong_translation_is_one_sentence(
    undiffuse: Command, knowing: Path, picture: Path, words: tuple[Any, ...], expected: str
) -> None:
    said = undiffuse("edit", "translate", knowing, picture, *words, "--device", "cpu")
    assert said.status == 2, said.out
    assert expected in said.err
    assert said.err.count("\n") == 1


def test_a_model_without_classes_is_asked_for_one_in_vain(undiffuse: Command, finished: Path, picture: Path) -> None:
    for words in (("translate", "--to", "dogs"), ("vary", "--class", "dogs")):
        said = undiffuse("edit", words[0], finished, picture, *words[1:], *QUICK)
        assert said.status == 2
        assert "trained without classes" in said.err
        assert said.err.count("\n") == 1


def test_a_stage_upscales_by_its_own_factor_and_stands_in_a_cascade(
    undiffuse: Command, stage: Path, picture: Path, tmp_path: Path
) -> None:
    said = undiffuse("edit", "upscale", stage, picture, "--out", tmp_path / "out", *QUICK)
    assert said.status == 0, said.err
    assert pixels(tmp_path / "out" / "square.png").shape == (16, 16)
    for words, expected in (
        (("edit", "upscale", stage, picture, "--factor", 3), "leave out --factor"),
        (("edit", "upscale", stage, picture, "--method", "dps"), "never learned to enlarge, and this one did"),
        (("edit", "upscale", stage, picture, "--augmentation", 0.9), "from 0 to 0.5"),
        (("edit", "vary", stage, picture), "edits nothing else"),
        (("sample", stage), "undiffuse cascade make"),
        (("cascade", "make", stage.parent / "base", stage), "needs --name"),
        (("cascade", "make", stage.parent / "base", stage, "--name", "a/b"), "a folder's name"),
    ):
        said = undiffuse(*words)
        assert said.status == 2, words
        assert expected in said.err
    made = undiffuse("cascade", "make", stage.parent / "base", stage, "--name", "both", "--runs", tmp_path)
    assert made.status == 0, made.err
    said = undiffuse("sample", tmp_path / "both", "-n", 3, "--out", tmp_path / "drawn", *QUICK)
    assert said.status == 0, said.err
    again = undiffuse("sample", "--from", tmp_path / "drawn" / "00002.png")
    assert "identical, every one" in again.out
    about = json.loads(undiffuse("info", tmp_path / "both", "--json").out)
    assert {name: part["shape"] for name, part in about["cascade"].items()} == {"base": [1, 4, 4], "stage 1": [1, 8, 8]}
    said = undiffuse("edit", "vary", tmp_path / "both", picture, *QUICK)
    assert said.status == 2
    assert "edits nothing else" in said.err


def test_larger_pictures_are_edited_in_tiles_or_whole(undiffuse: Command, run: Path, folder: Path) -> None:
    made = []
    for overlap in ("none", 2):
        words = ("edit", "vary", run, folder / "b.png", "--overlap", overlap, "--overwrite", *QUICK)
        assert undiffuse(*words).status == 0
        made.append(pixels(run / "edits" / "vary" / "b.png"))
    assert made[0].shape == made[1].shape == (8, 16)
    assert not np.array_equal(*made)
