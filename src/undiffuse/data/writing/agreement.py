"""Agreement of the images of a set; without it one sentence that says all that is needed, with a command to copy.

What the headers say is known within seconds, before anything is decoded. So that nobody meets one refusal after the
other, whatever is in the way (files that cannot be read, several kinds, several sizes) is said at once.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from undiffuse.config.data import DataConfig
from undiffuse.data.files.decode import TO_RGB, Header
from undiffuse.data.files.listing import Listing, Refusal
from undiffuse.data.transform import CHANNELS, keeps_aspect
from undiffuse.errors import UndiffuseError, counted
from undiffuse.provenance.own_pictures import WHY

MAX_BAD = 0.05
"""Share of unreadable images above which the data set is an error: so many are a mistake, not an accident."""

_KINDS = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}
_DEPTHS = {"uint8": "8-bit", "uint16": "16-bit", "float32": "float"}


@dataclass(frozen=True)
class _Problem:
    """Something in the way: what was expected, what came, what to do, and the options that do it."""

    expected: str
    got: str
    do: str
    options: tuple[str, ...]


def agree(
    source: str,
    headers: dict[str, Header],
    config: DataConfig,
    size: tuple[int, int] | None,
    refused: Sequence[Refusal] = (),
) -> Header:
    """The one form that all images have, or get by the options; else an error that says how to choose."""
    depths = Counter(header.dtype for header in headers.values())
    if len(depths) > 1:
        found = ", ".join(f"{count} {_DEPTHS[dtype]}" for dtype, count in depths.most_common())
        raise UndiffuseError(
            f"expected images of one depth in {source}, got {found}; keep each depth in its own folder"
        )
    kinds = Counter(header.channels for header in headers.values())
    dtype, channels = next(iter(depths)), next(iter(kinds))
    if config.channels != "keep":
        channels = CHANNELS[config.channels]
        if dtype == "float32" and channels == 4:
            raise UndiffuseError(f"expected `channels=grey`, rgb or keep for float images, got rgba for {source}")
    found_problems = (
        _unread(source, len(headers), refused, config),
        _kind(source, kinds) if config.channels == "keep" else None,
        _size(source, headers, config, size),
    )
    problems = [problem for problem in found_problems if problem is not None]
    if problems:
        raise UndiffuseError(_sentence(source, problems, config))
    height, width = size or next((header.height, header.width) for header in headers.values())
    return Header(height, width, channels, dtype)


def _unread(source: str, good: int, refused: Sequence[Refusal], config: DataConfig) -> _Problem | None:
    if config.skip_unreadable or len(refused) <= MAX_BAD * (good + len(refused)):
        return None
    convertible = [why for _, why in refused if TO_RGB in why]
    others = len(refused) - len(convertible)
    options = ["--channels rgb"] if convertible and config.channels == "keep" else []
    if others > MAX_BAD * (good + len(refused)):
        options.append("--skip-unreadable")
    return _Problem(
        f"at most {MAX_BAD:.0%} bad files in {source}",
        f"{len(refused)} of {good + len(refused)} ({_examples(refused)})",
        "remove or repair them, or add `skip_unreadable` to go on without them" if others else "add `channels=rgb`",
        tuple(options),
    )


def _kind(source: str, kinds: Counter[int]) -> _Problem | None:
    if len(kinds) < 2:
        return None
    found = ", ".join(f"{count} {_KINDS[kind]}" for kind, count in kinds.most_common())
    white, opaque = "`channels=rgb` (alpha onto white)", "`channels=rgba` (opaque where there is no alpha)"
    if 2 * kinds[4] > kinds.total():
        option, hint = "rgba", f"{opaque} or {white}"
    elif min(kinds) < 3:
        option, other = ("grey", "rgb") if max(kinds) < 3 else ("rgb", "grey")
        hint = f"`channels={option}` or `channels={other}`"
    else:
        option, hint = "rgb", f"{white} or `channels=rgba`"
    return _Problem(f"images of one kind in {source}", found, f"add {hint}", (f"--channels {option}",))


def _size(source: str, headers: dict[str, Header], config: DataConfig, size: tuple[int, int] | None) -> _Problem | None:
    sizes = Counter((header.height, header.width) for header in headers.values())
    common = ", ".join(f"{count} of {h} x {w}" for (h, w), count in sizes.most_common(3))
    (height, width), _ = sizes.most_common(1)[0]
    if size is None:
        if len(sizes) == 1:
            return None
        more = f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else ""
        side = f"{height} {width}" if max(height, width) <= 256 else "64"  # larger ones are photographs
        return _Problem(
            f"images of one size in {source}",
            f"{common}{more} (height x width)",
            f"add `size={side}` `crop=center`, or another `size`",
            (f"--size {side}", "--crop center"),
        )
    misfits = sum(count for (h, w), count in sizes.items() if not keeps_aspect(h, w, size))
    if not misfits or config.crop != "none":
        return None
    return _Problem(
        f"images with the aspect ratio of {size[0]} x {size[1]} in {source}",
        f"{misfits} of {len(headers)} with another (most common: {common})",
        "add `crop=center` to cut the middle",
        ("--crop center",),
    )


def _sentence(source: str, problems: Sequence[_Problem], config: DataConfig) -> str:
    command = _command(config, [option for problem in problems for option in problem.options])
    if len(problems) == 1:
        (one,) = problems
        return f"expected {one.expected}, got {one.got}; {one.do}{f': {command}' if one.options else ''}"
    expected = [problem.expected.removesuffix(f" in {source}") for problem in problems]
    return (
        f"expected {', '.join(expected[:-1])} and {expected[-1]} in {source}, got "
        f"{'; '.join(problem.got for problem in problems)}; {'; '.join(problem.do for problem in problems)}; "
        f"all at once: {command}"
    )


def _command(config: DataConfig, options: Sequence[str]) -> str:
    """The command that looks at the data so; options given before stay."""
    sides = config.size if isinstance(config.size, tuple) else (config.size,)
    given = {
        f"--size {' '.join(map(str, sides))}": config.size is not None,
        f"--channels {config.channels}": config.channels != "keep",
        f"--crop {config.crop}": config.crop != "none",
        f"--crop-from {config.crop_from}": config.crop_from is not None,
        "--skip-unreadable": config.skip_unreadable,
    }
    words = dict.fromkeys([*(option for option, set_ in given.items() if set_), *options])
    return " ".join(["undiffuse data", shlex.quote(config.source), *words])


def _examples(refused: Sequence[Refusal]) -> str:
    by_reason: dict[str, list[Refusal]] = {}
    for name, why in refused:
        by_reason.setdefault(re.sub(r"\d+", "0", why), []).append((name, why))
    if len(refused) <= 3:
        return "; ".join(f"{name} {why}" for alike in by_reason.values() for name, why in alike)
    shown = [
        f"{alike[0][0]}{f' and {len(alike) - 1} more' if len(alike) > 1 else ''} {alike[-1][1]}"
        for alike in list(by_reason.values())[:4]
    ]
    return "; ".join([*shown, *([f"and {counted(len(by_reason) - 4, 'more reason')}"] if len(by_reason) > 4 else [])])


def check_bad(
    source: str, good: int, refused: Sequence[Refusal], listing: Listing, config: DataConfig, many: bool = True
) -> None:
    """Check that images are left and, where ``many`` matters, that at most `MAX_BAD` are bad."""
    if good == 0:
        what = f"none that can be used ({_examples(refused)})" if refused else _none(listing)
        raise UndiffuseError(f"expected images in {source}, got {what}")
    problem = _unread(source, good, refused, config) if many else None
    if problem is not None:
        raise UndiffuseError(_sentence(source, [problem], config))


def _none(listing: Listing) -> str:
    own = [f"{name} ({why.removeprefix(WHY)})" for name, why in listing.ignored if why.startswith(WHY)]
    if own and len(own) == len(listing.ignored):
        return f"none but what undiffuse made to be looked at: {', '.join(own[:3])}{', ...' if len(own) > 3 else ''}"
    few = ", ".join(name for name, _ in listing.ignored[:3]) + (", ..." if len(listing.ignored) > 3 else "")
    return f"none among {counted(len(listing.ignored), 'other file')}{f' ({few})' if few else ''}"
