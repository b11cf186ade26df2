"""Pickles, bare or in a zip file: opening one would run the code that is in it."""

from __future__ import annotations

from undiffuse.data.formats.format import Format, NamedPath
from undiffuse.errors import UndiffuseError

_SUFFIXES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")


def _refuse(found: NamedPath) -> None:
    if found.path.suffix.lower() in _SUFFIXES:
        raise UndiffuseError(
            f"expected data that hold no code, got {found.path}, which is never opened; save its array as an .npz: "
            "np.savez('data.npz', x=array)"
        )


FORMAT = Format(file=_refuse)
