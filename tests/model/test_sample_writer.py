"""Sets of samples on disk: constant memory, and what was interrupted ends as if it had not been."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.factories.schedule import make_schedule
from undiffuse.model import Model
from undiffuse.model.plan import SamplePlan
from undiffuse.model.sample_writer import PARTS, Drawn, Writing, draw_to
from undiffuse.model.samples import Samples
from undiffuse.provenance.npz import read_npz
from undiffuse.provenance.png import read_metadata
from undiffuse.runtime.process_group import ALONE, Group

FAST = SampleConfig.of(sampler="ddim", steps=1, micro_batch=4)


class Still(nn.Module):
    """A network that costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return self.gain * x


def model_of(dtype: str = "uint8", side: int = 6, sha256: str = "a" * 64) -> Model:
    low, high = (0.0, 255.0) if dtype == "uint8" else (-2.0, 3.0)
    info = DataInfo("things", "0" * 64, 10, (1, side, side), dtype, low, high, (0.0,), (0.5,))
    config = TrainConfig()
    origin = {"checkpoint": "runs/x/checkpoints/step-00000007", "step": 7, "weights": "0.9", "sha256": sha256}
    return Model(Still(), make_schedule(config.diffusion), config, info, origin)


def write(
    folder: Path,
    model: Model,
    indices: range,
    seed: int = 0,
    *,
    settings: SampleConfig,
    group: Group = ALONE,
    **how: Any,
) -> Drawn:
    return draw_to(folder, model.plan(settings), indices, seed, Writing(**how), group)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Killed(BaseException):
    """As SIGKILL would: nothing of ours catches it."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Put a number into the list, and the process dies before it moves that file to its place."""
    left: list[int] = []
    move = Path.replace

    def moving(self: Path, target: Path) -> Path:
        if left:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        return move(self, target)

    monkeypatch.setattr(Path, "replace", moving)
    return left


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("first", [0, 3])
def test_the_files_hold_what_sample_gives(tmp_path: Path, dtype: str, first: int) -> None:
    model, indices = model_of(dtype), range(first, first + 10)
    write(tmp_path, model, indices, 5, settings=FAST, values=True)
    samples = model.sample(10, 5, first=first, settings=FAST)
    assert np.array_equal(read_npz(tmp_path / "samples.npz"), samples.array)
    samples.save(tmp_path / "python", values=True)
    python = contents(tmp_path / "python")
    assert set(python) == {*(f"{i:05d}.png" for i in indices), "grid.png", "samples.npz"}
    assert {name: (tmp_path / name).read_bytes() for name in python} == python
    assert not (tmp_path / PARTS).exists()


@pytest.mark.parametrize("moves", range(17))
def test_what_was_killed_at_any_file_goes_on_to_the_same_bytes(
    tmp_path: Path, killed_at: list[int], moves: int
) -> None:
    model = model_of("float32")
    write(tmp_path / "whole", model, range(10), settings=FAST)
    killed_at.append(moves)
    if moves < 15:  # 10 pictures, 3 blocks' values, the grid and the joined values
        with pytest.raises(Killed):
            write(tmp_path / "torn", model, range(10), settings=FAST)
        assert any("partial" in path.name for path in (tmp_path / "torn").rglob(".*"))
    killed_at.clear()
    drawn = write(tmp_path / "torn", model, range(10), settings=FAST, resume=True)
    assert contents(tmp_path / "torn") == contents(tmp_path / "whole")
    assert drawn.new + drawn.kept == 10
    assert drawn.kept == (0 if moves < 5 else 4 if moves < 10 else 8 if moves < 13 else 10 if moves < 15 else 0)


def test_only_blocks_that_lack_a_picture_are_drawn_again(tmp_path: Path) -> None:
    model = model_of()
    write(tmp_path, model, range(12), settings=FAST)
    before = contents(tmp_path)
    (tmp_path / "00005.png").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("0*.png")}
    drawn = write(tmp_path, model, range(12), settings=FAST, resume=True)
    assert (drawn.new, drawn.kept) == (4, 8)
    assert contents(tmp_path) == before
    kept = [f"{i:05d}.png" for i in (*range(4), *range(8, 12))]
    assert all((tmp_path / name).stat().st_mtime_ns == times[name] for name in kept)


