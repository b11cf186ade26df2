"""What somebody meets who types `import undiffuse` and looks around."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import undiffuse
from undiffuse import diffusion, networks
from undiffuse.diffusion.gaussian import as_times


def test_dir_is_a_table_of_contents_and_all_of_it_is_there() -> None:
    assert "train" in dir(undiffuse)
    assert not [name for name in dir(undiffuse) if name.startswith("_") and name != "__version__"]
    for name in dir(undiffuse):
        assert getattr(undiffuse, name) is not None
    for room in (diffusion, networks):
        assert len(set(room.__all__)) == len(room.__all__)
        assert all(hasattr(room, name) for name in room.__all__)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, undiffuse; dir(undiffuse); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_has_a_docstring() -> None:
    for room in (undiffuse, diffusion, networks):
        for name in room.__all__:
            thing = getattr(room, name)
            if callable(thing):
                assert thing.__doc__, name


@pytest.mark.parametrize("wrapped", ["plain", "guided", "clipped"])
def test_a_denoiser_takes_plain_numbers_and_whole_ones(wrapped: str) -> None:
    denoiser = undiffuse.load("digits").denoiser
    x, label = torch.zeros(2, 1, 28, 28), {"label": torch.tensor([3, 4])}
    null = {"label": torch.tensor([10, 10])}
    asked = {
        "plain": diffusion.Conditioned(denoiser, label),
        "guided": diffusion.ClassifierFree(denoiser, label, null, diffusion.Guidance(2.0)),
        "clipped": diffusion.Clip(diffusion.Conditioned(denoiser, label)),
    }[wrapped]
    with torch.no_grad():
        expected = asked(x, torch.tensor(501.0, dtype=torch.float64)).x0
        both = asked(x, torch.tensor([501.0, 2.0], dtype=torch.float64)).x0
        for t in (501, 501.0, torch.tensor(501)):
            assert torch.equal(asked(x, t).x0, expected)
        assert torch.equal(asked(x, torch.tensor([501, 2])).x0, both)


def test_times_that_are_right_already_are_left_alone() -> None:
    t = torch.tensor([1.5, 2.5], dtype=torch.float64)
    assert as_times(t) is t
    assert as_times(3).dtype == torch.float64
