"""The Learn panels, used as a person would: what they show are the equations' values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch

from undiffuse.diffusion.exact_denoisers import MixtureDenoiser
from undiffuse.diffusion.schedules import VP, cosine, linear
from undiffuse.visualization.brownian import Water

Visit = Callable[..., Any]
Until = Callable[[Any, str], None]
PANELS = ["ink", "drown", "back", "flat", "guidance", "few"]
CALM = {"reduced_motion": "reduce"}


@pytest.fixture
def panel(visit: Visit) -> Callable[..., Any]:
    """One panel alone, as the documentation embeds it; with less motion wished for, nothing plays by itself."""

    def go(name: str, **more: Any) -> Any:
        page = visit(f"page/learn.html?panel={name}", **{**CALM, **more})
        page.wait_for_selector(f"#{name} .transport")
        return page

    return go


def figure(page: Any, name: str) -> str:
    """What a readout says, with a plain minus."""
    return str(page.text_content(f'[data-figure="{name}"]')).replace("−", "-")


def move(page: Any, label: str, value: float) -> None:
    """Set a slider as dragging does."""
    slider = page.get_by_label(label, exact=True)
    slider.evaluate("(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value)


def pixels(page: Any, selector: str) -> list[int]:
    """The red bytes of a canvas."""
    script = (
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).filter((_, i) => i % 4 == 0)"
    )
    return [int(byte) for byte in page.eval_on_selector(selector, f"c => ({script})(c).join()").split(",")]


def moment(page: Any) -> int:
    return int(page.input_value(".transport input"))


@pytest.mark.parametrize(
    ("water", "words", "duration"),
    [(Water(), "lets them go", 1.0), (Water(diffusivity=1, theta=1, centre=-1.6), "pulls to the middle", 2.5)],
    ids=["free", "held"],
)
def test_the_ink_spreads_by_the_law(panel: Any, water: Water, words: str, duration: float) -> None:
    page = panel("ink")
    page.get_by_text(words, exact=True).click()
    for k in (0, 60, 150, 240):
        move(page, "Time since the drop fell", k)
        t = duration * (k / 240) ** 2
        measured, error = (float(part) for part in figure(page, "measured").split(" ± "))
        assert float(figure(page, "exact")) == pytest.approx(water.variance(t), abs=5.1e-4)
        assert abs(measured - water.variance(t)) < 4 * error + 1e-3
        assert f"{t:.2f}" in page.get_attribute(".ink-water", "aria-label")


def test_the_ink_plays_once_pauses_and_obeys_the_keyboard(panel: Any, until: Until) -> None:
    page = panel("ink")
    stands = moment(page)
    page.wait_for_timeout(120)
    assert moment(page) == stands  # less motion was wished for
    page.get_by_label("Time since the drop fell").press("Home")
    page.get_by_role("button", name="Play the spreading ink").click()
    until(page, "document.querySelector('.transport input').value > 8")
    page.get_by_role("button", name="Pause the spreading ink").press("Enter")
    stands = moment(page)
    page.wait_for_timeout(120)
    assert moment(page) == stands
    page.get_by_label("Time since the drop fell").press("ArrowRight")
    assert moment(page) == stands + 1


def test_the_ink_begins_by_itself_where_motion_is_welcome(panel: Any, until: Until) -> None:
    page = panel("ink", reduced_motion="no-preference")
    until(page, "document.querySelector('.transport input').value > 3")


@pytest.mark.parametrize(("name", "schedule"), [("cosine", cosine()), ("linear", linear())], ids=["cosine", "linear"])
def test_a_drowning_picture_shows_the_alpha_and_sigma_of_its_schedule(panel: Any, name: str, schedule: Any) -> None:
    page = panel("drown")
    page.locator("label", has_text=re.compile(f"^{name}$")).click()
    for t in (1, 250, 777, 999):
        move(page, "Time t, from picture to noise", t)
        q_t = schedule(torch.tensor(float(t)))
        assert figure(page, "alpha") == f"{float(q_t.alpha):.3f}"
        assert figure(page, "sigma") == f"{float(q_t.sigma):.3f}"
        assert float(figure(page, "snr")) == pytest.approx(float(q_t.log_snr), abs=5.1e-3)


def test_the_noisy_picture_is_the_sum_of_its_two_parts(panel: Any) -> None:
    page = panel("drown")
    move(page, "Time t, from picture to noise", 150)
    whole, signal, noise = (pixels(page, f".sum figure:nth-of-type({k}) canvas") for k in (1, 2, 3))
    value = [byte / 127.5 - 1 for byte in range(256)]
    inside = [k for k, byte in enumerate(whole) if 0 < byte < 255 and 0 < noise[k] < 255]
    assert len(inside) > 1000
    assert all(abs(value[whole[k]] - value[signal[k]] - value[noise[k]]) < 2 / 127.5 for k in inside)
    move(page, "Time t, from picture to noise", 0)
    assert pixels(page, ".sum figure:nth-of-type(1) canvas") == pixels(page, ".sum figure:nth-of-type(2) canvas")


def test_the_point_on_the_curves_is_dragged_and_a_strip_clicked(panel: Any) -> None:
    page = panel("drown")
    curve = page.locator(".curve").first
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 34 + (box["width"] - 46) * 0.6, box["y"] + 90, steps=4)
    page.mouse.up()
    assert abs(moment(page) - 600) <= 3
    page.get_by_role("button", name="Go to t 800 of the linear schedule").click()
    assert moment(page) == 800
    assert page.get_by_label("linear", exact=True).is_checked()


def test_a_picture_of_ones_own_drowns_and_a_text_file_does_not(panel: Any, tmp_path: Any) -> None:
    from PIL import Image

    page = panel("drown")
    Image.new("RGB", (200, 100), (255, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / "words.png").write_text("no picture")
    page.set_input_files("input[type=file]", tmp_path / "red.png")
    page.get_by_role("radio", name="your picture").wait_for()
    move(page, "Time t, from picture to noise", 0)
    assert set(pixels(page, ".sum figure:nth-of-type(1) canvas")) == {255}
    page.set_input_files("input[type=file]", tmp_path / "words.png")
    page.get_by_role("alert").wait_for()
    assert "PNG or JPEG" in page.text_content("[role=alert]")


def test_the_way_back_starts_from_one_noise_and_ends_in_what_was_believed(panel: Any, until: Until) -> None:
    page = panel("back")
    until(page, "document.querySelector('[data-figure=alpha]').textContent != '–'")
    starts, ends = [], []
    for digit in "37":
        page.locator(".segments label", has_text=digit).click()
        move(page, "Steps taken, from noise to the picture", 0)
        starts.append(pixels(page, ".trio figure:nth-child(1) canvas"))
        move(page, "Steps taken, from noise to the picture", 24)
        ends.append(pixels(page, ".trio figure:nth-child(1) canvas"))
        assert ends[-1] == pixels(page, ".trio figure:nth-child(2) canvas")
    # alpha is 5e-5 at the start: two digits' noises differ by less than the levels that they are kept in
    assert max(abs(a - b) for a, b in zip(*starts, strict=True)) <= 34
    assert sum(map(abs, map(int.__sub__, *ends))) > 10_000
    move(page, "Steps taken, from noise to the picture", 12)
    t = float(figure(page, "time"))
    q_t = cosine()(torch.tensor(t))
    assert figure(page, "alpha") == f"{float(q_t.alpha):.3f}"
    assert figure(page, "sigma") == f"{float(q_t.sigma):.3f}"


def test_other_noise_is_walked_by_the_server(visit: Visit, studio: Any, until: Until) -> None:
    gray = {"x_t": [0.0] * 784, "x0": [1.0] * 784, "eps": [0.0] * 784}
    moments = [{"t": 1000 - 50 * k, "alpha": k / 20, "sigma": 1 - k / 20, "values": gray} for k in range(20)]
    studio.posts["/v1/walk"] = lambda _: {"shape": [1, 28, 28], "moments": [*moments, {"t": 0, "values": gray}]}
    studio.answers["/v1/pictures"] = {"shape": [1, 28, 28], "pictures": [{"values": [0.0] * 784, "label": "7"}]}
    page = visit("#/learn/back", **CALM)
    page.locator("#back .transport").wait_for()
    until(page, "document.querySelector('[data-figure=seed]').textContent == '5'")  # the recording's
    page.get_by_role("button", name="Other noise").nth(0).click()
    until(page, "document.querySelector('[data-figure=seed]').textContent == '6'")
    [(_, _, asked)] = [call for call in studio.asked if call[1] == "/v1/walk"]
    assert asked["seed"] == 6
    assert asked["settings"] == {"sampler": "ddim", "steps": 24, "classes": ["7"]}
    assert set(pixels(page, "#back .trio figure:nth-child(2) canvas")) == {255}


def test_the_probe_tells_the_exact_score(panel: Any) -> None:
    page = panel("flat")
    move(page, "Time, from noise to data", 120)
    square = page.locator(".world canvas").first
    square.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"):
        square.press(key)
    said = page.text_content(".probe").replace("−", "-")
    x, y, t, *rest = (float(number) for number in re.findall(r"-?\d+\.\d+", said))
    assert (x, y) == (0.3, 0.2)
    means = page.evaluate("import('/page/js/math/mixture.js').then(m => [...m.moons().means])")
    exact = MixtureDenoiser(VP(), torch.tensor(means, dtype=torch.float64).reshape(-1, 2), std=0.07)
    # t is said with four digits: the score is that of the time shown to a few thousandths
    believed = exact(torch.tensor([[x, y]], dtype=torch.float64), torch.tensor(t, dtype=torch.float64))
    score = -believed.eps / VP()(torch.tensor(t)).sigma
    assert rest[:2] == pytest.approx(score[0].tolist(), abs=5e-3)
    assert rest[2:] == pytest.approx(believed.x0[0].tolist(), abs=5e-3)


def test_more_evaluations_come_closer_to_the_exact_path(panel: Any, until: Until) -> None:
    page = panel("flat")
    page.get_by_text("five clouds", exact=True).click()
    errors: dict[int, dict[str, float]] = {}
    for count in (6, 12, 48):
        move(page, "Questions to the network, for each point", count)
        until(page, f"document.querySelector('[data-figure=ddim-steps]').textContent == '{count}'")
        errors[count] = {name: float(figure(page, f"{name}-path")) for name in ("ddim", "heun", "dpm2m")}
        assert figure(page, "heun-steps") == str((count + 1) // 2)
    assert all(errors[6][name] > errors[12][name] > errors[48][name] for name in errors[6])
    assert errors[48]["dpm2m"] < errors[48]["ddim"] / 3  # second order against first
    assert figure(page, "ddpm-path") == "dice"
    assert float(figure(page, "ddpm-distance")) < 0.15


GUIDED = "document.querySelector('[data-figure=guided-variety]').textContent"


def test_guidance_obeys_and_costs_variety(panel: Any, until: Until) -> None:
    page = panel("guidance")
    seen = {}
    for w in (1, 4):
        move(page, "Guidance w", w)
        same = "===" if w == 1 else "!=="
        until(page, f"{GUIDED} {same} document.querySelector('[data-figure=plain-variety]').textContent")
        seen[w] = {name: float(figure(page, f"guided-{name}").rstrip(" %")) for name in ("clear", "variety")}
    assert seen[1] == {name: float(figure(page, f"plain-{name}").rstrip(" %")) for name in ("clear", "variety")}
    # two kinds 1.5 apart with std 0.42: the share beyond the middle is a normal tail
    share = 100 * 0.5 * math.erfc(0.75 / 0.42 / math.sqrt(2))
    assert seen[1]["clear"] == pytest.approx(share, abs=4 * math.sqrt(share * (100 - share) / 500))
    assert seen[4]["clear"] < 0.3
    assert seen[4]["variety"] < seen[1]["variety"] - 0.03


COUNTS = (1, 2, 4, 20)
CHOICES = {"steps": "Evaluations of the network", "taught": "The student has learned the walk of", "data": "The data"}


@dataclass
class Few:
    """The panel `few`, open."""

    page: Any

    def figures(self, square: str, **chosen: str) -> dict[str, float]:
        """Those below a square, after choices; a distance that dice decide is left out."""
        for name, value in chosen.items():
            group = self.page.get_by_role("group", name=CHOICES[name], exact=True)
            group.locator("label", has_text=re.compile(f"^{value}$")).click()
        said = {name: figure(self.page, f"{square}-{name}") for name in ("spread", "error", "path", "distance")}
        return {name: 0.0 if text == "≈ 0" else float(text) for name, text in said.items() if text != "dice"}


@pytest.fixture
def few(panel: Any, until: Until) -> Few:
    page = panel("few")
    until(page, "document.querySelector('[data-figure=teacher-spread]').textContent != ''")
    return Few(page)


def test_one_evaluation_draws_the_mean_and_more_come_nearer(few: Few) -> None:
    script = "import('/page/js/math/mixture.js').then(m => m.clouds()).then(c => [[...c.means], [...c.weights], c.std])"
    means, weights, std = few.page.evaluate(script)
    mu, w = torch.tensor(means).reshape(-1, 2), torch.tensor(weights)
    exact = math.sqrt(2 * std**2 + float(w @ (mu - w @ mu).square().sum(1)))
    assert few.figures("data")["spread"] == pytest.approx(exact, abs=5.1e-4)
    seen = {n: few.figures("teacher", steps=str(n)) for n in COUNTS}
    assert seen[1]["spread"] == seen[1]["error"] == 0
    for name in ("path", "distance"):
        assert seen[1][name] > 2 * seen[2][name] > 2 * seen[4][name] > 2 * seen[20][name]
    assert seen[2]["spread"] < seen[4]["spread"] < seen[20]["spread"] < exact


def test_jumps_have_the_spread_of_the_data_however_few(few: Few) -> None:
    for data in ("five clouds", "one cloud"):
        exact = few.figures("data", data=data)["spread"]
        seen = [few.figures("jump", steps=str(n)) for n in COUNTS]
        assert seen[0] == seen[1] == seen[2] == seen[3]
        assert seen[0]["path"] == 0
        assert seen[0]["spread"] == pytest.approx(exact, abs=4 * seen[0]["error"])
        assert seen[0]["distance"] < 0.1


def test_a_student_of_twenty_steps_is_its_teacher_and_fresh_noise_repairs_nothing(few: Few) -> None:
    """N(0, 0.5^2) by cosine: the spread is sqrt(2) A, and var' = A^2 (alpha^2 var + sigma^2) where noise is added."""
    narrow = {1: 0.653522, 2: 0.651067, 4: 0.641622, 20: 0.608807}  # of the data's 0.707107
    assert few.figures("data", data="one cloud", taught="20 steps")["spread"] == 0.707
    assert few.figures("jump", steps="1") == few.figures("teacher", steps="20")
    for n, exact in narrow.items():
        seen = few.figures("renoise", steps=str(n))
        assert seen["spread"] == pytest.approx(exact, abs=4 * seen["error"])
        assert seen["spread"] < 0.707 - 2 * seen["error"]
    assert "path" in few.figures("renoise", steps="1")
    assert "path" not in few.figures("renoise", steps="4")


