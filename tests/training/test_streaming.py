"""Trainings on data that no folder of images holds: streamed shards, and tensors handed over by a program."""

import io
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_data, tiny_settings

import undiffuse
from undiffuse.checkpoints.training_checkpoint import checkpoints
from undiffuse.data.stream import open_data
from undiffuse.errors import UndiffuseError
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.callbacks.console import Console


@pytest.fixture
def shards(tmp_path):
    """Forty pictures in four shards, of two classes; one cannot be read."""
    images = tiny_data().images
    for s in range(4):
        with tarfile.open(tmp_path / f"{s}.tar", "w") as archive:
            for k in range(10 * s, 10 * s + 10):
                picture = io.BytesIO()
                Image.fromarray(images[k, 0]).save(picture, "PNG")
                content = picture.getvalue()[: -30 if k == 17 else None]
                for name, part in ((f"{k:03}.png", content), (f"{k:03}.cls", str(k % 2).encode())):
                    member = tarfile.TarInfo(name)
                    member.size = len(part)
                    archive.addfile(member, io.BytesIO(part))
    return f"{tmp_path}/{{0..3}}.tar"


def test_a_streamed_training_goes_on_to_the_last_bit(tmp_path, shards):
    config = tiny_settings(source=shards, stream=True, buffer=12, condition=("class",), sample_every=0, keep=0)
    quiet = Console(quiet=True)
    start_run(config, open_data(config.data, False), tmp_path / "whole", console=quiet)
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    for path in checkpoints(tmp_path / "broken" / "checkpoints")[2:]:
        shutil.rmtree(path)
    resume_run(tmp_path / "broken", console=quiet)
    last = "checkpoints/step-00000012"
    for file in ("model.safetensors", "optimizer.safetensors", "ema-0.99.safetensors"):
        assert (tmp_path / "whole" / last / file).read_bytes() == (tmp_path / "broken" / last / file).read_bytes()
    with pytest.raises(UndiffuseError, match="buffer=12"):
        resume_run(tmp_path / "broken", console=quiet, buffer=13)


def test_a_tensor_is_trained_on_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    values = torch.from_numpy(tiny_data().images)
    flat = {"base": 8, "multipliers": (1,), "attention_levels": (), "batch": 4, "sample_every": 0, "device": "cpu"}
    options = {"runs": tmp_path, "quiet": True, **flat}
    model = undiffuse.train(values, steps=2, decay="constant", **options)
    assert (model.info.count, model.info.shape) == (40, (1, 8, 8))
    assert (tmp_path / "array" / "config.yaml").is_file()
    pairs = zip(values, np.arange(40) % 2, strict=True)
    told = undiffuse.train(pairs, name="told", steps=2, condition=("class",), **options)
    assert told.info.classes == ("0", "1")
    longer = undiffuse.train(values, resume=True, name="array", runs=tmp_path, quiet=True, steps=3)
    assert longer.provenance["step"] == 3
