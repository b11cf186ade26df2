"""A model around a live pipeline of diffusers."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import undiffuse
from undiffuse.diffusion.dormand_prince import Tolerance
from undiffuse.diffusion.trajectory import Noise
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.images import choose
from undiffuse.evaluation.likelihood.evaluate import bound, ode
from undiffuse.evaluation.options import MeasureOptions

diffusers = pytest.importorskip("diffusers", reason="takes pipelines of diffusers, which is not installed")

SMALL = {
    "sample_size": 16,
    "block_out_channels": (16, 32),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 8,
}


def pipeline_of(scheduler=None, **options):
    """A pipeline of a random network, which says little: at t = T its rounding errors grow by 1 / alpha = 157."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(**{**SMALL, **options}).eval()
    unet.conv_out.weight.data *= 0.1
    return diffusers.DDPMPipeline(unet, scheduler or diffusers.DDPMScheduler())


@pytest.fixture(scope="module")
def pipeline():
    return pipeline_of()


@pytest.fixture(scope="module")
def model(pipeline):
    return undiffuse.from_diffusers(pipeline)


PROCESSES = {
    "ddpm": {},
    "v": {"prediction_type": "v_prediction", "beta_schedule": "squaredcos_cap_v2"},
    "sample": {"prediction_type": "sample", "beta_schedule": "scaled_linear"},
    "short": {"num_train_timesteps": 100, "beta_end": 0.1},
}


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_it_draws_what_the_folder_of_the_pipeline_draws(tmp_path, process):
    pipeline = pipeline_of(diffusers.DDPMScheduler(**process))
    pipeline.save_pretrained(tmp_path / "folder")
    live, read = undiffuse.from_diffusers(pipeline), undiffuse.load(tmp_path / "folder")
    assert live.config.diffusion == read.config.diffusion
    for sampler in ("ddim", "ddpm", "dpm++2m"):
        plans = [model.plan(sampler=sampler, steps=5) for model in (live, read)]
        a, b = (list(plan.iterate(range(2)))[-1].x for plan in plans)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_learned_variance_and_classes_are_those_of_the_folder(tmp_path):
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range")
    pipeline = pipeline_of(scheduler, out_channels=6, num_class_embeds=4)
    pipeline.save_pretrained(tmp_path / "folder")
    drawn = [
        model.sample(4, sampler="ddpm", variance="learned", steps=5, classes=("2", "all"))
        for model in (undiffuse.from_diffusers(pipeline), undiffuse.load(tmp_path / "folder"))
    ]
    np.testing.assert_allclose(*(one.array.astype(int) for one in drawn), atol=1, rtol=0)
    with pytest.raises(UndiffuseError, match="never learned to draw without a class"):
        undiffuse.from_diffusers(pipeline).sample(1, classes=("none",))


def test_it_draws_the_picture_of_diffusers_own_loop(pipeline, model):
    scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(10)
    x = Noise(0, range(2)).normal(model.shape)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(pipeline.unet(x, t).sample, t, x, use_clipped_model_output=True).prev_sample
    ours = model.sample(2, sampler="ddim", steps=10, spacing="trailing").array
    theirs = model.codec.decode(x)
    assert theirs.std() > 20
    assert abs(ours.astype(int) - theirs).max() <= 1


def test_nothing_is_copied(pipeline, model):
    assert {id(p) for p in model.network.parameters()} == {id(p) for p in pipeline.unet.parameters()}


def test_drawing_leaves_a_network_that_is_trained_in_training_mode(pipeline):
    model = undiffuse.from_diffusers(pipeline)
    for training in (True, False):
        pipeline.unet.train(training)
        model.sample(1, steps=1)
        assert all(module.training is training for module in pipeline.unet.modules())


def test_it_is_edited_by_and_has_a_likelihood(model):
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    mask = np.zeros((16, 16), bool)
    mask[4:8, 4:8] = True
    filled = np.asarray(model.inpaint(picture, mask, steps=3))
    assert (filled[~mask] == picture[~mask]).all()
    assert (filled[mask] != picture[mask]).any()
    given = SimpleNamespace(info=replace(model.info, count=1), images=np.moveaxis(picture, -1, 0)[None])
    images, how = choose(given, model.info), MeasureOptions(batch=1)
    assert bound(model, images, count=3, how=how).total.isfinite().all()
    assert ode(model, images, tolerance=Tolerance(10.0, 10.0), how=how).values.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_file_takes_the_network_and_draws_the_same(tmp_path, dtype):
    pipeline = pipeline_of()
    pipeline.unet.to(dtype)
    model = undiffuse.from_diffusers(pipeline)
    path = model.save(tmp_path / "mine.safetensors")
    fresh = diffusers.UNet2DModel(**SMALL).to(dtype)
    again = undiffuse.load(path, network=fresh)
    drawn = [one.sample(2, steps=2).array.astype(int) for one in (again, model)]
    np.testing.assert_allclose(*drawn, atol=1 if dtype == torch.float32 else 10, rtol=0)
    assert drawn[0].std() > 20


def test_a_training_of_ours_takes_the_network(own_cache, tmp_path):
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    unet = diffusers.UNet2DModel(**SMALL)
    model = undiffuse.train(
        images, network=unet, parameterization="epsilon", steps=1, runs=tmp_path, quiet=True, sample_every=0
    )
    assert model.sample(1, steps=1).array.shape == (1, 3, 16, 16)


def with_part(**parts):
    pipeline = pipeline_of()
    given = {"unet": pipeline.unet, "scheduler": pipeline.scheduler, **parts}
    return SimpleNamespace(**given, components=given)


@pytest.mark.parametrize(
    ("pipeline", "sentence"),
    [
        (SimpleNamespace(transformer=nn.Linear(1, 1)), "this SimpleNamespace has no unet$"),
        (with_part(unet=nn.Linear(1, 1)), "has a Linear as its unet$"),
        (with_part(scheduler=None), "has no scheduler$"),
        (with_part(vqvae=nn.Linear(1, 1)), "has a 'vqvae': .* whose samples are the picture itself"),
        (with_part(scheduler=diffusers.ScoreSdeVeScheduler()), "'_class_name' in the scheduler of .* chain of betas"),
        (with_part(unet=pipeline_of(in_channels=4).unet), "'out_channels' in the unet of .* should be 4, or 8"),
        (with_part(unet=pipeline_of(class_embed_type="timestep").unet), "'class_embed_type' in the unet of"),
        (with_part(unet=pipeline_of(sample_size=None).unet), "'sample_size' in the unet of"),
        (with_part(unet=pipeline_of(out_channels=6).unet), "'variance_type' in the scheduler of"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_taken_is_one_sentence(pipeline, sentence):
    with pytest.raises(UndiffuseError, match=sentence) as caught:
        undiffuse.from_diffusers(pipeline)
    assert "\n" not in str(caught.value)


def test_load_names_the_function_for_pipelines(pipeline):
    with pytest.raises(UndiffuseError, match=r"got a DDPMPipeline; undiffuse\.from_diffusers takes a pipeline"):
        undiffuse.load(pipeline)