@pytest.mark.parametrize("keep", [0, 1, 30, 200, -1])
def test_a_half_written_picture_is_drawn_again(tmp_path: Path, keep: int) -> None:
    model = model_of()
    write(tmp_path, model, range(4), settings=FAST)
    before = contents(tmp_path)
    path = tmp_path / "00002.png"
    path.write_bytes(path.read_bytes()[:keep])
    if keep == 1:  # that is no PNG file: somebody's own
        with pytest.raises(UndiffuseError, match="nobody knows what"):
            write(tmp_path, model, range(4), settings=FAST, resume=True)
        return
    assert write(tmp_path, model, range(4), settings=FAST, resume=True).new == 4
    assert contents(tmp_path) == before


def test_a_picture_with_a_hole_is_drawn_again(tmp_path: Path) -> None:
    """A disk that lost its power may give back zeros where pixels were."""
    model = model_of()
    write(tmp_path, model, range(4), settings=FAST)
    path = tmp_path / "00002.png"
    data = path.read_bytes()
    start = data.index(b"IDAT") + 6
    path.write_bytes(data[:start] + bytes(8) + data[start + 8 :])
    assert write(tmp_path, model, range(4), settings=FAST, resume=True).new == 4
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "with seed 0, not 1"),
        ({"settings": FAST.changed(steps=2)}, "with steps 1, not 2"),
        ({"settings": FAST.changed(threshold="none")}, "with threshold clip, not none"),
        ({"model": model_of(sha256="b" * 64)}, "with other weights"),
        ({"model": model_of(side=7)}, r"with shape \(1, 6, 6\), not \(1, 7, 7\)"),
    ],
    ids=["seed", "steps", "threshold", "weights", "shape"],
)
def test_nothing_goes_on_with_other_settings(tmp_path: Path, change: dict, words: str) -> None:
    arguments = {"model": model_of(), "seed": 0, "settings": FAST}
    write(tmp_path, indices=range(6), **arguments)
    before = contents(tmp_path)
    with pytest.raises(UndiffuseError, match=words):
        write(tmp_path, indices=range(8), **{**arguments, **change}, resume=True)
    assert contents(tmp_path) == before
    write(tmp_path, indices=range(8), **{**arguments, **change}, resume=True, overwrite=True)
    write(tmp_path / "fresh", indices=range(8), **{**arguments, **change})
    (fresh := contents(tmp_path / "fresh"))
    assert {name: (tmp_path / name).read_bytes() for name in fresh} == fresh


def test_values_of_other_samples_are_not_joined(tmp_path: Path, killed_at: list[int]) -> None:
    """A killed set's values, and then another set's pictures without values, in one folder."""
    model = model_of()
    killed_at.append(13)
    with pytest.raises(Killed):
        write(tmp_path, model, range(10), 1, settings=FAST, values=True)
    killed_at.clear()
    (leftover,) = sorted((tmp_path / PARTS).glob("*.npz"))[:1]
    stale = leftover.read_bytes()
    write(tmp_path, model, range(10), 2, settings=FAST, overwrite=True)
    (tmp_path / PARTS).mkdir()
    leftover.write_bytes(stale)
    write(tmp_path, model, range(10), 2, settings=FAST, values=True, resume=True)
    assert np.array_equal(read_npz(tmp_path / "samples.npz"), model.sample(10, 2, settings=FAST).array)


def test_a_finished_set_can_grow(tmp_path: Path) -> None:
    model = model_of("float32")
    write(tmp_path / "a", model, range(6), settings=FAST)
    assert write(tmp_path / "a", model, range(6), settings=FAST, resume=True).new == 0
    write(tmp_path / "a", model, range(11), settings=FAST, resume=True)
    write(tmp_path / "b", model, range(11), settings=FAST)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    for name in (".00001.png.77.partial", ".samples.npz.77.partial", ".film.mp4.partial", ".00001.png"):
        (tmp_path / name).touch()
    write(tmp_path, model_of(), range(2), settings=FAST)
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".00001.png", ".film.mp4.partial"]


