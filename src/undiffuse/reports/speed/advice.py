"""Advice: each rule is a condition on what was measured and a sentence that names the option to type."""

from __future__ import annotations

import math

from undiffuse.config.flags import flag_of
from undiffuse.config.schema import TrainConfig
from undiffuse.reports.speed.measure import Bench

GAIN = 1.5
"""Speed of products in bfloat16, in units of that in float32, from which it is worth a try."""
WIDE = 64
"""Base width from which a network gains from it: narrower ones lose to casts what products gain."""


def advice(found: Bench, config: TrainConfig) -> list[str]:
    """Sentences, the most important first; never none."""
    said = [*_on_format(found, config), *_on_compiling(found, config)]
    if not config.loop.channels_last and len(found.shape) == 3:
        said.append("Convolutions are faster with --channels-last.")
    if found.kinds.get("attention", 0) > 0.25:
        said.append("Attention takes a quarter or more: leave out the finest level of --attention-levels.")
    if found.step_share < 0.25:
        said.append(_thin(found, config))
    if not said:
        said.append("Nothing stands out: most of the time goes into products that run near the machine's speed.")
    return said


def _on_compiling(found: Bench, config: TrainConfig) -> list[str]:
    """The length from which on --compile pays, where that was measured."""
    step, evaluation = found.compiled_step, found.compiled_evaluation
    if step is None or evaluation is None:
        if found.device == "cpu" or config.loop.compile:
            return []
        return ["--compile fuses the small operators: undiffuse bench --compile measures from what length on it pays."]
    batches = evaluation.pays_from / found.evaluations
    images = found.micro_batch * (math.ceil(batches) if math.isfinite(batches) else batches)
    rows = {"train": (step.pays_from, "steps"), "sample": (images, "images")}
    worth = [
        f"undiffuse {command} --compile pays from {math.ceil(least):,} {what} on"
        for command, (least, what) in rows.items()
        if math.isfinite(least)
    ]
    never = [command for command, (least, _) in rows.items() if math.isinf(least)]
    refused = [f"--compile never pays for undiffuse {' and '.join(never)} here"] if never else []
    return [f"{'; '.join(worth + refused)}."]


def _on_format(found: Bench, config: TrainConfig) -> list[str]:
    """The other number format, where the speed of products in both and the network's width make it worth a try."""
    gain, wide = found.ceilings["bfloat16"] / found.ceilings["float32"], config.network.width >= WIDE
    formats = {"undiffuse train": found.precision, "undiffuse sample": found.sampling_precision}
    full = " and ".join(command for command, precision in formats.items() if precision == "float32")
    short = " and ".join(command for command, precision in formats.items() if precision == "bfloat16")
    if full and wide and gain >= GAIN:
        return [
            f"A large matrix product is {gain:.1f} times as fast in bfloat16 as in float32 here, and a network gets a "
            f"part of that: try {full} with --precision bfloat16."
        ]
    if short and gain < GAIN:
        return [
            f"A large matrix product in bfloat16 has {gain:.2g} times the speed of one in float32 here, and casts take "
            f"time, too: try {short} with --precision float32."
        ]
    if short and not wide and found.device == "cpu":
        return [
            f"At a width of {config.network.width}, casts may take more time than bfloat16 saves: try {short} with "
            "--precision float32."
        ]
    return []


def _thin(found: Bench, config: TrainConfig) -> str:
    """The reason why little of the ceiling is reached."""
    small = f"Training reaches {found.step_share:.0%} of what a large matrix product does here"
    if found.device != "cpu" and found.batch < 256:
        return f"{small}: the batch of {found.batch} may be too small to fill the device; try a larger --batch."
    larger = flag_of(config.network.SIZES[0])
    return f"{small}: the layers are too narrow to fill the machine; a larger {larger} costs less than it seems."
