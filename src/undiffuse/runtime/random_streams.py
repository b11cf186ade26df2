"""Random streams as pure functions of (seed, path).

No stream has a position that would have to be saved: the noise of step 700 is ``generator(seed, "noise", 700)``,
whatever ran before. That makes resuming exact by construction, and image i of a seed the same in any batch.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, *path: int | str) -> int:
    """A 63-bit seed for the stream called ``path``: statistically independent for different (seed, path).

    Args:
        seed: the user's seed, any non-negative integer.
        path: non-negative integers and strings that name the stream, e.g. ``("noise", 700)``.
    """
    key = tuple(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path)
    state = np.random.SeedSequence(entropy=seed, spawn_key=key).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def generator(seed: int, *path: int | str, device: str = "cpu") -> torch.Generator:
    """A torch generator at the start of the stream called ``path``."""
    import torch

    return torch.Generator(device).manual_seed(stream_seed(seed, *path))
