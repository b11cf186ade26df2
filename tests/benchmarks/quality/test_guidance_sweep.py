"""The sweep over scales of guidance, from end to end, on a network that knows nothing."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

from tiny import tiny_data, tiny_settings

from benchmarks.quality import guidance_sweep
from benchmarks.quality.guidance_sweep import Judge, Row, measure, methods, plot, table
from undiffuse.evaluation.features.extract import batches, extract
from undiffuse.evaluation.features.extractor import Identity, Outputs
from undiffuse.model import build_model


class Brightness:
    """Two features of a picture, and class 1 for the bright ones."""

    identity = Identity("brightness", "", "")

    def __call__(self, images):
        mean = images.flatten(1).mean(1, keepdim=True)
        return Outputs(torch.cat([mean, images.flatten(1).std(1, keepdim=True)], 1), logits=torch.cat([-mean, mean], 1))


@pytest.fixture
def model():
    info = replace(tiny_data().info, classes=("dark", "light"))
    return build_model(tiny_settings(condition=("class",), dropout=0.0, timesteps=100), info)


@pytest.mark.filterwarnings("ignore")
def test_each_way_and_scale_is_drawn_and_judged(model, monkeypatch):
    monkeypatch.setattr(guidance_sweep, "MICRO_BATCH", 10)
    data, extractor = tiny_data(), Brightness()
    judge = Judge(extractor, extract(extractor, batches(data.images, data.info), 40), ("dark", "light"))
    (name, how), *_ = methods(model, None, None).items()
    rows = [measure(model, judge, name, how, scale, 20, 0) for scale in (1.0, 2.0)]
    assert rows[0].accuracy == 0.5  # every picture is taken for a bright one, and half of them should be
    assert all(row.distance >= 0 for row in rows)


def test_rows_become_a_table_and_a_plot():
    rows = [Row("free", 1, 0.5, 20.0), Row("free", 2, 0.75, 25.0), Row("auto", 2, 0.8, 15.0)]
    assert table(rows).splitlines()[-1] == "| auto | 2 | 80.0% | 15.0 |"
    assert {"free", "auto"} <= set(plot(rows).replace("<", ">").split(">"))
