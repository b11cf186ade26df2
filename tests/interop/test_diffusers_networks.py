"""U-Nets of diffusers, read: the same outputs, the same images; and written: the same bits."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from undiffuse.model import load

_spec = importlib.util.spec_from_file_location("folders", Path(__file__).with_name("folders.py"))
folders = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(folders)
CASES, random_unet, saved = folders.CASES, folders.random_unet, folders.saved


def outputs(unet, x, time, labels):
    with torch.no_grad():
        return unet(x, time, **({"class_labels": labels} if labels is not None else {})).sample


@pytest.mark.parametrize("case", CASES)
def test_a_network_gives_the_same_outputs_from_the_same_weights(case, tmp_path):
    unet = random_unet(**CASES[case])
    model = load(saved(tmp_path / "pipeline", unet))
    x, time = torch.randn(3, *model.info.shape), torch.tensor([0.0, 500.0, 999.0])
    labels = torch.tensor([0, 4, 2]) if case == "classes" else None
    expected = outputs(unet, x, time, labels)
    with torch.no_grad():
        actual = model.network(x, time, **({"label": labels} if labels is not None else {}))
    assert expected.std() > 0.05
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
