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

from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser
from undiffuse.diffusion.samplers.ddim import DDIM
from undiffuse.diffusion.samplers.ddpm import DDPM
from undiffuse.diffusion.samplers.dpm_solver import DPMMultistep
from undiffuse.diffusion.samplers.heun import Heun
from undiffuse.diffusion.samplers.students import Renoise
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
    names = ["schedule", "mixture", "samplers", "students", "water", "random"]
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


@pytest.mark.parametrize("steps", [1, 4, 20, 200])
def test_the_times_of_few_leaps_are_trailing(script: Any, steps: int) -> None:
    found = script("return schedule.evenInTime(schedule.cosine(), given)", steps)
    assert found == make_timesteps(cosine(), steps, "trailing").tolist()


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


def test_a_world_of_pictures_is_denoised_exactly(script: Any) -> None:
    random = np.random.default_rng(2)
    pictures, x = random.uniform(-1, 1, (4, 36)), random.standard_normal(36)
    ideal = MixtureDenoiser(cosine(), torch.from_numpy(pictures))
    body = "const { x0, eps } = new mixture.Pictures(given.pictures).denoise(given.x, schedule.cosine().at(given.t));"
    for t in (1000.0, 900.0, 700.0, 300.0, 5.0):
        given = {"pictures": pictures.tolist(), "x": x.tolist(), "t": t}
        x0, eps = script(f"{body} return [[...x0], [...eps]]", given)
        wanted = ideal(torch.from_numpy(x)[None], torch.tensor(t, dtype=torch.float64))
        np.testing.assert_allclose(x0, wanted.x0[0], atol=1e-11)
        np.testing.assert_allclose(eps, wanted.eps[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["clouds", "cloud", "moons"])
def test_one_leap_ends_in_the_posterior_mean(script: Any, name: str) -> None:
    """D(x_T) = E[x0 | x_T], which is the mean of the data but for alpha_T = 5e-5."""
    x = np.random.default_rng(3).standard_normal((200, 2))
    body = f"const mix = mixture.{name}(), chain = schedule.cosine(), times = schedule.evenInTime(chain, 1);"
    body += "const x = Float64Array.from(given);"
    body += "const predict = (x, t) => mix.denoise(x, chain.at(t));"
    body += "const walked = samplers.walk(samplers.SAMPLERS.ddim, { predict, schedule: chain, times, x });"
    body += "return [[...walked.at(-1)], [...mix.means], [...mix.weights], mix.std, mix.moments()]"
    end, means, weights, std, moments = script(body, x.ravel().tolist())
    mu, w = np.reshape(means, (-1, 2)).astype(float), np.array(weights, dtype=float)
    exact = MixtureDenoiser(cosine(), torch.from_numpy(mu), std, torch.from_numpy(w))
    wanted = exact(torch.from_numpy(x), torch.tensor(1000.0, dtype=torch.float64)).x0.numpy()
    np.testing.assert_allclose(np.reshape(end, (-1, 2)), wanted, atol=1e-12)
    mean = w @ mu
    np.testing.assert_allclose(wanted, np.broadcast_to(mean, x.shape), atol=1e-3)
    np.testing.assert_allclose(moments["mean"], mean, atol=1e-14)
    assert moments["spread"] ** 2 == pytest.approx(2 * std**2 + w @ np.square(mu - mean).sum(1), rel=1e-12)


STUDENT = "const mix = mixture.{shape}(), chain = schedule.cosine();"
STUDENT += "const taught = schedule.evenInTime(chain, {taught}), times = schedule.evenInTime(chain, {count});"
STUDENT += "let i = 0; const told = {{ normal: () => given.noise[i++] }}, x = Float64Array.from(given.x);"
STUDENT += "const teacher = (x, t) => mix.denoise(x, chain.at(t));"
STUDENT += "const learned = students.student({{ predict: teacher, schedule: chain, times: taught }});"
STUDENT += "const walker = {walker}, predict = {predict};"
STUDENT += "return [...samplers.walk(walker, {{ predict, schedule: chain, times, x, random: told }}).at(-1)];"


@pytest.fixture
def drawn(script: Any) -> Callable[..., Any]:
    """Where points of noise end: by DDIM, or by a sampler of a student of so many steps."""

    def run(walker: str, count: int, x: Any, taught: int = 20, shape: str = "clouds", noise: Any = ()) -> Any:
        teacher = walker == "ddim"
        chosen = "samplers.SAMPLERS.ddim" if teacher else f"students.STUDENT_SAMPLERS.{walker}"
        given = {"x": np.ravel(x).tolist(), "noise": list(noise)}
        predict = "teacher" if teacher else "learned"
        body = STUDENT.format(shape=shape, taught=taught, count=count, walker=chosen, predict=predict)
        return np.reshape(script(body, given), (-1, 2))

    return run


@pytest.mark.parametrize(("steps", "std"), [(1, 0.000012321), (2, 0.198520663), (4, 0.331433346)])
def test_leaps_from_one_cloud_lose_the_spread_that_the_equations_say(drawn: Any, steps: int, std: float) -> None:
    """std = prod c(t, s) for N(0, 0.5^2), c = (alpha_s alpha_t 0.25 + sigma_s sigma_t) / v_t."""
    x = np.array([[1.0, -2.0]])
    np.testing.assert_allclose(drawn("ddim", steps, x, shape="cloud"), std * x, atol=2e-9)


@pytest.mark.parametrize("taught", [20, 200])
@pytest.mark.parametrize("count", [1, 2, 4, 20])
def test_jumps_end_where_the_walk_ends_however_many(drawn: Any, taught: int, count: int) -> None:
    x = np.random.default_rng(4).standard_normal((20, 2))
    np.testing.assert_array_equal(drawn("jump", count, x, taught), drawn("ddim", taught, x))


class Consistent:
    """A student without error of the walk along `times`: x0 is where the walk from x_t ends."""

    schedule = cosine()

    def __init__(self, teacher: MixtureDenoiser, times: torch.Tensor) -> None:
        self.teacher, self.times = teacher, times

    def __call__(self, x: torch.Tensor, t: Any, **conditions: Any) -> Prediction:
        rest = self.times[self.times <= float(t)]
        *_, end = trajectory(self.teacher, DDIM(), rest, x, Told([]))
        return Prediction(end, torch.zeros_like(x))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_fresh_noise_is_added_as_by_the_sampler_of_undiffuse(drawn: Any, script: Any, count: int) -> None:
    random = np.random.default_rng(5)
    x, noise = random.standard_normal((6, 2)), random.standard_normal(12 * count)
    means, weights, std = script("const m = mixture.clouds(); return [[...m.means], [...m.weights], m.std]")
    mu = torch.tensor(means, dtype=torch.float64).reshape(-1, 2)
    teacher = MixtureDenoiser(cosine(), mu, std, torch.tensor(weights, dtype=torch.float64))
    learned = Consistent(teacher, make_timesteps(cosine(), 20))
    *_, end = trajectory(learned, Renoise(), make_timesteps(cosine(), count), torch.from_numpy(x), Told(noise.tolist()))
    np.testing.assert_allclose(drawn("renoise", count, x, noise=noise), end.numpy(), atol=1e-9)


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
