"""Record the walks that the Learn panels play where there is no server, such as in the documentation.

  python -m undiffuse.studio.record

walks the shipped model `digits` from one noise to each of its classes by DDIM, and writes two files beside the page:

    web/data/walks.json   the times, alpha and sigma of each step, the classes, the ranges below
    web/data/walks.png    8-bit grey; one row of tiles for each class and kind, x0 then eps, one column for each step

Only what the model says is kept, for x_t = alpha x0 + sigma eps at every step. The noise is in 32 levels, which is what
makes the file small.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from undiffuse.diffusion.trajectory import SamplingStep
from undiffuse.model import Model, load_model

FOLDER = Path(__file__).parent / "web" / "data"
SEED, STEPS = 5, 24  # one of the first twelve seeds whose ten digits are all easily told
X0_RANGE, EPS_RANGE = 1.0, 4.0
EPS_LEVELS = 32


def walks(model: Model, seed: int, classes: Sequence[str]) -> dict[str, list[SamplingStep]]:
    """For each class the steps of a DDIM walk of sample 0, up to the end, where nothing is predicted."""
    plans = {name: model.plan(sampler="ddim", steps=STEPS, classes=(name,), micro_batch=1) for name in classes}
    return {name: list(plan.iterate(range(1), seed))[:-1] for name, plan in plans.items()}


def levels(values: NDArray[np.float32], reach: float, count: int) -> NDArray[np.uint8]:
    """Values in [-reach, reach], others clipped, as bytes 0..255 that take ``count`` values evenly."""
    part = np.rint((np.clip(values, -reach, reach) / reach + 1) / 2 * (count - 1)) / (count - 1)
    return np.rint(255 * part).astype(np.uint8)


def atlas(found: dict[str, list[SamplingStep]]) -> Image.Image:
    """All predictions in one picture: rows class 0 x0, class 0 eps, class 1 x0, ...; columns steps."""
    rows = []
    for walk in found.values():
        x0 = torch.cat([step.x0[0, 0] for step in walk], dim=1)
        eps = torch.cat([step.eps[0, 0] for step in walk if step.eps is not None], dim=1)
        rows += [levels(x0.numpy(), X0_RANGE, 256), levels(eps.numpy(), EPS_RANGE, EPS_LEVELS)]
    return Image.fromarray(np.vstack(rows))


def main() -> None:
    model = load_model("digits")
    found = walks(model, SEED, model.info.classes)
    times = torch.tensor([step.t for step in next(iter(found.values()))], dtype=torch.float64)
    alpha, sigma = model.schedule(times)
    facts = {
        "model": "digits",
        "seed": SEED,
        "sampler": "ddim",
        "shape": model.info.shape,
        "classes": list(found),
        "t": times.tolist(),
        "alpha": alpha.tolist(),
        "sigma": sigma.tolist(),
        "x0_range": X0_RANGE,
        "eps_range": EPS_RANGE,
    }
    (FOLDER / "walks.json").write_text(json.dumps(facts) + "\n")
    atlas(found).save(FOLDER / "walks.png", optimize=True)
    print(f"{len(found)} walks of {STEPS} steps: {(FOLDER / 'walks.png').stat().st_size:,} bytes in {FOLDER}")


if __name__ == "__main__":
    main()
