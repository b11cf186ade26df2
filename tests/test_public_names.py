from __future__ import annotations

import importlib
import pkgutil

import undiffuse


def test_every_name_that_a_module_exports_is_there() -> None:
    names = [module.name for module in pkgutil.walk_packages(undiffuse.__path__, "undiffuse.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    assert len(modules) > 400
    assert [f"{m.__name__}.{name}" for m in modules for name in getattr(m, "__all__", ()) if not hasattr(m, name)] == []
