"""A folder of diffusers as the teacher: it predicts eps, knows no data and no samplers of students."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import undiffuse
from undiffuse.config.distillation import student_of
from undiffuse.config.files import read_config
from undiffuse.errors import UndiffuseError

diffusers = pytest.importorskip("diffusers", reason="distils a model of diffusers, which is not installed")
QUICK = {"quiet": True, "updates": 1, "batch": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def theirs(own_cache, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("foreign") / "theirs"
    unet = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        add_attention=False,
    )
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", ["progressive", "jump", "consistency", "regression", "distribution"])
def test_a_folder_of_diffusers_is_matched_in_v_and_distilled(theirs, tmp_path, method):
    dice = np.random.default_rng(0)
    pictures = [dice.integers(0, 256, (8, 8), dtype=np.uint8) for _ in range(6)]
    student = undiffuse.distill(theirs, pictures, method=method, steps=4, runs=tmp_path, name="fast", **QUICK)
    first, last = (student_of(read_config(tmp_path / name / "config.yaml").distillation) for name in ("fast-v", "fast"))
    assert first.method == "match"
    assert first.teacher == last.origin == str(theirs)
    assert last.origin_sha256 == undiffuse.load(theirs).provenance["sha256"]
    assert student.sample(2).evaluations == 4
    with pytest.raises(UndiffuseError, match="theirs"):
        student.sample(2, sampler="dpm++2m")


def test_a_folder_of_diffusers_needs_to_be_told_its_data(theirs, tmp_path):
    with pytest.raises(UndiffuseError) as error:
        undiffuse.distill(theirs, runs=tmp_path, name="fast", **QUICK)
    assert str(error.value).endswith(f"so say where they are: `undiffuse distill {theirs} DATA`")
    assert not list(tmp_path.iterdir())


def test_data_that_are_there_and_cannot_be_read_are_told_as_they_are(theirs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / theirs.name).mkdir()
    with pytest.raises(UndiffuseError) as error:
        undiffuse.distill(theirs, runs=tmp_path / "runs", name="fast", **QUICK)
    assert "names it as its data" not in str(error.value)
