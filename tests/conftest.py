"""Shared by all tests: shapes are checked while they run, and one thread keeps them quick beside each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Must come before anything of undiffuse is imported: every jaxtyping annotation of the core becomes a check.
install_import_hook(
    [
        f"undiffuse.{name}"
        for name in (
            "gaussian",
            "schedule",
            "parameterize",
            "denoiser",
            "timesteps",
            "sample",
            "samplers",
            "guidance",
            "objectives",
            "networks",
        )
    ],
    "beartype.beartype",
)

import torch  # noqa: E402  (after the hook)

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that UNDIFFUSE_TEST_DATA points to; the test is skipped without it."""
    folder = os.environ.get("UNDIFFUSE_TEST_DATA")
    if not folder:
        pytest.skip("UNDIFFUSE_TEST_DATA is not set: it would point to a folder with real data")
    return Path(folder)
