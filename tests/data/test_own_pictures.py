"""Pictures that undiffuse wrote to be looked at are no data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from undiffuse.cli import main
from undiffuse.config.sampling import SampleConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.data.preparation.open_source import open_source
from undiffuse.data.read_image import find_pictures
from undiffuse.errors import UndiffuseError, counted
from undiffuse.model.samples import Samples
from undiffuse.provenance.own_pictures import WHY
from undiffuse.provenance.png import write_png
from undiffuse.visualization.animation_files import write_animation
from undiffuse.visualization.plot import Axis, Series, line_plot

Open = Callable[..., Dataset]
INFO = DataInfo("x", "0" * 64, 40, (1, 8, 8), "uint8", 0.0, 255.0, (0.0,), (1.0,))


def drawn(count: int, info: DataInfo = INFO) -> Samples:
    values = np.random.default_rng(0).integers(0, 256, (count, *info.shape))
    return Samples(values.astype(info.dtype), info, 0, tuple(range(count)), SampleConfig(), {})


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_folder_of_samples_holds_the_samples_and_not_their_grid(opened: Open, tmp_path: Path, count: int) -> None:
    drawn(count).save(tmp_path / "d", values=True)
    dataset = opened(tmp_path / "d")
    assert (dataset.info.count, dataset.info.shape) == (count, (1, 8, 8))
    assert dict(dataset.ignored) == {
        "grid.png": f"{WHY}a grid of {counted(count, 'sample')}",
        "samples.npz": f"{WHY}the values of the samples, which are here as pictures",
    }
    assert not dataset.refused


def test_grids_of_yesterday_are_told_by_their_origin(opened: Open, tmp_path: Path) -> None:
    samples = drawn(3)
    samples.save_pictures(tmp_path)
    write_png(tmp_path / "grid.png", samples.grid(), samples.origin(0, 3))
    write_png(tmp_path / "renamed.png", samples.grid(), samples.origin(0, 3))
    dataset = opened(tmp_path)
    assert dataset.info.count == 3
    assert [name for name, _ in dataset.ignored] == ["grid.png", "renamed.png"]


def test_a_grid_without_a_word_of_ours_is_an_image_like_any_other(opened: Open, tmp_path: Path) -> None:
    for number, image in enumerate(drawn(3).images()):
        image.save(tmp_path / ("grid.png" if number == 0 else f"{number}.png"))
    assert opened(tmp_path).info.count == 3


def test_what_undiffuse_wrote_beside_the_class_folders_takes_no_class_away(opened: Open, tmp_path: Path) -> None:
    for name in "ab":
        drawn(4).save(tmp_path / name)
    write_png(tmp_path / "photos-contact.png", drawn(4).grid(), sheet="a contact sheet")
    dataset = opened(tmp_path)
    assert (dataset.info.count, dataset.info.classes) == (8, ("a", "b"))


def test_films_strips_and_plots_among_samples_are_listed_and_left_out(opened: Open, tmp_path: Path) -> None:
    samples = drawn(3)
    samples.save(tmp_path)
    frames = [image.convert("RGB") for image in samples.images()]
    for suffix in ("webp", "gif"):
        write_animation(tmp_path / f"walk.{suffix}", frames)
    write_png(tmp_path / "walk.png", samples.grid(), sheet="a film strip")
    plot = line_plot([Series("loss", [0.0, 1.0], [1.0, 0.5])], Axis("step"), Axis("loss"), "Loss")
    (tmp_path / "d-on-digits.svg").write_text(plot)
    dataset = opened(tmp_path)
    assert dataset.info.count == 3
    assert not dataset.refused
    assert {name: why.removeprefix(WHY) for name, why in dataset.ignored} == {
        "grid.png": "a grid of 3 samples",
        "walk.png": "a film strip",
        "walk.webp": "a film",
        "walk.gif": "a film",
        "d-on-digits.svg": "a plot",
    }


def test_views_of_samples_are_not_measured_in_place_of_their_values(opened: Open, tmp_path: Path) -> None:
    floats = replace(INFO, dtype="float32")
    drawn(4, floats).save(tmp_path / "d")
    with pytest.raises(UndiffuseError, match=r"name the file that has the values: .*d/samples\.npz"):
        opened(tmp_path / "d")
    assert opened(tmp_path / "d" / "samples.npz").info.dtype == "float32"
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "d")
    drawn(4, floats).save(tmp_path / "sets" / "first")
    for source, beside in ((Path(archive), "samples.npz"), (tmp_path / "sets", "first/samples.npz")):
        with pytest.raises(UndiffuseError, match=f"to be looked at beside {beside}; name that file"):
            opened(source)


def test_a_folder_of_nothing_but_grids_says_what_they_are(opened: Open, tmp_path: Path) -> None:
    drawn(4).save(tmp_path / "d")
    for file in [*(tmp_path / "d").glob("0*.png"), *(tmp_path / "d").glob("*.npz")]:
        file.unlink()
    with pytest.raises(UndiffuseError, match=r"none but what undiffuse made to be looked at: grid.png \(a grid of 4 "):
        opened(tmp_path / "d")


def test_what_is_left_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    drawn(5).save("d")
    assert main(["data", "d"]) == 0
    said = capsys.readouterr()
    assert "d: 5 images" in said.out
    assert "a grid of 5 samples: grid.png" in said.out
    assert "left out of d: grid.png (a grid of 5 samples)" in said.err
    assert main(["data", ".", "--out", "again-contact.png"]) == 0, "the first contact sheet is no image of the set"
    assert "5 images" in capsys.readouterr().out


def test_a_folder_of_pictures_to_edit_leaves_their_grid_out(tmp_path: Path) -> None:
    drawn(2).save(tmp_path)
    assert [path.name for path in find_pictures(tmp_path)] == ["00000.png", "00001.png"]


@pytest.mark.parametrize("text", ["{", "[1]", '{"count": "9"}', '{"shape": [1]}', "x" * 9000, "null", "[" * 5000])
def test_words_that_are_not_ours_do_not_hide_a_picture(opened: Open, tmp_path: Path, text: str) -> None:
    chunks = PngInfo()
    chunks.add_text("undiffuse", text)
    for number, image in enumerate(drawn(3).images()):
        image.save(tmp_path / ("grid.png" if number == 0 else f"{number}.png"), pnginfo=chunks)
    assert opened(tmp_path).info.count == 3


def test_a_run_is_no_data(tmp_path):
    """Its pictures are previews, which measured the model's early steps where somebody typed --reference RUN."""
    run = tmp_path / "my run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("recipe: small\n")
    (run / "samples").mkdir()
    Image.new("L", (8, 8)).save(run / "samples" / "step-10.png")
    with pytest.raises(UndiffuseError, match=r"is a run and holds pictures for the eye alone: .*sample '.*my run'"):
        open_source(str(run))
    (run / "config.yaml").unlink()
    assert open_source(str(run)).name == "my run"
