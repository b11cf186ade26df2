"""What the measurements say in words, and what to change.

Each rule is a condition on what was measured and a sentence that names the option to type.
"""

from __future__ import annotations

from undiffuse.bench.measure import Bench
from undiffuse.config import TrainConfig

LOADING = 0.01
"""Part of a step that loading may take before it is named."""


def advice(found: Bench, config: TrainConfig) -> list[str]:
    """Sentences, the most important first; never none."""
    said: list[str] = []
    if found.loading_share > LOADING:
        said.append(
            f"Loading takes {found.loading_share:.0%} of a step: prepare the data with --size once, or put the cache "
            "on a faster disk."
        )
    cpu = found.device == "cpu"
    if not cpu and found.precision == "float32":
        said.append(
            "The network computes in float32: --precision bfloat16 is about twice as fast where hardware has it."
        )
    if not cpu and not config.loop.compile:
        said.append("--compile fuses the small operators; it pays after some minutes of training on a GPU.")
    if cpu and config.loop.precision == "bfloat16":
        said.append("bfloat16 is slow on most CPUs: leave --precision at auto.")
    if not config.loop.channels_last and len(found.shape) == 3:
        said.append("Convolutions are faster with --channels-last.")
    if found.kinds.get("attention", 0) > 0.25:
        said.append("Attention takes a quarter or more: leave out the finest level of --attention-levels.")
    if found.step_share < 0.25:
        said.append(_thin(found))
    if not said:
        said.append("Nothing stands out: most of the time goes into products that run near the machine's speed.")
    return said


def _thin(found: Bench) -> str:
    """Why little of the ceiling is reached."""
    small = f"Training reaches {found.step_share:.0%} of what a large matrix product does here"
    if found.device != "cpu" and found.batch < 256:
        return f"{small}: the batch of {found.batch} may be too small to fill the device; try a larger --batch."
    return f"{small}: the layers are too narrow to fill the machine; a larger --base costs less than it seems."