def test_of_ten_pictures_one_evaluation_is_the_blur_of_all(few: Few, until: Until) -> None:
    page = few.page
    page.locator(".ends").scroll_into_view_if_needed()
    until(page, "document.querySelector('[data-figure=arrived-jump]').textContent != '–'")
    digits = page.evaluate(
        "import('/page/js/learn/walks.js').then(w => w.recorded())"
        ".then(record => record.classes.map(name => [...record.walks.get(name).end]))"
    )
    mean = torch.tensor(digits, dtype=torch.float64).mean(0)
    for row in (1, 2, 3):
        blur = torch.tensor(pixels(page, f".ends tbody tr:nth-child({row}) td:nth-child(2) canvas"))
        assert (blur / 127.5 - 1 - mean).abs().max() < 1.5 / 127.5
        jump, twenty = (pixels(page, f".ends tbody tr:nth-child({row}) td:nth-child({k}) canvas") for k in (6, 5))
        whole = [[round((value + 1) * 127.5) for value in digit] for digit in digits]
        assert min(sum(map(abs, map(int.__sub__, jump, digit))) for digit in whole) <= 784
        assert min(sum(map(abs, map(int.__sub__, twenty, digit))) for digit in whole) <= 784
    gap = (torch.tensor(digits, dtype=torch.float64) - mean).square().mean(1).sqrt().min()
    assert float(figure(page, "blur-1")) == pytest.approx(127.5 * float(gap), abs=0.1)
    arrived = [int(figure(page, f"arrived-{n}")) for n in (*COUNTS, "jump")]
    assert arrived == sorted(set(arrived))
    assert (arrived[0], arrived[-1]) == (0, 40)
    few.figures("jump", taught="20 steps")
    until(page, f"document.querySelector('[data-figure=arrived-jump]').textContent == '{arrived[3]}'")


