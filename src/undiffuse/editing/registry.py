"""The edits that can be asked for: their options, the pictures they take, and what each does.

A row here is a row of `undiffuse edit`, and calls the same function of `undiffuse.editing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from undiffuse import editing
from undiffuse.conditioning.class_names import NONE
from undiffuse.config.sampling import SampleConfig
from undiffuse.editing.defaults import ADVISED, FILL_DEFAULT, ROUNDING, SOLVE_DEFAULT, FillMethod, Method, Way
from undiffuse.editing.editor import Editor
from undiffuse.editing.inverse_problems import check_colour
from undiffuse.editing.inversion import Inversion, Inverter
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model


@dataclass(frozen=True)
class Common:
    """What every edit may be told."""

    overlap: int | None = None
    """Pixels that tiles share beyond the size that the model learned; by default a quarter of that."""
    fit: Literal["none", "convert"] = "none"
    """'convert' brings a picture to the model's channels and size; 'none' refuses those that do not fit."""


@dataclass(frozen=True)
class Solve(Common):
    """How a known part is met."""

    method: Method = SOLVE_DEFAULT
    """How the given part is met: 'ddnm' is quick, 'pigdm' and 'dps' follow gradients."""
    scale: float = 1.0
    """Of the gradient, for pigdm and dps."""


@dataclass(frozen=True)
class Fill(Common):
    """How a hole is filled."""

    method: FillMethod = FILL_DEFAULT
    """How the known part is met; 'dps' keeps objects whole, 'replace' and 'ddnm' are quick."""
    scale: float | None = None
    """Of the gradient, for pigdm and dps; by default 1, and 2 for dps on fewer than 100 steps."""
    jump: int = 10
    """Repaint: steps that are walked again and again."""
    repeats: int = 5
    """Repaint: how often."""


@dataclass(frozen=True)
class Outpaint(Fill):
    """What is added at each side."""

    top: int = 0
    """Pixels to add at the top; where all four are 0, a quarter of the shorter side is added everywhere."""
    bottom: int = 0
    """Pixels to add at the bottom."""
    left: int = 0
    """Pixels to add at the left."""
    right: int = 0
    """Pixels to add at the right."""


@dataclass(frozen=True)
class Upscale(Solve):
    """How far."""

    factor: int = 4
    """How many times as large."""


@dataclass(frozen=True)
class Deblur(Solve):
    """How blurred."""

    std: float = 1.0
    """Standard deviation of the blur in pixels."""
    noise: float | None = None
    """Standard deviation of the picture's noise, in parts of 255; by default that of rounding to 8 bits."""


@dataclass(frozen=True)
class Denoise(Common):
    """How noisy."""

    noise: float | None = None
    """Standard deviation of the noise, in parts of 255; by default it is estimated."""


@dataclass(frozen=True)
class Vary(Common):
    """How far."""

    strength: float = 0.5
    """How far into noise, 0 for the picture itself and 1 for a new one."""


@dataclass(frozen=True)
class Interpolate(Common):
    """Which way."""

    way: Way = "slerp"
    """'slerp' goes by the arc between two latents, 'shared' by the line between both in the same noise."""
    frames: int = 9
    """Pictures, both ends among them."""
    strength: float = 0.5
    """Shared: how far into noise."""
    exact: bool = False
    """Slerp: invert by fixed-point iteration."""


@dataclass(frozen=True)
class Invert(Common):
    """How exactly."""

    exact: bool = False
    """Solve each step by fixed-point iteration."""
    iterations: int = 20
    """Evaluations that an exact step may take."""
    within: float = 1e-4
    """Error at which an exact step is done, in model space."""


@dataclass(frozen=True)
class Translate(Common):
    """Which class becomes which."""

    to: str = ""
    """The class that is wanted."""
    source: str = NONE
    """The class that the picture is of; ':none' tells the inversion no class, and so does 'none' where no class has
    that name."""
    strength: float = 1.0
    """How far into noise, above 0 and up to 1: less keeps more of the picture."""
    exact: bool = False
    """Invert each step by fixed-point iteration."""
    iterations: int = 20
    """Evaluations that an exact step may take."""


