"""Pictures are kept with their recipes, and come back from them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.provenance.png import read_metadata

QUICK = {"steps": 3, "sampler": "ddim"}


@pytest.fixture(scope="module")
def kept(shared: Any) -> list[Any]:
    """Three pictures, two of one model and one of another."""
    made = shared.draw(model="digits", n=2, seed=4, settings={**QUICK, "classes": ["seven"], "guidance": 2.0})
    return [*made, *shared.draw(model="a", n=1, seed=1, settings=QUICK)]


def ids(page: Any, query: str = "") -> list[str]:
    return [item["id"] for item in page.get(f"/v1/gallery{query}")["items"]]


def test_the_newest_comes_first_page_by_page(shared: Any, kept: list[Any]) -> None:
    expected = [image["id"] for image in reversed(kept)]
    assert ids(shared) == expected
    assert ids(shared, "?limit=2") == expected[:2]
    assert ids(shared, f"?limit=2&before={expected[1]}") == expected[2:]
    assert shared.get("/v1/gallery?limit=2")["more"]
    assert not shared.get("/v1/gallery?limit=3")["more"]
    assert ids(shared, "?model=a") == expected[:1]
    assert ids(shared, "?kind=vary") == []


def test_a_picture_says_how_it_was_made(shared: Any, kept: list[Any], tmp_path: Path) -> None:
    about = shared.get(f"/v1/gallery/{kept[0]['id']}")
    assert about["recipe"] == kept[0]["recipe"]
    assert about["recipe"]["settings"]["guidance"] == 2.0
    assert (about["width"], about["height"], about["again"], about["walk"]) == (28, 28, True, True)
    (tmp_path / "a.png").write_bytes(shared.get(kept[0]["url"]))
    origin = read_metadata(tmp_path / "a.png").origin
    assert origin is not None
    assert (origin.seed, origin.index) == (4, 0)


def test_the_same_again_is_identical_and_not_kept_twice(shared: Any, kept: list[Any]) -> None:
    before = ids(shared)
    (image,) = shared.images(shared.post(f"/v1/gallery/{kept[1]['id']}/again", {}))
    assert image["identical"] is True
    assert image["id"] == kept[1]["id"]
    assert ids(shared) == before


def test_a_png_brings_its_settings_back(shared: Any, kept: list[Any]) -> None:
    file = {"file": ("x.png", shared.get(kept[1]["url"]), "image/png")}
    found = shared.client.post("/v1/restore", files=file).json()
    assert (found["model"], found["seed"], found["first"], found["n"]) == ("digits", 4, 1, 1)
    assert (found["kind"], found["known"], found["note"]) == ("sample", True, None)
    body = {"model": found["model"], "seed": found["seed"], "first": found["first"], "settings": found["settings"]}
    (image,) = shared.draw(**body, keep=False)
    assert image["recipe"] == kept[1]["recipe"]


def test_a_png_of_weights_that_are_not_here_says_so(
    open_page: Any, shared: Any, kept: list[Any], tmp_path: Path
) -> None:
    other = open_page(runs=tmp_path / "no-runs")
    file = {"file": ("x.png", shared.get(kept[2]["url"]), "image/png")}
    found = other.client.post("/v1/restore", files=file).json()
    assert (found["model"], found["known"]) == (None, False)
    assert "not here" in found["note"]


def png(mode: str = "L", size: tuple[int, int] = (4, 4)) -> bytes:
    packed = io.BytesIO()
    Image.new(mode, size).save(packed, "PNG")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no PNG"),
        (b"hello", "no PNG"),
        (png(), "does not say how"),
        (png()[:20], "cut off"),
        (png()[:8] + b"\xff" * 100, ""),
    ],
)
def test_other_files_bring_nothing_back(shared: Any, content: bytes, words: str) -> None:
    answer = shared.client.post("/v1/restore", files={"file": ("x.png", content, "image/png")})
    assert answer.status_code == 422
    assert words in answer.json()["error"]


@pytest.mark.parametrize(("suffix", "kind"), [("webp", "WEBP"), ("gif", "GIF"), ("png", "PNG")])
def test_how_a_sample_came_out_of_noise_can_be_taken_home(shared: Any, kept: list[Any], suffix: str, kind: str) -> None:
    content = shared.get(f"/v1/gallery/{kept[0]['id']}/walk.{suffix}?frames=4")
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == kind
        if suffix != "png":
            assert image.n_frames == 4  # type: ignore[attr-defined]


def test_the_walk_ends_at_the_sample(shared: Any, kept: list[Any]) -> None:
    body = {"model": "digits", "seed": 4, "index": 1, "settings": kept[1]["recipe"]["settings"], "values": True}
    walk = shared.post("/v1/walk", body, 200)
    assert [moment["k"] for moment in walk["moments"]] == [0, 1, 2, 3]
    last = walk["moments"][-1]
    assert (last["t"], last["eps"]) == (0, None)
    assert last["x0"] == last["x_t"]
    with Image.open(io.BytesIO(shared.get(kept[1]["url"]))) as image:
        expected = np.asarray(image).flatten()
    values = np.clip(np.array(last["values"]["x_t"]), -1, 1)
    assert np.array_equal(np.rint((values + 1) * 127.5).astype(np.uint8), expected)
    for moment in walk["moments"][:-1]:
        x, x0, eps = (np.array(moment["values"][name]) for name in ("x_t", "x0", "eps"))
        assert np.allclose(x, moment["alpha"] * x0 + moment["sigma"] * eps, atol=1e-4)


def test_several_become_one_picture(shared: Any, kept: list[Any]) -> None:
    content = shared.post("/v1/gallery/grid", {"ids": [kept[0]["id"], kept[1]["id"]], "columns": 2}, 200)
    with Image.open(io.BytesIO(content)) as image:
        assert image.width > image.height
    assert "one size" in shared.post("/v1/gallery/grid", {"ids": [kept[0]["id"], kept[2]["id"]]}, 422)["error"]


def test_what_is_deleted_is_gone(page: Any) -> None:
    first, second = page.draw(model="digits", n=2, settings=QUICK)
    assert page.client.delete(f"/v1/gallery/{first['id']}").status_code == 204
    assert ids(page) == [second["id"]]
    page.get(first["url"], 404)
    assert page.client.delete(f"/v1/gallery/{first['id']}").status_code == 404


def test_foreign_files_in_the_folder_are_passed_over(page: Any) -> None:
    (image,) = page.draw(model="digits", n=1, settings=QUICK)
    folder = page.studio.gallery.folder
    (folder / "holiday.png").write_bytes(png())
    (folder / f"{'0' * 20}.png").write_bytes(b"torn")
    assert ids(page) == [image["id"]]


def test_a_gallery_that_cannot_be_written_to_is_a_sentence(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    page.studio.gallery.folder.parent.mkdir(exist_ok=True)
    page.studio.gallery.folder.write_text("a file")
    told = page.events(page.post("/v1/samples", {"model": "digits", "settings": QUICK}))
    assert told[-1][0] == "error"
    assert told[-1][1]["error"].startswith(f"could not write to {page.studio.gallery.folder}")


def test_a_query_that_nothing_heeds_is_refused(shared: Any) -> None:
    for address, name in (("/v1/gallery?modle=a", "modle"), ("/v1/pictures?number=3", "number")):
        assert f"no query '{name}': it takes" in shared.get(address, 422)["error"]
    assert "it takes none" in shared.get("/v1/models?x=1", 422)["error"]
    shared.get("/v1/gallery?limit=1")