def test_a_model_that_nobody_saved_cannot_go_on(tmp_path: Path) -> None:
    model = replace(model_of(), provenance={})
    write(tmp_path, model, range(2), settings=FAST)
    with pytest.raises(UndiffuseError, match=r"takes a model from undiffuse\.load"):
        write(tmp_path, model, range(2), settings=FAST, resume=True)


def test_what_is_there_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "grid.png").write_bytes(b"mine")
    for resume in (False, True):
        with pytest.raises(UndiffuseError, match=r"grid\.png"):
            write(tmp_path, model_of(), range(3), settings=FAST, resume=resume)
    assert contents(tmp_path) == {"grid.png": b"mine"}


@dataclass(frozen=True)
class Half(Group):
    """One of two processes, run one after the other."""

    def barrier(self) -> None:
        pass


def test_processes_share_the_blocks_out_into_one_folder(tmp_path: Path) -> None:
    model = model_of("float32")
    settings = {"settings": FAST, "resume": True}
    other = write(tmp_path / "two", model, range(10), **settings, group=Half(1, 2))
    assert sorted(path.name for path in (tmp_path / "two").glob("*.png")) == ["00008.png", "00009.png"]
    lead = write(tmp_path / "two", model, range(10), **settings, group=Half(0, 2))
    assert (other.new, lead.new) == (2, 8)
    write(tmp_path / "one", model, range(10), **settings)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_of_two_thousand_samples_one_block_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While they are drawn, and while their values are joined."""
    arrays: list[weakref.ref[np.ndarray]] = []
    alive: list[int] = []

    def seen(array: np.ndarray) -> None:
        arrays.append(weakref.ref(array))
        alive.append(sum(ref() is not None for ref in arrays))

    def drawing(self: SamplePlan, *arguments: Any, **options: Any) -> Iterator[Samples]:
        for samples in draw(self, *arguments, **options):
            seen(samples.array)
            yield samples

    def reading(path: Path) -> np.ndarray:
        array = read_npz(path)
        seen(array)
        return array

    draw = SamplePlan.draw
    monkeypatch.setattr(SamplePlan, "draw", drawing)
    monkeypatch.setattr("undiffuse.model.sample_writer.read_npz", reading)
    write(tmp_path, model_of(), range(2000), settings=FAST.changed(micro_batch=40), values=True)
    assert len(arrays) == 50 + 50
    assert max(alive) <= 3
    assert len(list(tmp_path.glob("0*.png"))) == 2000


def test_a_grid_shows_the_first_four_hundred(tmp_path: Path) -> None:
    model, settings = model_of(), FAST.changed(micro_batch=64)
    write(tmp_path, model, range(3, 413), settings=settings)
    origin = read_metadata(tmp_path / "grid.png").origin
    assert (origin.index, origin.count) == (3, 400)
    model.sample(410, first=3, settings=settings).save(tmp_path / "python")
    assert (tmp_path / "python" / "grid.png").read_bytes() == (tmp_path / "grid.png").read_bytes()


def test_blocks_are_cut_at_multiples_of_the_micro_batch() -> None:
    plan = model_of().plan(FAST.changed(micro_batch=4))
    assert plan.blocks(range(3, 11)) == [range(3, 4), range(4, 8), range(8, 11)]
    assert plan.blocks(range(5, 7)) == [range(5, 7)]
    assert plan.blocks(range(8)) == [range(4), range(4, 8)]


def test_sixteen_bit_pictures_are_the_values(tmp_path: Path) -> None:
    model = model_of()
    model.info = replace(model.info, dtype="uint16", high=65535.0)
    write(tmp_path, model, range(5), settings=FAST)
    array = model.sample(5, settings=FAST).array
    for index in range(5):
        with Image.open(tmp_path / f"{index:05d}.png") as image:
            assert np.array_equal(np.asarray(image), array[index, 0])
    before = contents(tmp_path)
    (tmp_path / "grid.png").unlink()
    assert write(tmp_path, model, range(5), settings=FAST, resume=True).new == 0
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UndiffuseError, match="could not write to"):
        write(tmp_path / "file" / "out", model_of(), range(2), settings=FAST)
