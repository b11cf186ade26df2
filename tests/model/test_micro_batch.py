"""One picture costs one picture: how many go together is a rule, and what was drawn says which."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.dormand_prince import Tolerance
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.editing import Editor, invert, vary
from undiffuse.editing.editor import edit_plan
from undiffuse.editing.inversion import Inverter
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.anomaly.evaluate import rebuild
from undiffuse.evaluation.anomaly.scores import ReconstructionSettings
from undiffuse.evaluation.images import Images
from undiffuse.evaluation.likelihood.evaluate import bound, ode
from undiffuse.evaluation.options import MeasureOptions
from undiffuse.evaluation.quality.image_source import ModelSamples
from undiffuse.evaluation.samplers.comparison import Contest, compare
from undiffuse.evaluation.samplers.optimal_timesteps import measure_error
from undiffuse.export.program import describe
from undiffuse.export.sample_onnx import Network, in_micro_batches
from undiffuse.model import Cascade, Model, build_model
from undiffuse.model.micro_batch import micro_batch
from undiffuse.model.sample_writer import Writing, draw_to, micro_batch_in
from undiffuse.provenance.png import read_metadata
from undiffuse.recipes import RECIPES

QUICK = SampleConfig.of(sampler="ddim", steps=2)
LARGE = (1, 192, 192)
"""With the network below, 294,912 activations."""


def model_of(shape: tuple[int, ...], upscale: int = 1, **changes: object) -> Model:
    info = DataInfo("things", "0" * 64, 10, shape, "uint8", 0.0, 255.0, (0.0,) * shape[0], (0.5,) * shape[0])
    network = UNetConfig(base=8, multipliers=(1,), blocks=1, attention_levels=(), middle_attention=False, **changes)
    told = ConditionConfig(upscale=upscale)
    model = build_model(TrainConfig(network=network, diffusion=DiffusionConfig(timesteps=50), conditions=told), info)
    dice = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=dice)
    origin = {"checkpoint": "runs/x/checkpoints/step-00000007", "step": 7, "weights": "0.9", "sha256": "a" * 64}
    return replace(model, provenance=origin)


@dataclass(frozen=True)
class Given:
    """Images in the place of a prepared data set."""

    info: DataInfo
    images: np.ndarray


def rows_of(model: Model) -> list[int]:
    """Rows of each evaluation of the network from now on."""
    found: list[int] = []
    model.network.register_forward_pre_hook(lambda _, args: found.append(len(args[0])))
    return found


# --- the rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "shape", "cpu", "cuda"),
    [
        ("digits", (1, 28, 28), 4, 16),
        ("small", (1, 8, 8), 16, 16),
        ("small", (3, 32, 32), 4, 16),
        ("ho2020-cifar10", (3, 32, 32), 4, 16),
        ("ho2020-celebahq256", (3, 256, 256), 1, 1),
    ],
)
def test_large_pictures_go_one_by_one_and_small_ones_together(
    recipe: str, shape: tuple[int, ...], cpu: int, cuda: int
) -> None:
    info = DataInfo("things", "0" * 64, 10_000, shape, "uint8", 0.0, 255.0, (0.0,) * shape[0], (0.5,) * shape[0])
    work = RECIPES[recipe].build(info).network.activations(info.spatial)
    assert (micro_batch(work, "cpu"), micro_batch(work, "cuda")) == (cpu, cuda)


def test_patches_count_as_positions() -> None:
    assert UNetConfig(base=32, patch=2).activations((28, 28)) == 14 * 14 * 32
    assert UNetConfig(base=32).activations((100,)) == 3200


def test_more_work_never_makes_a_larger_micro_batch() -> None:
    for device in ("cpu", "cuda", "mps"):
        sizes = [micro_batch(2.0**k, device) for k in range(30)]
        assert sizes == sorted(sizes, reverse=True)
        assert (sizes[0], sizes[-1]) == (16, 1)


def test_the_number_of_threads_is_no_part_of_the_rule() -> None:
    model, threads = model_of((1, 32, 32)), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = model.plan(QUICK).settings
        torch.set_num_threads(2)
        assert model.plan(QUICK).settings == alone
    finally:
        torch.set_num_threads(threads)


def test_settled_settings_hold_the_number_and_keep_one_that_was_asked_for() -> None:
    model = model_of((1, 16, 16))
    assert SampleConfig().compute.micro_batch is None
    settled = model.plan(SampleConfig()).settings
    assert settled.compute.micro_batch == 16
    assert model.plan(settled).settings == settled
    assert model.plan(SampleConfig.of(micro_batch=3)).settings.compute.micro_batch == 3
    assert model_of(LARGE).plan(SampleConfig()).settings.compute.micro_batch == 1
    with pytest.raises(UndiffuseError, match="`micro_batch` of at least 1"):
        model.sample(1, micro_batch=0)


# --- what it costs, and the bits --------------------------------------------------------------------------------------


def test_one_large_picture_costs_one_picture_however_it_is_drawn(tmp_path: Path) -> None:
    model = model_of(LARGE)
    rows = rows_of(model)
    model.sample(1, settings=QUICK)
    draw_to(tmp_path, model.plan(QUICK), range(1))
    list(model.plan(QUICK).iterate(range(1)))
    list(ModelSamples(model.plan(QUICK), 1).blocks(range(1)))
    compare(model, Contest(("ddim",), (2,), n=1))
    assert rows == [1] * 10


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 28, 28), LARGE])
def test_a_picture_has_the_same_bits_for_any_count(shape: tuple[int, ...]) -> None:
    model = model_of(shape)
    size = model.micro_batch
    rows = rows_of(model)
    whole = model.sample(size + 2, settings=QUICK).array
    for n in (1, 2, size + 1):
        assert np.array_equal(model.sample(n, settings=QUICK).array, whole[:n])
    assert set(rows) == {size}


def test_what_was_drawn_says_how_many_went_together_and_is_drawn_so_again(tmp_path: Path) -> None:
    model = model_of((1, 28, 28))  # 6,272 activations
    model.sample(3, settings=QUICK).save(tmp_path / "now")
    model.sample(3, settings=QUICK, micro_batch=16).save(tmp_path / "yesterday")
    rows = rows_of(model)
    for name, size in (("now", 4), ("yesterday", 16)):
        file = tmp_path / name / "00002.png"
        made_by = read_metadata(file).origin
        assert made_by is not None
        assert made_by.sample.compute.micro_batch == size
        again = model.sample(1, made_by.seed, first=2, settings=made_by.sample)
        again.save(tmp_path / f"{name} again")
        assert (tmp_path / f"{name} again" / "00002.png").read_bytes() == file.read_bytes()
    assert rows == [4, 4, 16, 16]


def test_a_set_that_was_begun_with_another_size_goes_on_with_it(tmp_path: Path) -> None:
    model = model_of((1, 28, 28))
    before = QUICK.changed(micro_batch=16)
    draw_to(tmp_path / "begun", model.plan(before), range(3))
    assert micro_batch_in(tmp_path / "begun", range(20), model.info) == 16
    draw_to(tmp_path / "begun", model.plan(QUICK).with_micro_batch(16), range(20), writing=Writing(resume=True))
    draw_to(tmp_path / "whole", model.plan(before), range(20))
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "begun" / path.name).read_bytes()
    with pytest.raises(UndiffuseError, match="with micro_batch 16, not 4"):
        draw_to(tmp_path / "begun", model.plan(QUICK), range(20), writing=Writing(resume=True))


def test_moments_end_in_the_samples_of_as_many_micro_batches_as_it_takes() -> None:
    model = model_of((1, 28, 28))
    found = list(model.plan(QUICK).iterate(range(6), 3))
    assert [len(moment.x) for moment in found] == [6, 6, 6]
    assert [moment.eps is None for moment in found] == [False, False, True]
    drawn = model.sample(6, 3, settings=QUICK).array
    ended = np.rint((found[-1].x.clamp(-1, 1).numpy() + 1) * 127.5).astype(np.uint8)
    assert np.abs(ended.astype(int) - drawn).max() <= 1
    assert torch.equal(found[0].x, next(iter(model.plan(QUICK).iterate(range(9), 3))).x[:6])


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "ode"])
def test_every_sampler_draws_a_large_picture_alone(name: str) -> None:
    model = model_of((1, 1 << 15))
    rows = rows_of(model)
    model.sample(1, sampler=name, steps=2)
    assert set(rows) == {1}


def test_a_cascade_draws_below_what_it_enlarges_and_no_more() -> None:
    base = model_of((1, 96, 96))
    cascade = Cascade((base, model_of(LARGE, upscale=2)))
    below, above = rows_of(base), rows_of(cascade.top)
    assert base.micro_batch == 4
    assert cascade.micro_batch == 1
    cascade.sample(1, settings=QUICK)
    assert (below, above) == ([1, 1], [1, 1])


# --- edits ------------------------------------------------------------------------------------------------------------


def test_edits_walk_pictures_one_by_one_so_that_none_depends_on_another() -> None:
    model = model_of((1, 8, 8))
    pictures = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1
    settings = SampleConfig.of(sampler="ddim", steps=2)
    rows = rows_of(model)
    exact = Inverter(exact=True, iterations=3)  # which ends when every picture of a batch is done
    together = [vary(Editor.of(model, settings), pictures), invert(Editor.of(model, settings), pictures, exact).latents]
    assert set(rows) == {1}
    for k in range(3):
        editor, one = Editor.of(model, settings, indices=(k,)), pictures[k : k + 1]
        assert torch.equal(vary(editor, one), together[0][k : k + 1])
        assert torch.equal(invert(editor, one, exact).latents, together[1][k : k + 1])
    assert edit_plan(model, settings).micro_batch == 1


def test_edits_walk_as_many_together_as_is_asked_for() -> None:
    model = model_of((1, 16, 16))
    rows = rows_of(model)
    vary(Editor.of(model, SampleConfig.of(sampler="ddim", steps=2, micro_batch=16)), torch.zeros(3, 1, 16, 16))
    assert set(rows) == {3}


def test_tiles_go_together_as_pictures_of_their_size_do() -> None:
    model = model_of((1, 28, 28))
    rows = rows_of(model)
    vary(Editor.of(model, SampleConfig.of(sampler="ddim", steps=2), overlap=0), torch.zeros(1, 1, 84, 56), 1.0)
    assert rows == [4, 2, 4, 2]  # six tiles


# --- what is measured of images, and what was exported ----------------------------------------------------------------


def test_the_bound_and_the_reconstructions_of_an_image_are_the_same_bits_beside_any_others() -> None:
    model = model_of((1, 28, 28))
    values = np.random.default_rng(0).integers(0, 256, (6, 1, 28, 28), np.uint8)
    images = Images(Given(model.info, values), model.info, tuple(range(6)))  # type: ignore[arg-type]
    look, rows = ReconstructionSettings(draws=1), rows_of(model)
    whole = bound(model, images, count=4).total, rebuild(model, images, look)
    for k in (0, 3, 5):
        one = images.take([k])
        assert torch.equal(bound(model, one, count=4).total, whole[0][k : k + 1])
        assert np.array_equal(rebuild(model, one, look), whole[1][k : k + 1])
    assert set(rows) == {4}
    rows.clear()
    bound(model, images, count=2, how=MeasureOptions(batch=32))
    ode(model, images, probes=1, tolerance=Tolerance(10.0, 10.0))
    assert rows[:2] == [6, 6]  # as many as there are, where a size is asked for
    assert max(rows[2:]) == 4


def test_what_is_measured_of_a_large_image_takes_one_at_a_time() -> None:
    model = model_of(LARGE)
    values = np.random.default_rng(0).integers(0, 256, (2, *LARGE), np.uint8)
    images = Images(Given(model.info, values), model.info, (0, 1))  # type: ignore[arg-type]
    rows = rows_of(model)
    bound(model, images, count=2)
    measure_error(model, 2, (2,), count=4)
    assert set(rows) == {1}


def test_an_exported_network_is_asked_for_whole_micro_batches() -> None:
    model = model_of((1, 28, 28))

    class Recorded(Network):
        def __init__(self) -> None:
            self.about = json.loads(json.dumps(describe(model)))
            self.rows = {name: np.array(column) for name, column in self.about["rows"].items()}
            self.session = self

        def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            with torch.no_grad():
                return [model.network(torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["time"])).numpy()]

    network, rows = Recorded(), rows_of(model)
    noise = np.random.default_rng(0).standard_normal((6, 1, 28, 28), np.float32)
    whole = in_micro_batches(network, noise, "ddim", 2, {}, 1.0)
    for n in (1, 5):
        assert np.array_equal(in_micro_batches(network, noise[:n], "ddim", 2, {}, 1.0), whole[:n])
    assert set(rows) == {4}
    del network.about["micro_batch"]  # a file of before
    rows.clear()
    in_micro_batches(network, noise, "ddim", 2, {}, 1.0)
    assert set(rows) == {6}
