"""The findings about memorisation, in sentences and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from undiffuse.errors import counted
from undiffuse.evaluation.memorization.evaluate import Memorization, Space
from undiffuse.evaluation.metrics.copy_detection import CHANCE, FAR_Z, NEAR
from undiffuse.version import __version__

FORMAT = 1
RARE = 1e-3
"""A count that chance gives more rarely than this is remarkable."""
SHOWN = 8
"""Numbers of samples that a sentence lists."""


def verdict(found: Memorization) -> str:
    """The one sentence that answers the question, and another one where not all that was learned was looked at."""
    cut = found.training.dataset.cut
    if cut is None or cut.kind != "random":
        return _verdict(found)
    return (
        f"{_verdict(found)} Only the middle of each training image was looked at, and the training saw the other parts "
        "too: `training=DATA` `crop=tiles` looks at those."
    )


def _verdict(found: Memorization) -> str:
    n, copies = len(found.samples), len(found.copies)
    if copies:
        whole = any(space.z < -FAR_Z for space in found.spaces)
        rest = (
            f", and as a whole they are nearer to those than {_honest(found)} are" if whole else ", the others are not"
        )
        return f"{copies:,} of {counted(n, 'sample')} {_are(copies)} of training images{rest}."
    if any(_nearer(space) for space in found.spaces):
        return (
            "No sample is a copy, but as a whole they are nearer to the training images than "
            f"{_honest(found)} are: the model has begun to memorise."
        )
    if all(space.z > FAR_Z for space in found.spaces):
        return (
            f"No sign of memorisation: the samples are further from the training images than {_honest(found)} are, "
            "as samples that miss the data a little always are."
        )
    return f"No sign of memorisation: the samples are no nearer to the training images than {_honest(found)} are."


def sentences(found: Memorization) -> list[str]:
    """The findings in the order of reading, without the verdict."""
    return [_subjects(found), _yardstick(found), _duplicates(found), *(_space(found, space) for space in found.spaces)]


def _subjects(found: Memorization) -> str:
    facts, info = found.facts, found.training.info
    how = ""
    if facts["kind"] == "run":
        how = f", seed {facts['seed']}, {facts['sampler']} in {counted(facts['steps'], 'step')}"
    return (
        f"{len(found.samples):,} samples of {facts['name']}{how}, beside {info.count:,} training images of {info.name}."
    )


def _yardstick(found: Memorization) -> str:
    stick = found.yardstick
    if stick.left_out:
        return (
            f"There are no held-out images, so the yardstick is how far {len(stick.numbers):,} training images lie "
            "from the nearest other one."
        )
    leaked = f"; {stick.leaked:,} more are among the training images and do not count" if stick.leaked else ""
    return f"The yardstick is how far {len(stick.numbers):,} held-out images of {stick.dataset.info.name} lie{leaked}."


def _duplicates(found: Memorization) -> str:
    repeated = found.training.info.count - len(found.training.distinct)
    duplicates = f" The training images hold {counted(repeated, 'exact duplicate')}; each content counts once."
    inside = duplicates if repeated else ""
    if not found.exact:
        return f"No sample equals a training image exactly.{inside}"
    count = len(found.exact)
    equal = "1 sample equals a training image" if count == 1 else f"{count:,} samples equal training images"
    return f"{equal} exactly: {_listed(sorted(found.exact))}.{inside}"


def _space(found: Memorization, space: Space) -> str:
    n, near = len(found.samples), space.near
    how = "nearer than" if space.z < -FAR_Z else "further than" if space.z > FAR_Z else "as far as"
    copies = f"{len(space.copies):,} {_are(len(space.copies))}"
    if space.copies:
        copies += f" ({_listed(space.copies)})"
    alarms = f"{space.alarms:,} of the {len(space.honest):,} honest images {'is' if space.alarms == 1 else 'are'}"
    return (
        f"{space.identity.name}: the median sample is {space.ratio:.2f} times as far from its nearest training image "
        f"as {_honest(found)} are; z = {space.z:+.1f}, {how} those. {near.count:,} of {n:,} samples "
        f"{'is' if near.count == 1 else 'are'} nearer than {1 - NEAR:.0%} of those; {near.expected:.1f} are expected "
        f"by chance (p = {near.p:.2g}). {copies}, nearer than {space.threshold:.3g} of the mean of their "
        f"{space.distances.shape[1]} nearest, which one of {n:,} new images would be with a probability "
        f"of at most {CHANCE:.0%}; {alarms}."
    )


def _honest(found: Memorization) -> str:
    return "other training images" if found.yardstick.left_out else "held-out images"


def _nearer(space: Space) -> bool:
    return space.z < -FAR_Z or space.near.p < RARE


def _are(count: int) -> str:
    return "is a copy" if count == 1 else "are copies"


def _listed(numbers: list[int]) -> str:
    rest = f" and {len(numbers) - SHOWN:,} more" if len(numbers) > SHOWN else ""
    return f"number {', '.join(map(str, numbers[:SHOWN]))}{rest}"


def to_json(found: Memorization) -> dict[str, Any]:
    """The findings and all that they depend on, as plain values."""
    training, stick = found.training, found.yardstick
    return {
        "format": FORMAT,
        "undiffuse": __version__,
        "verdict": verdict(found),
        "sentences": sentences(found),
        "samples": {**found.facts, "count": len(found.samples)},
        "training": {
            "name": training.info.name,
            "fingerprint": training.info.fingerprint,
            "count": training.info.count,
            "different": len(training.distinct),
        },
        "yardstick": {
            "kind": "leave-one-out" if stick.left_out else "held-out",
            "name": stick.dataset.info.name,
            "fingerprint": stick.dataset.info.fingerprint,
            "count": len(stick.numbers),
            "leaked": stick.leaked,
        },
        "bootstrap_seed": found.seed,
        "copies": found.copies,
        "exact": [{"sample": sample, "training": numbers} for sample, numbers in sorted(found.exact.items())],
        "spaces": [_space_json(found, space) for space in found.spaces],
    }


def _space_json(found: Memorization, space: Space) -> dict[str, Any]:
    names = found.training.dataset.names()
    closeness = space.closeness.tolist()
    return {
        "extractor": asdict(space.identity),
        "median_ratio": asdict(space.ratio),
        "z": space.z,
        "nearer_than_99_percent": asdict(space.near),
        "neighbours": space.distances.shape[1],
        "copy_threshold": space.threshold,
        "copies": space.copies,
        "copies_among_yardstick": space.alarms,
        "nearest": [
            {"sample": k, "training": number, "name": names[number], "distance": distance, "over_mean": closeness[k]}
            for k, (number, distance) in enumerate(
                zip(space.neighbors[:, 0].tolist(), space.distances[:, 0].tolist(), strict=True)
            )
        ],
    }