def test_the_leaps_are_scrubbed_and_chosen_by_keyboard_from_other_noise(few: Few, until: Until) -> None:
    page = few.page
    before = few.figures("jump")
    page.get_by_label("1", exact=True).press("ArrowRight")
    assert page.get_by_label("2", exact=True).is_checked()
    page.get_by_label("Time, from noise to data").press("Home")
    assert "at t 1000, in 2 evaluations" in page.locator(".world canvas").first.get_attribute("aria-label")
    page.get_by_role("button", name="Other noise").press("Enter")
    until(page, f"document.querySelector('[data-figure=jump-spread]').textContent != '{before['spread']:.3f}'")


def test_the_chapters_are_reached_from_their_contents(visit: Visit, studio: Any, until: Until) -> None:
    studio.answers["/v1/pictures"] = {"shape": [1, 28, 28], "pictures": []}
    page = visit("#/learn", **CALM)
    assert page.locator("h2").first.text_content() == "A drop of ink"
    page.get_by_role("link", name="The flat world").click()
    until(page, "Math.abs(document.getElementById('flat').getBoundingClientRect().top) < 200")
    assert page.get_by_role("link", name="Learn", exact=True).get_attribute("aria-current") == "page"
    assert "Learn" in page.title()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_panel_fits_and_everything_in_it_has_a_name(visit: Visit, theme: str) -> None:
    page = visit("page/learn.html", color_scheme=theme, **CALM)
    page.wait_for_selector("#few .transport")
    assert page.get_attribute("html", "data-theme") == theme
    targets = "[...document.querySelectorAll('button, .segments label, .thumb')]"
    small = "box => Math.min(box.width, box.height) < 24"
    for width in (1440, 768, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for name in PANELS:
            page.locator(f"#{name} .panel").scroll_into_view_if_needed()
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(f"{targets}.filter(e => ({small})(e.getBoundingClientRect())).map(e => e.outerHTML)") == []
    unnamed = "[...document.querySelectorAll('canvas, button')].filter(e => !(e.ariaLabel || e.textContent.trim()))"
    assert page.evaluate(f"{unnamed}.map(e => e.outerHTML)") == []
    assert page.locator("math[display=block]").count() == len(PANELS)


def test_a_name_that_is_no_panel_is_told_which_there_are(visit: Visit) -> None:
    page = visit("page/learn.html?panel=inc")
    page.get_by_text("ink, drown, back, flat, guidance, few").wait_for()


def test_the_panels_need_nothing_but_files(visit: Visit, tmp_path: Any, until: Until) -> None:
    """The folder of the page itself, behind a server that knows files only."""
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    from undiffuse.studio.page_files import FOLDER

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    page = visit("page/learn.html?panel=ink", refused=True, **CALM)  # a context; its own checks are for another host
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(FOLDER)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    other = page.context.new_page()
    asked: list[str] = []
    other.on("request", lambda request: asked.append(request.url))
    other.on("requestfailed", lambda request: asked.append(f"failed: {request.url}"))
    home = f"http://127.0.0.1:{server.server_port}/"
    other.goto(f"{home}learn.html")
    other.locator("#back .panel").scroll_into_view_if_needed()
    until(other, "document.querySelector('#back [data-figure=alpha]').textContent != '–'")
    server.shutdown()
    server.server_close()
    assert all(url.startswith((home, "blob:", "data:")) for url in asked)
    assert not any("/v1/" in url for url in asked)
