"""What the page computes in JavaScript is what undiffuse computes in Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from undiffuse.diffusion.exact_denoisers import MixtureDenoiser
from undiffuse.diffusion.samplers.ddim import DDIM
from undiffuse.diffusion.samplers.ddpm import DDPM
from undiffuse.diffusion.samplers.dpm_solver import DPMMultistep
from undiffuse.diffusion.samplers.heun import Heun
from undiffuse.diffusion.schedules import VP, cosine, linear
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, trajectory
from undiffuse.visualization.brownian import Water

MEANS = [[-1.0, 0.5], [1.0, 0.2], [0.3, -1.2]]
WEIGHTS = [0.5, 0.3, 0.2]
TIMES = [1e-3, 0.05, 0.3, 0.77, 1.0]


@pytest.fixture
def script(visit: Callable[..., Any]) -> Callable[..., Any]:
    """Run JavaScript with the page's mathematical modules in scope."""
    page = visit("page/icon.svg", refused=True)  # does nothing itself; the browser asks for an icon of the icon
    names = ["schedule", "mixture", "samplers", "water", "random"]
    loads = ", ".join(f"import('/page/js/math/{name}.js')" for name in names)

    def run(body: str, argument: Any = None) -> Any:
        head = f"const [{', '.join(names)}] = await Promise.all([{loads}]);"
        return page.evaluate(f"async (given) => {{ {head} {body} }}", argument)

    return run


@pytest.fixture
def exact() -> MixtureDenoiser:
    means, weights = torch.tensor(MEANS, dtype=torch.float64), torch.tensor(WEIGHTS, dtype=torch.float64)
    return MixtureDenoiser(VP(), means, 0.3, weights)


PLACES = [number for mean in MEANS for number in mean]
MIXTURE = f"const mix = new mixture.Mixture({{ means: {PLACES}, std: 0.3, weights: {WEIGHTS} }});"