@dataclass(frozen=True)
class Given:
    """What an edit works on, in model space.

    Args:
        editor: of the result's size; call it with (height, width).
        x0: (n, channels, height, width), the picture once for each result.
        mask: (1, 1, height, width), 1 where it is known; inpaint.
        second: (channels, height, width), where an interpolation goes to.
    """

    editor: Callable[[int, int], Editor]
    x0: Tensor
    mask: Tensor | None = None
    second: Tensor | None = None

    @property
    def here(self) -> Editor:
        """The editor for results of the picture's own size."""
        return self.editor(*self.x0.shape[2:])


@dataclass(frozen=True)
class Made:
    """What came of it.

    Args:
        pictures: (count, channels, height, width) in model space.
        note: what else is to be said.
        warning: what is to be minded.
    """

    pictures: Tensor
    note: str | None = None
    warning: str | None = None


def _inpaint(given: Given, how: Fill) -> Made:
    assert given.mask is not None
    return Made(editing.inpaint(given.here, given.x0, given.mask, **_filling(how)))


def _outpaint(given: Given, how: Outpaint) -> Made:
    margins = ((how.top, how.bottom), (how.left, how.right))
    height, width = given.x0.shape[2:]
    editor = given.editor(height + how.top + how.bottom, width + how.left + how.right)
    return Made(editing.outpaint(editor, given.x0, margins, **_filling(how)))


def _filling(how: Fill) -> dict[str, Any]:
    return {"method": how.method, "scale": how.scale, "jump": how.jump, "repeats": how.repeats}


def _upscale(given: Given, how: Upscale) -> Made:
    height, width = (side * how.factor for side in given.x0.shape[2:])
    return Made(editing.upscale(given.editor(height, width), given.x0, how.factor, method=how.method, scale=how.scale))


def _colorize(given: Given, how: Solve) -> Made:
    return Made(editing.colorize(given.here, given.x0, method=how.method, scale=how.scale))


def _deblur(given: Given, how: Deblur) -> Made:
    noise = ROUNDING if how.noise is None else how.noise * 2 / 255
    return Made(editing.deblur(given.here, given.x0, how.std, noise=noise, method=how.method, scale=how.scale))


def _denoise(given: Given, how: Denoise) -> Made:
    made, stds = editing.denoise(given.here, given.x0, None if how.noise is None else how.noise * 2 / 255)
    said = "seems to have" if how.noise is None else "is taken to have"
    return Made(made, f"The picture {said} noise of {float(stds[0]) * 127.5:.1f} / 255.")


def _vary(given: Given, how: Vary) -> Made:
    return Made(editing.vary(given.here, given.x0, how.strength))


def _interpolate(given: Given, how: Interpolate) -> Made:
    assert given.second is not None
    editor = given.here
    if how.way == "slerp":
        _check_ddim(editor, "slerp inverts DDIM without noise: leave sampler and eta as they are, or take way 'shared'")
    first = given.x0[0]
    words = {"way": how.way, "strength": how.strength, "inverter": Inverter(how.exact)}
    return Made(editing.interpolate(editor, first, given.second, how.frames, **words))  # type: ignore[arg-type]


def _invert(given: Given, how: Invert) -> Made:
    editor = given.here
    _check_ddim(editor, "Only DDIM without noise is inverted: leave sampler and eta as they are")
    found = editing.invert(editor, given.x0, Inverter(how.exact, how.iterations, how.within))
    # The latent is nearly normal: a third of it is nearly within a picture's range.
    return Made(torch.cat([found.reconstructions, found.latents.cpu() / 3]), _comes_back(found), found.warning)


def _translate(given: Given, how: Translate) -> Made:
    editor = given.here
    if not how.to:
        raise UndiffuseError("This needs 'to', the class that is wanted")
    _check_ddim(editor, "Only DDIM without noise is inverted: leave sampler and eta as they are")
    inverter = Inverter(how.exact, how.iterations)
    found = editing.translate(editor, given.x0, how.to, how.source, strength=how.strength, inverter=inverter)
    return Made(found.pictures, _comes_back(found.inversion), found.inversion.warning)


def _comes_back(found: Inversion) -> str:
    error, psnr = float(found.error[0]), float(found.psnr[0])
    return f"The inversion gives the picture back within {error * 127.5:.2f} / 255 (root mean square), {psnr:.1f} dB."


