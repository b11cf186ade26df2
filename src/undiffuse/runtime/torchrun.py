"""What torchrun says by environment variables to each of the processes that it started together."""

from __future__ import annotations

import os


def started_together() -> int:
    """The number of processes that torchrun started; 1 without it."""
    known = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    return int(os.environ["WORLD_SIZE"]) if known else 1


def follows() -> bool:
    """True in all of several processes but rank 0."""
    return started_together() > 1 and os.environ["RANK"] != "0"


def restarts() -> int:
    """The number of times that torchrun has started this again after a failure (``--max-restarts``)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def may_restart() -> bool:
    """True where torchrun would start this again after a failure."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0