def test_the_schedules_are_those_of_undiffuse(script: Any) -> None:
    chain_times = [1, 2, 3.5, 250, 499.25, 777, 998.5, 999, 1000, 0.25, 0]
    for name, schedule, times in (
        ("linear()", linear(), chain_times),
        ("linear(50)", linear(50), [0, 1, 20, 33.3, 50]),
        ("cosine()", cosine(), chain_times),
        ("new_VP()", VP(), TIMES),
    ):
        made = f"schedule.{name}" if "new" not in name else "new schedule.VP()"
        found = script(f"return given.map(t => {made}.at(t)).map(q => [q.alpha, q.sigma])", times)
        wanted = schedule(torch.tensor(times, dtype=torch.float64))
        np.testing.assert_allclose(found, torch.stack(wanted, dim=1).numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", [2, 7, 40])
def test_the_times_are_even_in_log_snr(script: Any, steps: int) -> None:
    found = script("return schedule.evenInLogSnr(new schedule.VP(), given)", steps)
    np.testing.assert_allclose(found, make_timesteps(VP(), steps, "log-snr").numpy(), rtol=1e-9)


def test_the_mixture_is_denoised_exactly(script: Any, exact: MixtureDenoiser) -> None:
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    body = f"{MIXTURE} const q = new schedule.VP().at(given.t); const {{ x0, eps }} = mix.denoise(given.x, q);"
    body += "return [[...x0], [...eps], [...mix.score(given.x, q)]]"
    for t in TIMES:
        x0, eps, score = script(body, {"x": x.flatten().tolist(), "t": t})
        wanted = exact(x, torch.tensor(t, dtype=torch.float64))
        np.testing.assert_allclose(x0, wanted.x0.flatten(), atol=1e-12)
        np.testing.assert_allclose(eps, wanted.eps.flatten(), atol=1e-12)
        np.testing.assert_allclose(score, -np.asarray(eps) / float(VP()(torch.tensor(t)).sigma), atol=1e-12)


def test_the_score_is_the_slope_of_the_log_density(script: Any) -> None:
    body = f"{MIXTURE} const q = new schedule.VP().at(0.3); const log = (x, y) => Math.log(mix.density(x, y, q));"
    body += "const d = 1e-5; return [[...mix.score([0.4, -0.3], q)],"
    body += (
        "[(log(0.4 + d, -0.3) - log(0.4 - d, -0.3)) / (2 * d), (log(0.4, -0.3 + d) - log(0.4, -0.3 - d)) / (2 * d)]]"
    )
    score, slope = script(body)
    assert score == pytest.approx(slope, rel=1e-6)


class Told(Noise):
    """Noise that was drawn before."""

    def __init__(self, values: list[float]) -> None:
        self.values = iter(values)

    def like(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([next(self.values) for _ in range(x.numel())], dtype=x.dtype).reshape(x.shape)


@pytest.mark.parametrize(
    ("name", "sampler"),
    [("ddim", DDIM()), ("ddpm", DDPM()), ("heun", Heun()), ("dpm2m", DPMMultistep())],
    ids=["ddim", "ddpm", "heun", "dpm2m"],
)
def test_the_samplers_walk_as_those_of_undiffuse(script: Any, exact: MixtureDenoiser, name: str, sampler: Any) -> None:
    random = np.random.default_rng(1)
    x, noise = random.standard_normal((4, 2)), random.standard_normal(200).tolist()
    times = make_timesteps(VP(), 9, "log-snr")
    body = f"{MIXTURE} const vp = new schedule.VP(); let i = 0; const told = {{ normal: () => given.noise[i++] }};"
    body += "const predict = (x, t) => mix.denoise(x, vp.at(t));"
    body += f"const walker = samplers.SAMPLERS.{name}; const x = Float64Array.from(given.x);"
    body += (
        "return samplers.walk(walker, { predict, schedule: vp, times: given.times, x, random: told }).map(s => [...s])"
    )
    found = script(body, {"x": x.flatten().tolist(), "noise": noise, "times": times.tolist()})
    walk = trajectory(exact, sampler, times, torch.from_numpy(x), Told(noise))
    for here, there in zip(found[1:], walk, strict=True):
        np.testing.assert_allclose(here, there.flatten().numpy(), rtol=1e-7, atol=1e-9)


def test_the_ink_has_the_density_of_undiffuse(script: Any) -> None:
    x = np.linspace(-2, 2, 41)
    for water in (Water(), Water(diffusivity=1, theta=1, centre=-1.6)):
        made = f"new water.Water({{ diffusivity: {water.diffusivity}, theta: {water.theta}, centre: {water.centre} }})"
        for t in (0.05, 0.4, 1.0):
            found = script(f"const w = {made}; return given.map(x => w.density(x, {t}))", x.tolist())
            np.testing.assert_allclose(found, water.density(x, t), atol=1e-6)
            assert script(f"return {made}.variance({t})") == pytest.approx(water.variance(t), rel=1e-12)


def test_random_numbers_are_normal_and_come_again(script: Any) -> None:
    first, again, other = script("return [3, 3, 4].map(seed => [...new random.Random(seed).normals(20000)])")
    assert first == again
    values = np.array(first)
    assert abs(values.mean()) < 4 / np.sqrt(len(values))
    assert abs(values.var() - 1) < 4 * np.sqrt(2 / len(values))
    assert abs((values**4).mean() - 3) < 4 * np.sqrt(96 / len(values))
    assert abs(np.corrcoef(values, other)[0, 1]) < 4 / np.sqrt(len(values))


def test_text_and_lines_stand_out_from_what_is_behind_them() -> None:
    """WCAG 2.2, AA: 4.5 : 1 for text, 3 : 1 for what carries meaning."""
    from undiffuse.studio.page_files import FOLDER

    light, dark = _themes(FOLDER / "css" / "tokens.css")
    for theme in (light, {**light, **dark}):
        for behind in ("paper", "surface"):
            for text in ("ink", "muted", "signal", "noise", "good"):
                assert _contrast(theme[text], theme[behind]) >= 4.5, (text, behind)
            assert _contrast(theme["strong-line"], theme[behind]) >= 3
            assert _contrast(theme["focus"], theme[behind]) >= 3
        assert _contrast(theme["muted"], theme["sunken"]) >= 4.5


def _themes(path: Path) -> list[dict[str, str]]:
    text = path.read_text()
    blocks = [text.index(":root {"), text.index(':root[data-theme="dark"]'), len(text)]
    return [dict(re.findall(r"--([\w-]+): (#\w{6});", text[start:end])) for start, end in pairwise(blocks)]


def _contrast(one: str, other: str) -> float:
    def luminance(color: str) -> float:
        parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)
