"""Training: from a data set to a run's folder with checkpoints in it.

Reading order: `loop` (one step, as a generator), `ema`, `optimizer`, `checkpoint`, `session` (the loop with its
observers), `api` (`train`, the one function that users call).

To a user ``undiffuse.train`` is that function, and to Python it is this package once a module of it is imported.
So the package can be called, and ``undiffuse.train("photos/")`` works either way.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from undiffuse.model import Model


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Model:
        """See `undiffuse.train.api.train`."""
        from undiffuse.train.api import train

        return train(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
