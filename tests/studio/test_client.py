"""What docs/use/studio.md says of the interface is so: its client runs against a server, its table has every call."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import undiffuse

GUIDE = (Path(__file__).parents[2] / "docs" / "use" / "studio.md").read_text(encoding="utf-8")


def test_the_client_of_the_guide_draws(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (client,) = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(client.replace("http://127.0.0.1:8000", server), "client", "exec"), {})
    expected = undiffuse.load("digits").sample(4, 0, classes=("seven",)).array[:, 0]
    for index, array in enumerate(expected):
        with Image.open(f"{index}.png") as image:
            assert np.array_equal(np.asarray(image), array)


def test_the_guide_has_every_call(shared: Any) -> None:
    told = set(re.findall(r"`(GET|POST|DELETE) (/v1/[^`?]*)`", GUIDE))
    paths = shared.get("/openapi.json")["paths"]
    assert told == {(method.upper(), path) for path, calls in paths.items() for method in calls}


def test_the_guide_has_the_limits(shared: Any) -> None:
    limits = shared.get("/v1/status")["limits"]
    guide = " ".join(GUIDE.split())
    told = f"{limits['count']} pictures a request, {limits['steps']:,} steps"
    assert told in guide
    assert f"at most {limits['larger']} times the pixels" in guide
    assert f"{limits['data_bytes'] >> 30} GiB and {limits['files']:,} files" in guide
