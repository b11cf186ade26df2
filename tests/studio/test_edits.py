"""Edits over HTTP do what `undiffuse edit` does, and their pictures say how."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import undiffuse
from undiffuse.cli import main

QUICK = {"steps": 4}
EDITS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("inpaint", {"method": "ddnm"}, QUICK),
    ("inpaint", {}, QUICK),
    ("inpaint", {"method": "dps", "scale": 0.5}, {"steps": 20}),
    ("inpaint", {"method": "repaint", "jump": 2, "repeats": 2}, QUICK),
    ("outpaint", {"method": "ddnm", "right": 4}, QUICK),
    ("outpaint", {}, QUICK),
    ("upscale", {"method": "pigdm", "factor": 2}, QUICK),
    ("colorize", {"method": "ddnm"}, QUICK),
    ("deblur", {"method": "ddnm", "std": 1.5, "noise": 1.0}, QUICK),
    ("denoise", {"noise": 20.0}, QUICK),
    ("vary", {"strength": 0.5}, QUICK),
    ("interpolate", {"frames": 3}, QUICK),
    ("invert", {}, QUICK),
]


def png(seed: int = 0, channels: int = 3, side: int = 8) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (side, side, channels), np.uint8)
    packed = io.BytesIO()
    Image.fromarray(values if channels == 3 else values[..., 0]).save(packed, "PNG")
    return packed.getvalue()


def mask(side: int = 8) -> bytes:
    image, packed = Image.new("L", (side, side)), io.BytesIO()
    image.paste(255, (0, 0, side // 2, side))
    image.save(packed, "PNG")
    return packed.getvalue()


def files(name: str) -> dict[str, bytes]:
    if name == "interpolate":
        return {"first": png(1), "second": png(2)}
    pictures = {"image": png(channels=1 if name == "colorize" else 3)}
    return pictures | ({"mask": mask()} if name == "inpaint" else {})


@pytest.mark.filterwarnings("ignore:1 of 1 picture comes back")
@pytest.mark.parametrize(("name", "options", "settings"), EDITS, ids=[f"{name}-{how}" for name, how, _ in EDITS])
def test_an_edit_is_the_command_lines_pixel_by_pixel(
    shared: Any, tmp_path: Path, name: str, options: dict[str, Any], settings: dict[str, Any]
) -> None:
    """The command in the recipe, run on the pictures that are kept, gives the same pixels."""
    request = {"model": "a", "seed": 3, "options": options, "settings": settings}
    images = shared.images(shared.edit(name, request, **files(name)))
    recipe = images[0]["recipe"]
    assert recipe["kind"] == name
    words = recipe["command"].split()[1:]
    assert main([*words, "--device", "cpu", "--no-strips", "--out", str(tmp_path)]) == 0
    made = sorted(tmp_path.glob("*.png"))
    assert len(made) == (1 if name == "invert" else len(images))
    for path, image in zip(made, images, strict=False):
        with Image.open(path) as ours, Image.open(io.BytesIO(shared.get(image["url"]))) as its:
            assert np.array_equal(np.asarray(ours), np.asarray(its))
    for url in recipe["inputs"].values():
        assert shared.get(url).startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore:1 of 1 picture comes back")
def test_a_translation_is_the_command_lines_pixel_by_pixel(shared: Any, tmp_path: Path) -> None:
    options = {"to": "three", "source": "seven", "strength": 0.9}
    request = {"model": "digits", "options": options, "settings": {"steps": 4}}
    (image,) = shared.images(shared.edit("translate", request, image=png(channels=1, side=28)))
    words = image["recipe"]["command"].split()[1:]
    assert main([*words, "--device", "cpu", "--no-strips", "--out", str(tmp_path)]) == 0
    (made,) = tmp_path.glob("*.png")
    with Image.open(made) as ours, Image.open(io.BytesIO(shared.get(image["url"]))) as its:
        assert np.array_equal(np.asarray(ours), np.asarray(its))


def test_a_stage_of_a_cascade_enlarges_and_does_nothing_else(open_page: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    np.save(tmp_path / "noise.npy", pixels)
    small = {"base": 8, "multipliers": [1, 2], "blocks": 1, "batch": 4, "device": "cpu"}
    runs = tmp_path / "runs"
    undiffuse.train(
        tmp_path / "noise.npy", name="up", runs=runs, quiet=True, steps=2, sample_every=0, upscale=2, **small
    )
    page = open_page(runs=runs)
    assert page.get("/v1/models/up")["edits"] == ["upscale"]
    wanted = {"model": "up", "settings": QUICK}
    (image,) = page.images(page.edit("upscale", wanted, image=png(side=4)))
    assert image["recipe"]["options"]["factor"] == 2
    words = image["recipe"]["command"].split()[1:]
    assert main([*words, "--device", "cpu", "--no-strips", "--out", str(tmp_path / "out")]) == 0
    (made,) = (tmp_path / "out").glob("*.png")
    with Image.open(made) as ours, Image.open(io.BytesIO(page.get(image["url"]))) as its:
        assert np.array_equal(np.asarray(ours), np.asarray(its))
    assert "cannot do 'vary'" in page.edit("vary", wanted, 422, image=png())["error"]
    (image,) = page.images(page.edit("upscale", {**wanted, "options": {"fit": "convert"}}, image=png(side=20)))
    assert (image["width"], image["height"]) == (8, 8)
    refused = page.edit("upscale", {**wanted, "options": {"method": "dps"}}, 422, image=png(side=4))
    assert "never learned to enlarge, and this one did" in refused["error"]


def test_what_is_left_open_is_filled_in_and_told(shared: Any) -> None:
    (image,) = shared.images(shared.edit("outpaint", {"model": "a", "quick": True, "settings": QUICK}, image=png()))
    assert (image["width"], image["height"]) == (12, 12)
    options = image["recipe"]["options"]
    assert {options[side] for side in ("top", "bottom", "left", "right")} == {2}
    assert (options["method"], options["scale"], image["recipe"]["settings"]["steps"]) == ("dps", 2.0, 4)


def test_nothing_is_quick_unasked(shared: Any) -> None:
    """An edit takes the same wherever it is asked for; to be quick is a wish of its own."""
    job = shared.edit("inpaint", {"model": "digits"}, image=png(channels=1, side=28), mask=mask(28))
    request = shared.get(job["url"])["request"]
    shared.client.delete(job["url"])
    assert (request["options"]["scale"], request["settings"]["steps"]) == (1.0, 250)


def test_null_is_as_good_as_no_option(shared: Any) -> None:
    """Kept requests of before hold 'overlap': null."""
    wanted = {"model": "a", "settings": QUICK, "options": {"overlap": None, "strength": None}}
    (image,) = shared.images(shared.edit("vary", wanted, image=png()))
    assert (image["recipe"]["options"]["overlap"], image["recipe"]["options"]["strength"]) == ("auto", 0.5)


def test_a_translation_needs_a_model_of_classes(shared: Any) -> None:
    refused = shared.edit("translate", {"model": "a", "options": {"to": "x"}}, 422, image=png())
    assert "cannot do 'translate'" in refused["error"]
    picture = png(channels=1, side=28)
    request = {"model": "digits", "options": {"to": "three"}, "settings": {"steps": 2}}
    told = shared.events(shared.edit("translate", request, image=picture))
    assert told[-1][0] == "done"
    assert "The picture is given back by its inversion within" in told[-1][1]["note"]


def test_edits_of_several_results_and_of_pictures_in_the_gallery(shared: Any) -> None:
    (first,) = shared.draw(model="a", n=1, settings=QUICK)
    request = {"model": "a", "n": 3, "options": {"strength": 0.4}, "settings": QUICK}
    job = shared.edit("vary", request, data={"image_id": first["id"]})
    told = shared.events(job)
    assert [data["k"] for kind, data in told if kind == "step"] == sorted(
        data["k"] for kind, data in told if kind == "step"
    )
    images = [data for kind, data in told if kind == "image"]
    assert len(images) == 3
    assert len({shared.get(image["url"]) for image in images}) == 3


def test_an_edit_is_made_again(shared: Any) -> None:
    (image,) = shared.images(shared.edit("vary", {"model": "a", "seed": 5, "settings": QUICK}, image=png()))
    about = shared.get(f"/v1/gallery/{image['id']}")
    assert (about["again"], about["walk"], about["kind"]) == (True, False, "vary")
    (again,) = shared.images(shared.post(f"/v1/gallery/{image['id']}/again", {}))
    assert shared.get(again["url"]) == shared.get(image["url"])
    assert "Only samples" in shared.get(f"/v1/gallery/{image['id']}/walk.webp", 422)["error"]
    file = {"file": ("x.png", shared.get(image["url"]), "image/png")}
    found = shared.client.post("/v1/restore", files=file).json()
    assert (found["kind"], found["seed"], found["model"]) == ("vary", 5, "a")


def test_a_request_that_was_kept_by_an_earlier_version_is_understood(shared: Any) -> None:
    from undiffuse.studio.jobs.editing import again

    (image,) = shared.images(shared.edit("outpaint", {"model": "a", "seed": 5, "settings": QUICK}, image=png()))
    gallery, model = shared.studio.gallery, shared.studio.library.load("a", "ema").model
    kept = gallery.request(image["id"])
    of_before = {**kept, "options": {**kept["options"], "overlap": None}}
    assert again(of_before, model, gallery) == again(kept, model, gallery)


def test_a_picture_that_does_not_fit_is_refused_or_made_to_fit(shared: Any) -> None:
    gray = png(channels=1, side=20)
    told = shared.events(shared.edit("vary", {"model": "a", "settings": QUICK}, image=gray))
    assert told[-1][0] == "error"
    assert "'convert' makes it fit" in told[-1][1]["error"]
    (image,) = shared.images(
        shared.edit("vary", {"model": "a", "settings": QUICK, "options": {"fit": "convert"}}, image=gray)
    )
    assert (image["width"], image["height"]) == (8, 8)


@pytest.mark.parametrize(
    ("name", "n", "options"),
    [("outpaint", 1, {"right": 100_000}), ("outpaint", 60, {}), ("upscale", 1, {"factor": 100})],
)
def test_results_far_larger_than_what_was_learned_are_refused(
    shared: Any, name: str, n: int, options: dict[str, Any]
) -> None:
    """A gradient remembers all tiles of all results: gigabytes, if anybody could ask for them."""
    job = shared.edit(name, {"model": "a", "n": n, "options": options, "settings": QUICK}, image=png())
    kind, told = shared.events(job)[-1]
    assert kind == "error"
    assert "at most 64 times are made here" in told["error"]
    (evaluations,) = {shared.get(job["url"])["evaluations"]}
    assert evaluations == 0


def test_the_known_part_of_an_inpainting_stays_exactly(shared: Any) -> None:
    given = png()
    request = {"model": "a", "options": {"method": "replace"}, "settings": QUICK}
    (image,) = shared.images(shared.edit("inpaint", request, image=given, mask=mask()))
    with Image.open(io.BytesIO(given)) as before, Image.open(io.BytesIO(shared.get(image["url"]))) as after:
        assert np.array_equal(np.asarray(before)[:, 4:], np.asarray(after)[:, 4:])


def test_metadata_of_a_picture_goes_no_further_than_its_pixels(shared: Any) -> None:
    from PIL.PngImagePlugin import PngInfo

    secret, packed = PngInfo(), io.BytesIO()
    secret.add_text("where", "at home")
    Image.new("RGB", (8, 8), "red").save(packed, "PNG", pnginfo=secret)
    (image,) = shared.images(shared.edit("vary", {"model": "a", "settings": QUICK}, image=packed.getvalue()))
    assert b"at home" not in shared.get(image["recipe"]["inputs"]["image"])


BAD: list[tuple[str, dict[str, Any], dict[str, bytes], int]] = [
    ("vary", {"model": "a"}, {}, 422),
    ("vary", {"model": "nope"}, {"image": png()}, 404),
    ("vary", {"model": "a", "options": {"strenght": 1}}, {"image": png()}, 422),
    ("vary", {"model": "a", "options": {"strength": "1"}}, {"image": png()}, 422),
    ("deblur", {"model": "a", "options": {"std": 0}}, {"image": png()}, 422),
    ("inpaint", {"model": "a", "options": {"jump": 0}}, {"image": png(), "mask": mask()}, 422),
    ("vary", {"model": "a", "options": {"strength": 2}}, {"image": png()}, 422),
    ("translate", {"model": "digits"}, {"image": png(channels=1, side=28)}, 422),
    ("vary", {"model": "a", "n": 100}, {"image": png()}, 422),
    ("vary", {"model": "a", "settings": {"steps": 10**6}}, {"image": png()}, 422),
    ("interpolate", {"model": "a", "n": 2}, {"first": png(), "second": png()}, 422),
    ("interpolate", {"model": "a", "options": {"frames": 1000}}, {"first": png(), "second": png()}, 422),
    ("vary", {"model": "a"}, {"image": b"<svg/>"}, 422),
    ("vary", {"model": "a"}, {"image": png()[:60]}, 422),
    ("sharpen", {"model": "a"}, {"image": png()}, 404),
]


@pytest.mark.parametrize(("name", "request_", "sent", "status"), BAD)
def test_what_cannot_be_edited_is_refused(
    shared: Any, name: str, request_: dict[str, Any], sent: dict[str, bytes], status: int
) -> None:
    assert shared.edit(name, request_, status, **sent)["error"]


def test_too_many_pixels_are_refused_before_they_are_decoded(open_page: Any) -> None:
    from undiffuse.studio.limits import Limits

    page = open_page(limits=Limits(pixels=200))
    assert "pixels" in page.edit("vary", {"model": "a"}, 413, image=png(side=20))["error"]
    told = page.events(page.edit("upscale", {"model": "a", "options": {"factor": 4}, "settings": QUICK}, image=png()))
    assert told[-1][0] == "error"
    assert "pixels" in told[-1][1]["error"]


def test_a_form_is_a_form(shared: Any) -> None:
    assert shared.client.post("/v1/edits/vary", json={}).status_code == 415
    for text in ("{", "[]", '{"model": 1}', '{"model": "a", "x": 1}', "[" * 10_000):
        answer = shared.client.post("/v1/edits/vary", data={"request": text}, files={"image": ("a.png", png())})
        assert answer.status_code == 422
        assert answer.json()["error"]


def packed(values: np.ndarray[Any, Any], kind: str = "PNG", mode: str | None = None) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(file, kind)
    return file.getvalue()


FILLING = {"model": "a", "settings": {"steps": 2}, "options": {"method": "ddnm"}}


def test_a_mask_is_fitted_with_its_picture(shared: Any) -> None:
    """A picture of another size is brought to the model's, and what was marked on it stays marked."""
    white = np.zeros((16, 24), np.uint8)
    white[:, 12:] = 255
    wanted = {**FILLING, "options": {**FILLING["options"], "fit": "convert"}}
    wide = packed(np.full((16, 24, 3), 200, np.uint8))
    (made,) = shared.images(shared.edit("inpaint", wanted, image=wide, mask=packed(white)))
    (used,) = [path for name, path in made["recipe"]["inputs"].items() if name == "mask"]
    with Image.open(io.BytesIO(shared.get(used))) as image:
        assert np.array_equal(np.asarray(image), np.repeat([[0, 255]], 4, 1).repeat(8, 0))


