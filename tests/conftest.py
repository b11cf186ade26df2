"""Shared by all tests: shapes are checked while they run, and one thread keeps them quick beside each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from tests.students import Students

# Must come before anything of undiffuse is imported: every jaxtyping annotation of the core becomes a check.
install_import_hook(
    ["undiffuse.diffusion", "undiffuse.networks"],
    "beartype.beartype",
)

# A busy machine must not fail a test: no deadlines, no complaints of slow generation.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

import torch  # noqa: E402  (after the hook)

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prepared data go to a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDIFFUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def students(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Students:
    """Tiny students and their teacher."""
    from tests.students import make_students

    return make_students(tmp_path_factory.mktemp("students"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that UNDIFFUSE_TEST_DATA points to; the test is skipped without it."""
    folder = os.environ.get("UNDIFFUSE_TEST_DATA")
    if not folder:
        pytest.skip("UNDIFFUSE_TEST_DATA is not set: it would point to a folder with real data")
    return Path(folder)
