"""What a type checker says of a program that uses the library: good calls pass, unknown keywords and values do not."""

from __future__ import annotations

from pathlib import Path

import pytest

PROGRAM = """
import numpy as np
import torch
from PIL import Image

import undiffuse
from undiffuse.diffusion import DDIM, Guidance, cosine

model = undiffuse.train("photos/", size=64, condition="class", lr=1e-4, callbacks=[undiffuse.Callback()])
undiffuse.train(np.zeros((4, 8, 8)), schedule=cosine(64), optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
undiffuse.train("photos/", condition=("class", "text"), multipliers=[1, 2], ema=(0.99,), validation=0.1, steps=None)
undiffuse.train("photos/", stepz=3)  # refused: stepz
undiffuse.train("photos/", crop="middle")  # refused: crop
undiffuse.train("photos/", condition="klass")  # refused: condition

samples = model.sample(4, steps=20, sampler=DDIM(eta=0.5), guidance=Guidance(2.0), classes=["seven"])
samples.save("here")
model.sample(4, stepz=3)  # refused: stepz
model.sample(4, steps="many")  # refused: steps
model.plan(steps=20, sampler="ddim").sample(4, seed=1)
model.plan(stepz=3)  # refused: stepz
for few in model.draw(range(100), steps=5):
    len(few)
model.draw(range(100), stepz=5)  # refused: stepz

picture = Image.new("L", (8, 8))
model.inpaint(picture, picture, method="dps", steps=20, n=2)
model.inpaint(picture, picture, stepz=3)  # refused: stepz
model.vary(picture, strength=0.4, seed=7)
model.vary(picture, strenght=0.4)  # refused: strenght
model.upscale(picture, factor=2)
model.upscale(picture, factor="two")  # refused: factor
model.invert(picture).latents.shape

found = undiffuse.sweep("photos/", {"lr": [1e-4, 3e-4]}, name="rates", minutes=10, jobs=1)
found.failed.items()
undiffuse.sweep("photos/", {"lr": [1e-4]}, name="rates", stepz=3)  # refused: stepz

fast = undiffuse.distill("runs/photos", steps=[4, 2], guidance=2, lr=1e-4, matched=0.5, minutes=10)
fast.sample(4)
undiffuse.distill("runs/photos", stepz=3)  # refused: stepz
undiffuse.distill("runs/photos", method="magic")  # refused: method

loaded = undiffuse.load("runs/photos", device="cpu")
loaded.sample(2, steps=3).array.shape
undiffuse.load("runs/photos", devize="cpu")  # refused: devize
"""


@pytest.mark.slow
def test_mypy_takes_good_calls_and_refuses_the_others(tmp_path, pytestconfig, monkeypatch):
    api = pytest.importorskip("mypy.api")
    program, options = tmp_path / "program.py", tmp_path / "mypy.ini"
    program.write_text(PROGRAM)
    options.write_text("[mypy]\nstrict = true\nfollow_imports = silent\n")
    monkeypatch.setenv("MYPYPATH", str(Path(__file__).parents[1] / "src"))
    assert pytestconfig.cache is not None
    cache = pytestconfig.cache.mkdir("mypy")
    said, trouble, _ = api.run([f"--config-file={options}", f"--cache-dir={cache}", str(program)])
    assert trouble == ""
    errors = {int(line.split(":")[1]): line for line in said.splitlines() if ": error:" in line}
    refused = {
        number: line.partition("# refused: ")[2]
        for number, line in enumerate(PROGRAM.splitlines(), start=1)
        if "# refused: " in line
    }
    assert errors.keys() == refused.keys(), said
    assert [number for number, word in refused.items() if f'"{word}"' not in errors[number]] == [], said
