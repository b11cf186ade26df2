"""The keyword arguments of a model's edits, see `undiffuse.config.keywords`."""

from __future__ import annotations

from typing import Literal, Required

from undiffuse.config.keywords import SampleSettings


class InpaintKeywords(SampleSettings, total=False):
    """Options of an edit, see `InpaintOptions`."""

    method: Literal["replace", "repaint", "ddnm", "pigdm", "dps"]
    scale: float
    jump: int
    repeats: int
    overlap: int | Literal["auto", "none"]


class OutpaintKeywords(SampleSettings, total=False):
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


class UpscaleKeywords(SampleSettings, total=False):
    """Options of an edit, see `UpscaleOptions`."""

    factor: int | None
    method: Literal["ddnm", "pigdm", "dps"]
    scale: float
    overlap: int | Literal["auto", "none"]


class RestoreKeywords(SampleSettings, total=False):
    """Options of an edit, see `RestoreOptions`."""

    method: Literal["ddnm", "pigdm", "dps"]
    scale: float
    overlap: int | Literal["auto", "none"]


class DeblurKeywords(SampleSettings, total=False):
    """Options of an edit, see `DeblurOptions`."""

    std: float
    noise: float | None
    method: Literal["ddnm", "pigdm", "dps"]
    scale: float
    overlap: int | Literal["auto", "none"]


class DenoiseKeywords(SampleSettings, total=False):
    """Options of an edit, see `DenoiseOptions`."""

    noise: float | None
    overlap: int | Literal["auto", "none"]


class VaryKeywords(SampleSettings, total=False):
    """Options of an edit, see `VaryOptions`."""

    strength: float
    overlap: int | Literal["auto", "none"]


class InterpolateKeywords(SampleSettings, total=False):
    """Options of an edit, see `InterpolateOptions`."""

    way: Literal["slerp", "shared"]
    frames: int
    strength: float
    exact: bool
    overlap: int | Literal["auto", "none"]


class InvertKeywords(SampleSettings, total=False):
    """Options of an edit, see `InvertOptions`."""

    exact: bool
    iterations: int
    within: float
    overlap: int | Literal["auto", "none"]


class TranslateKeywords(SampleSettings, total=False):
    """Options of an edit, see `TranslateOptions`."""

    to: Required[str]
    source: object
    strength: float
    exact: bool
    iterations: int
    overlap: int | Literal["auto", "none"]
