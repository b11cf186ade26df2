"""The recorded walks are those of the model that ships."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from undiffuse.model import load
from undiffuse.studio.record import EPS_LEVELS, EPS_RANGE, FOLDER, STEPS, X0_RANGE, atlas, walks


def test_the_recording_is_what_the_shipped_model_draws() -> None:
    facts = json.loads((FOLDER / "walks.json").read_text())
    recorded = np.asarray(Image.open(FOLDER / "walks.png")).astype(int)
    _, height, width = facts["shape"]
    assert recorded.shape == (2 * len(facts["classes"]) * height, STEPS * width)
    model = load("digits")
    assert facts["classes"] == list(model.info.classes)
    found = walks(model, facts["seed"], ["7"])
    assert facts["t"] == [moment.t for moment in found["7"]]
    drawn = np.asarray(atlas(found)).astype(int)
    row = 2 * facts["classes"].index("7") * height
    there = recorded[row : row + 2 * height]
    # Another processor rounds otherwise: at most one level off, and seldom.
    assert np.abs(there[:height] - drawn[:height]).max() <= 2
    assert np.abs(there[height:] - drawn[height:]).max() <= -(-255 // (EPS_LEVELS - 1))
    assert (there != drawn).mean() < 0.01


def test_the_recorded_values_lead_from_each_step_to_the_next() -> None:
    """x_s = alpha_s x0_t + sigma_s eps_t is where the next step's x0_s and eps_s start from, too."""
    facts = json.loads((FOLDER / "walks.json").read_text())
    sheet = np.asarray(Image.open(FOLDER / "walks.png")) / 127.5 - 1
    _, height, width = facts["shape"]
    tiles = sheet.reshape(len(facts["classes"]), 2, height, STEPS, width).transpose(1, 3, 0, 2, 4)
    x0, eps = X0_RANGE * tiles[0], EPS_RANGE * tiles[1]
    alpha, sigma = np.array(facts["alpha"]), np.array(facts["sigma"])
    for k in range(1, STEPS):
        before = alpha[k] * x0[k - 1] + sigma[k] * eps[k - 1]
        now = alpha[k] * x0[k] + sigma[k] * eps[k]
        kept = np.all([(np.abs(eps[j]) < 0.99 * EPS_RANGE) & (np.abs(x0[j]) < 0.99) for j in (k - 1, k)], axis=0)
        # half a level of the noise at both ends, its byte rounded at both, and of the picture alike
        bound = sigma[k] * 2 * EPS_RANGE * (1 / (EPS_LEVELS - 1) + 1 / 255) + alpha[k] * 2 * X0_RANGE / 255
        assert np.abs(before - now)[kept].max() <= bound
