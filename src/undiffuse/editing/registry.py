"""The table of edits, which every door reads: `undiffuse edit`, the studio's page and its HTTP interface.

A row's options are a class of `options`, and its work calls the function of `undiffuse.editing` that Python's users
call. No torch before an edit is done: `--help` reads the table.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from undiffuse import editing
from undiffuse.config.sampling import SampleConfig
from undiffuse.editing import options as o
from undiffuse.editing.defaults import (
    ADVISED,
    QUICK,
    ROUNDING,
    TO_NOISE,
    quarter,
)
from undiffuse.editing.edit import Edit, EditInput, EditResult, Said, is_stage
from undiffuse.errors import UndiffuseError

if TYPE_CHECKING:
    from undiffuse.model import AnyModel


def overlap_of(how: o.EditOptions, model: AnyModel, sides: tuple[int, int]) -> int | None:
    """Pixels that tiles share in a result of this (height, width); None for the whole picture at once."""
    if how.overlap == "auto":
        learned = model.info.spatial
        larger = any(side > usual for side, usual in zip(sides, learned, strict=True))
        return min(learned) // 4 if larger and not is_stage(model) else None  # a stage sees everything at once
    return None if how.overlap == "none" else how.overlap


# --- known in part ----------------------------------------------------------------------------------------------------


def _filling(how: o.InpaintOptions) -> dict[str, Any]:
    return {"method": how.method, "scale": how.scale, "jump": how.jump, "repeats": how.repeats}


def _inpaint(given: EditInput, how: o.InpaintOptions) -> EditResult:
    assert given.mask is not None
    filled = editing.inpaint(given.here, given.x0, given.mask, **_filling(how))
    return EditResult(filled, {"given": given.x0 * given.mask})


def _outpaint(given: EditInput, how: o.OutpaintOptions) -> EditResult:
    from undiffuse.editing.inpainting import extended

    margins = ((how.top, how.bottom), (how.left, how.right))
    canvas, _ = extended(given.x0, margins)
    made = editing.outpaint(given.editor(*canvas.shape[2:]), given.x0, margins, **_filling(how))
    return EditResult(made, {"given": canvas})


def _with_margins(how: o.OutpaintOptions, model: AnyModel, sides: tuple[int, int]) -> o.OutpaintOptions:
    if any((how.top, how.bottom, how.left, how.right)):
        return how
    each = quarter(sides)
    return replace(how, top=each, bottom=each, left=each, right=each)


def _upscale(given: EditInput, how: o.UpscaleOptions) -> EditResult:
    assert how.factor is not None
    height, width = (side * how.factor for side in given.x0.shape[2:])
    editor = given.editor(height, width)
    if is_stage(editor.model):
        larger = editing.enlarge(editor, given.x0)
    else:
        larger = editing.upscale(editor, given.x0, how.factor, method=how.method, scale=how.scale)
    return EditResult(larger, {"given": given.x0})


def _with_factor(how: o.UpscaleOptions, model: AnyModel, sides: tuple[int, int]) -> o.UpscaleOptions:
    return replace(how, factor=model.config.conditions.upscale if is_stage(model) else how.factor or 4)


def _check_stage(model: AnyModel, said: Said) -> None:
    if not is_stage(model):
        _check_restored(model, said)
        return
    from undiffuse.model import Cascade

    learned = model.config.conditions.upscale
    if isinstance(model, Cascade):
        raise UndiffuseError("This is a cascade and draws its own small pictures; name a stage's run")
    if said.get("factor", learned) != learned:
        raise UndiffuseError(f"This model learned to enlarge {learned} times: leave out `factor`")
    for name in ("method", "scale"):
        if name in said:
            raise UndiffuseError(f"`{name}` is for models that never learned to enlarge, and this one did")


def _colorize(given: EditInput, how: o.RestoreOptions) -> EditResult:
    made = editing.colorize(given.here, given.x0, method=how.method, scale=how.scale)
    return EditResult(made, {"given": given.x0})


def _check_color(model: AnyModel, said: Said) -> None:
    from undiffuse.editing.inverse_problems import check_color

    check_color(model.info)
    _check_restored(model, said)


def _check_restored(model: AnyModel, said: Said) -> None:
    _check_denoises(model, f"`method={said.get('method', o.RestoreOptions.method)}`")


def _check_filled(model: AnyModel, said: Said) -> None:
    if said.get("method", "replace") != "replace":  # by which a student fills where nobody says
        _check_denoises(model, f"`method={said['method']}`")


def _check_denoises(model: AnyModel, what: str) -> None:
    from undiffuse.model.student_request import check_denoises

    check_denoises(model.config, what)


def _deblur(given: EditInput, how: o.DeblurOptions) -> EditResult:
    noise = ROUNDING if how.noise is None else how.noise * 2 / 255
    made = editing.deblur(given.here, given.x0, how.std, noise=noise, method=how.method, scale=how.scale)
    return EditResult(made, {"given": given.x0})


# --- there and back ---------------------------------------------------------------------------------------------------

INVERTED = "Only DDIM without noise is inverted: leave out `sampler` and `eta`"
SLERP = "slerp inverts DDIM without noise: leave out `sampler` and `eta`, or take `way=shared`"


def _denoise(given: EditInput, how: o.DenoiseOptions) -> EditResult:
    made, stds = editing.denoise(given.here, given.x0, None if how.noise is None else how.noise * 2 / 255)
    said = "seems to have" if how.noise is None else "is taken to have"
    notes = tuple(f"{said} noise of {std * 127.5:.1f} / 255" for std in stds.tolist())
    return EditResult(made, {"given": given.x0}, notes=notes)


def _check_denoised(model: AnyModel, said: Said) -> None:
    _check_denoises(model, "taking noise off from any time")


def _vary(given: EditInput, how: o.VaryOptions) -> EditResult:
    return EditResult(editing.vary(given.here, given.x0, how.strength), {"given": given.x0})


def _interpolate(given: EditInput, how: o.InterpolateOptions) -> EditResult:
    assert given.second is not None
    more: dict[str, Any] = {"way": how.way, "strength": how.strength, "inverter": editing.Inverter(how.exact)}
    made = editing.interpolate(given.here, given.x0[0], given.second, how.frames, **more)
    return EditResult(made, {"A": given.x0}, {"B": given.second[None]})


def _invert(given: EditInput, how: o.InvertOptions) -> EditResult:
    found = editing.invert(given.here, given.x0, editing.Inverter(how.exact, how.iterations, how.within))
    pairs = zip(found.error.tolist(), found.psnr.tolist(), strict=True)
    notes = [f"comes back within {e * 127.5:.2f} / 255 (root mean square), {psnr:.1f} dB" for e, psnr in pairs]
    # The latent is nearly normal: a third of it is nearly within a picture's range.
    shown = {"given": given.x0, "latent": found.latents / 3}
    return EditResult(
        found.reconstructions, shown, files={"latent": found.latents}, notes=tuple(notes), warning=found.warning
    )


def _translate(given: EditInput, how: o.TranslateOptions) -> EditResult:
    inverter = editing.Inverter(how.exact, how.iterations)
    found = editing.translate(given.here, given.x0, how.to, how.source, strength=how.strength, inverter=inverter)
    back = found.inversion
    pairs = zip(back.error.tolist(), back.psnr.tolist(), strict=True)
    notes = [f"is given back by its inversion within {e * 127.5:.2f} / 255, {psnr:.1f} dB" for e, psnr in pairs]
    shown = {"given": given.x0, "given back": back.reconstructions}
    return EditResult(found.pictures, shown, notes=tuple(notes), warning=back.warning)


def _check_classes(model: AnyModel, said: Said) -> None:
    from undiffuse.editing.translation import check_classes

    check_classes(model, *(said[name] for name in ("to", "source") if name in said))


# --- the table --------------------------------------------------------------------------------------------------------


def _by_method(how: o.InpaintOptions | o.RestoreOptions) -> SampleConfig:
    return ADVISED[how.method]


ONE_LATENT = "A picture has one latent"

EDITS: dict[str, Edit] = {
    "inpaint": Edit(
        "paint anew what a mask marks",
        o.InpaintOptions,
        _inpaint,
        _by_method,
        quick=QUICK,
        inputs=("image", "mask"),
        check=_check_filled,
    ),
    "outpaint": Edit(
        "paint more around a picture",
        o.OutpaintOptions,
        _outpaint,
        _by_method,
        quick=QUICK,
        filled=_with_margins,
        check=_check_filled,
    ),
    "upscale": Edit(
        "make a picture larger",
        o.UpscaleOptions,
        _upscale,
        _by_method,
        stage=ADVISED["stage"],
        filled=_with_factor,
        check=_check_stage,
    ),
    "colorize": Edit(
        "give a grey picture colour", o.RestoreOptions, _colorize, _by_method, channels=1, check=_check_color
    ),
    "deblur": Edit(
        "sharpen a picture blurred by a Gaussian", o.DeblurOptions, _deblur, _by_method, check=_check_restored
    ),
    "denoise": Edit(
        "take the noise off",
        o.DenoiseOptions,
        _denoise,
        lambda how: SampleConfig.of(sampler="ddim", steps=50),
        check=_check_denoised,
    ),
    "vary": Edit("variations of a picture", o.VaryOptions, _vary, lambda how: SampleConfig.of(steps=50)),
    "interpolate": Edit(
        "from one picture to another",
        o.InterpolateOptions,
        _interpolate,
        lambda how: TO_NOISE if how.way == "slerp" else SampleConfig.of(steps=50),
        inputs=("first", "second"),
        one="Two pictures have one way between them, of as many pictures as `frames` says",
        results=lambda how: int(how.frames),
        inverts=lambda how: SLERP if how.way == "slerp" else "",
    ),
    "invert": Edit(
        "the noise that a picture comes from",
        o.InvertOptions,
        _invert,
        lambda how: TO_NOISE,
        files=("latent",),
        one=ONE_LATENT,
        inverts=lambda how: INVERTED,
    ),
    "translate": Edit(
        "to another class",
        o.TranslateOptions,
        _translate,
        lambda how: TO_NOISE.changed(guidance=2.0),
        one=ONE_LATENT,
        omit=("classes", "text", "weak", "classifier"),
        inverts=lambda how: INVERTED,
        check=_check_classes,
    ),
}


def edits_of(model: AnyModel) -> list[str]:
    """Names of the edits that a model can do; none for signals and volumes."""
    from undiffuse.modalities.images import IMAGES
    from undiffuse.modalities.registry import modality_of

    found = []
    for name, row in EDITS.items() if modality_of(model.info) is IMAGES else ():
        with suppress(UndiffuseError):
            row.check(model, {})
            if row.stage or not is_stage(model):
                found.append(name)
    return found
