"""Edits of real pictures by an unconditional model: each is a denoiser around its denoiser, or a walk from elsewhere.

An `Editor` holds a model's plan; each edit is a function of an editor and pictures in model space:

    model = undiffuse.load("runs/NAME")
    editor = Editor.of(model, ADVISED["dps"], seed=0)  # undiffuse.editing.defaults
    x0 = model.codec.encode(pictures)      # (n, channels, height, width), values of the data's own type
    filled = model.codec.decode(inpaint(editor, x0, known, method="dps"))
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from undiffuse.diffusion.trajectory import slerp
    from undiffuse.editing.denoising import denoise, estimate_noise
    from undiffuse.editing.editor import Editor
    from undiffuse.editing.inpainting import inpaint, outpaint
    from undiffuse.editing.interpolation import interpolate
    from undiffuse.editing.inverse_problems import colorize, deblur, restore, upscale
    from undiffuse.editing.inversion import Inversion, Inverter, invert
    from undiffuse.editing.super_resolution import enlarge
    from undiffuse.editing.translation import Translation, translate
    from undiffuse.editing.variation import vary

_HOMES = {
    "denoising": ("denoise", "estimate_noise"),
    "editor": ("Editor",),
    "super_resolution": ("enlarge",),
    "interpolation": ("interpolate", "slerp"),
    "inpainting": ("inpaint", "outpaint"),
    "inverse_problems": ("colorize", "deblur", "restore", "upscale"),
    "inversion": ("Inversion", "Inverter", "invert"),
    "translation": ("Translation", "translate"),
    "variation": ("vary",),
}
"""Names by module. A module is never called as what it holds: importing it would hide the other."""

__all__ = [
    "Editor",
    "Inversion",
    "Inverter",
    "Translation",
    "colorize",
    "deblur",
    "denoise",
    "enlarge",
    "estimate_noise",
    "inpaint",
    "interpolate",
    "invert",
    "outpaint",
    "restore",
    "slerp",
    "translate",
    "upscale",
    "vary",
]


def __getattr__(name: str) -> object:
    """Load torch only where it is used: `undiffuse edit inpaint --help` reads `editing.defaults` alone."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"undiffuse.editing.{module}"), name)
    raise AttributeError(f"module 'undiffuse.editing' has no attribute '{name}'")