def _check_ddim(editor: Editor, sentence: str) -> None:
    if editor.settings.sampler != "ddim" or editor.settings.eta != 0:
        raise UndiffuseError(sentence)


DDIM = SampleConfig(sampler="ddim", steps=100, spacing="linspace")
"""How walks are inverted."""
DPS_HERE = SampleConfig(sampler="ddpm", steps=50)
"""DPS while somebody waits: a fifth of the steps that the command line takes, with a gradient twice as long."""
FEW_STEPS = 100


def _in_full(how: Fill, settings: SampleConfig, sides: tuple[int, int]) -> Fill:
    """The options with what was left open."""
    if how.scale is not None:
        return how
    return replace(how, scale=2.0 if how.method == "dps" and settings.steps < FEW_STEPS else 1.0)


def _with_margins(how: Outpaint, settings: SampleConfig, sides: tuple[int, int]) -> Fill:
    if not any((how.top, how.bottom, how.left, how.right)):
        quarter = max(1, (min(sides) + 2) // 4)
        how = replace(how, top=quarter, bottom=quarter, left=quarter, right=quarter)
    return _in_full(how, settings, sides)


@dataclass(frozen=True)
class Edit:
    """One edit.

    Args:
        summary: what it is for.
        options: a dataclass of settings, with their defaults.
        work: does it.
        advised: the sampler's settings where none are given.
        usual: those of the command line, where they are others.
        in_full: the options, with what depends on the sampler's settings and the picture's (height, width) filled in.
        images: the pictures it takes.
        copies: whether several results of a picture may be wanted.
        channels: that pictures must have; by default the model's.
    """

    summary: str
    options: type[Common]
    work: Callable[[Given, Any], Made]
    advised: Callable[[Any], SampleConfig]
    usual: Callable[[Any], SampleConfig] | None = None
    in_full: Callable[[Any, SampleConfig, tuple[int, int]], Common] = lambda how, settings, sides: how
    images: tuple[str, ...] = ("image",)
    copies: bool = True
    channels: int | None = None
    able: Callable[[Model], bool] = field(default=lambda model: True)


def _by_method(how: Fill | Solve) -> SampleConfig:
    return ADVISED[how.method]


def _filled_here(how: Fill) -> SampleConfig:
    return DPS_HERE if how.method == "dps" else ADVISED[how.method]


def _colourful(model: Model) -> bool:
    try:
        check_colour(model.info)
    except UndiffuseError:
        return False
    return True


def _knows_classes(model: Model) -> bool:
    return any(condition.kind == "class" for condition in model.conditions)


EDITS: dict[str, Edit] = {
    "inpaint": Edit(
        "paint anew what a mask marks", Fill, _inpaint, _filled_here, _by_method, _in_full, images=("image", "mask")
    ),
    "outpaint": Edit("paint more around a picture", Outpaint, _outpaint, _filled_here, _by_method, _with_margins),
    "upscale": Edit("make a picture larger", Upscale, _upscale, _by_method),
    "colorize": Edit("give a grey picture colour", Solve, _colorize, _by_method, channels=1, able=_colourful),
    "deblur": Edit("sharpen a picture blurred by a Gaussian", Deblur, _deblur, _by_method),
    "denoise": Edit("take the noise off", Denoise, _denoise, lambda how: SampleConfig(sampler="ddim", steps=50)),
    "vary": Edit("variations of a picture", Vary, _vary, lambda how: SampleConfig(steps=50)),
    "interpolate": Edit(
        "from one picture to another",
        Interpolate,
        _interpolate,
        lambda how: DDIM if how.way == "slerp" else SampleConfig(steps=50),
        images=("first", "second"),
        copies=False,
    ),
    "invert": Edit("the noise that a picture comes from", Invert, _invert, lambda how: DDIM, copies=False),
    "translate": Edit(
        "to another class",
        Translate,
        _translate,
        lambda how: replace(DDIM, guidance=2.0),
        copies=False,
        able=_knows_classes,
    ),
}


def edits_of(model: Model) -> list[str]:
    """Names of the edits that a model can do; none for signals and volumes, and for stages of a cascade."""
    if len(model.info.spatial) != 2 or model.config.conditions.upscale > 1:
        return []
    return [name for name, row in EDITS.items() if row.able(model)]
