"""The keyword arguments of a model's edits, see `undiffuse.config.keywords`."""

from __future__ import annotations

from typing import Literal, Required

from undiffuse.config.keywords import SampleSettings


class EditKeywords(SampleSettings, total=False):
    """What all edits take."""

    n: int
    seed: int
    progress: bool


class InpaintKeywords(EditKeywords, total=False):
    """Options of an edit, see `InpaintOptions`."""

    method: Literal["replace", "repaint", "ddnm", "pigdm", "dps"]
    scale: float
    jump: int
    repeats: int
    overlap: int | Literal["auto", "none"]


class OutpaintKeywords(EditKeywords, total=False):
    """Options of an edit, see `OutpaintOptions`."""

    top: int
    bottom: int
    left: int
    right: int
    method: Literal["replace", "repaint", "ddnm", "pigdm", "dps"]
    scale: float
    jump: int
    repeats: int
    overlap: int | Literal["auto", "none"]


class UpscaleKeywords(EditKeywords, total=False):
    """Options of an edit, see `UpscaleOptions`."""

    factor: int | None
    method: Literal["ddnm", "pigdm", "dps"]
    scale: float
    overlap: int | Literal["auto", "none"]


class RestoreKeywords(EditKeywords, total=False):
    """Options of an edit, see `RestoreOptions`."""

    method: Literal["ddnm", "pigdm", "dps"]
    scale: float
    overlap: int | Literal["auto", "none"]


class DeblurKeywords(EditKeywords, total=False):
    """Options of an edit, see `DeblurOptions`."""

    std: float
    noise: float | None
    method: Literal["ddnm", "pigdm", "dps"]
    scale: float
    overlap: int | Literal["auto", "none"]


class DenoiseKeywords(EditKeywords, total=False):
    """Options of an edit, see `DenoiseOptions`."""

    noise: float | None
    overlap: int | Literal["auto", "none"]


class VaryKeywords(EditKeywords, total=False):
    """Options of an edit, see `VaryOptions`."""

    strength: float
    overlap: int | Literal["auto", "none"]


class InterpolateKeywords(EditKeywords, total=False):
    """Options of an edit, see `InterpolateOptions`."""

    way: Literal["slerp", "shared"]
    frames: int
    strength: float
    exact: bool
    overlap: int | Literal["auto", "none"]


class InvertKeywords(EditKeywords, total=False):
    """Options of an edit, see `InvertOptions`."""

    exact: bool
    iterations: int
    within: float
    overlap: int | Literal["auto", "none"]


class TranslateKeywords(EditKeywords, total=False):
    """Options of an edit, see `TranslateOptions`."""

    to: Required[str]
    source: object
    strength: float
    exact: bool
    iterations: int
    overlap: int | Literal["auto", "none"]
