"""Samplers and guidance that a program gives as objects, in place of the settings that name them."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from undiffuse.conditioning.request import guidance_settings
from undiffuse.errors import UndiffuseError
from undiffuse.factories.sampler import sampler_settings


def with_texts(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A caller's settings in which texts stand for a sampler and guidance that are objects, which `registry` keeps.

    Raises:
        UndiffuseError: an object is not of its kind, or settings beside it say the same.
    """
    found = dict(overrides)
    for name, settings_of in {"sampler": sampler_settings, "guidance": guidance_settings}.items():
        if name in found and not isinstance(found[name], str | Real | Tensor | np.generic):
            own = settings_of(found.pop(name))
            if twice := own.keys() & found.keys():
                raise UndiffuseError(f"`{name}` is an object that says `{min(twice)}` itself: leave `{min(twice)}` out")
            found |= own
    return found