def test_how_a_mask_was_read_is_said(shared: Any) -> None:
    ones = np.zeros((8, 8), np.uint8)
    ones[:, 4:] = 1
    told = shared.events(shared.edit("inpaint", FILLING, image=png(), mask=packed(ones)))
    assert told[-1][0] == "done"
    assert "ones are read as white" in told[-1][1]["note"]


def test_what_is_wrong_with_a_mask_is_said_without_the_kept_files_name(shared: Any) -> None:
    for values, words in ((np.zeros((8, 8), np.uint8), "all black"), (np.zeros((4, 4), np.uint8), "4 x 4")):
        said = shared.events(shared.edit("inpaint", FILLING, image=png(), mask=packed(values)))[-1][1]["error"]
        assert said.startswith("The mask ")
        assert words in said
        assert str(shared.studio.gallery.folder) not in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "a drawing (SVG)"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC"),
        (b"", "is empty"),
        (b"hello", "no image"),
    ],
)
def test_pictures_of_other_kinds_are_told_from_damaged_ones(shared: Any, content: bytes, words: str) -> None:
    assert words in shared.edit("vary", {"model": "a"}, 422, image=content)["error"]


def test_colour_without_an_exact_rgb_is_converted_where_that_is_asked_for(shared: Any) -> None:
    cmyk = packed(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), "JPEG", "CMYK")
    wanted = {"model": "a", "settings": {"steps": 2}}
    assert "'fit': 'convert' makes it fit" in shared.edit("vary", wanted, 422, image=cmyk)["error"]
    assert shared.images(shared.edit("vary", {**wanted, "options": {"fit": "convert"}}, image=cmyk))


@pytest.mark.parametrize("field", ["mask", "mask_id", "picture", "seed"])
def test_a_field_that_nothing_heeds_is_refused(shared, field):
    """A mask beside an edit that takes none was dropped in silence."""
    files = {"request": (None, '{"model": "digits"}'), "image": ("a.png", png()), field: ("b.png", png())}
    answer = shared.client.post("/v1/edits/vary", files=files)
    assert answer.status_code == 422
    assert f"no field '{field}': it takes request, image, image_id" in answer.json()["error"]


@pytest.mark.filterwarnings("ignore:.*changes nothing here")
def test_what_changes_nothing_is_said_over_http_as_everywhere(shared: Any) -> None:
    request = {"model": "a", "options": {"method": "ddnm", "std": 1.5, "scale": 2.0}, "settings": QUICK}
    told = dict(shared.events(shared.edit("deblur", request, image=png())))
    assert told["done"]["warning"] == "--scale 2 changes nothing here: it acts with --method pigdm or dps"
    settings = {"times": [9, 5], "steps": 4}
    told = dict(shared.events(shared.post("/v1/samples", {"model": "a", "settings": settings})))
    assert told["done"]["warning"] == "--steps 4 changes nothing here: it acts without --times"
