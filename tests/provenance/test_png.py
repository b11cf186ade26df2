"""What a PNG file says of its making comes back as it went in, and a hostile file is answered by a sentence."""

from __future__ import annotations

import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.provenance.png import MAX_TEXT, SIGNATURE, Metadata, Origin, read_metadata, write_png

ORIGIN = Origin(
    checkpoint="runs/Zoë's digits/checkpoints/step-00001000",
    step=1000,
    weights_sha256="ab" * 32,
    seed=3,
    index=17,
    count=1,
    shape=(1, 20, 28),
    sample=SampleConfig.of(sampler="ddpm", steps=7, eta=0.25, weights="0.999"),
    version="0.1.0",
    device="cpu",
)
IMAGE = Image.new("L", (28, 20), 77)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND", b"")


def json_chunk(found: Any) -> bytes:
    return chunk(b"tEXt", b"undiffuse\0" + json.dumps(found).encode())


def test_an_origin_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", IMAGE, ORIGIN)
    assert read_metadata(tmp_path / "a.png") == Metadata(ORIGIN.parameters(), ORIGIN)


def test_the_parameters_line_is_the_one_that_other_tools_read(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", IMAGE, ORIGIN)
    with Image.open(tmp_path / "a.png") as image:
        text = image.info["parameters"]
    assert text.startswith("Steps: 7, Sampler: ddpm, Seed: 3, Index: 17, Size: 28x20, Model: Zoë's digits, ")


def test_writing_leaves_pixels_alone_and_is_deterministic(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", IMAGE, ORIGIN)
    write_png(tmp_path / "b.png", IMAGE, ORIGIN)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.tobytes() == IMAGE.tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_a_file_is_replaced_only_when_told_so(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("mine")
    with pytest.raises(
        UndiffuseError, match="exists already; give another place with `out`, or replace it with `overwrite`"
    ):
        write_png(path, IMAGE, ORIGIN)
    assert path.read_text() == "mine"
    write_png(path, IMAGE, ORIGIN, overwrite=True)
    assert read_metadata(path).origin == ORIGIN


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "packed iTXt"])
def test_parameters_of_other_tools_are_read_in_every_kind_of_text_chunk(tmp_path: Path, kind: str) -> None:
    text = "Steps: 20, Sampler: Euler a"
    body = {
        "tEXt": b"parameters\0" + text.encode(),
        "zTXt": b"parameters\0\0" + zlib.compress(text.encode()),
        "iTXt": b"parameters\0\0\0en\0Parameter\0" + text.encode(),
        "packed iTXt": b"parameters\0\1\0\0\0" + zlib.compress(text.encode()),
    }[kind]
    (tmp_path / "a.png").write_bytes(png(chunk(kind[-4:].encode(), body)))
    assert read_metadata(tmp_path / "a.png") == Metadata(text, None)


def test_text_after_the_pixels_is_found_too(tmp_path: Path) -> None:
    body = png(chunk(b"IDAT", b"x" * 100_000), json_chunk(ORIGIN.to_json()))
    (tmp_path / "a.png").write_bytes(body)
    assert read_metadata(tmp_path / "a.png").origin == ORIGIN


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no PNG file"),
        (b"GIF89a", "is no PNG file"),
        (SIGNATURE, "is cut off"),
        (SIGNATURE + struct.pack(">I4s", 0xFFFFFFFF, b"tEXt"), "is cut off"),
        (png(chunk(b"tEXt", b"parameters\0abc")[:-1] + b"x"), "checksum"),
        (png(chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * (MAX_TEXT + 1)))), "unpacks to more than"),
        (png(chunk(b"zTXt", b"undiffuse\0\0no zlib stream")), "cannot be unpacked"),
        (png(chunk(b"iTXt", b"parameters\0\0\0\0\0\xff\xfe")), "cannot be unpacked"),
        (png(*[chunk(b"tEXt", b"k\0v")] * 5000), "more than 4096 PNG chunks"),
        (png(chunk(b"tEXt", b"undiffuse\0{")), "cannot be parsed"),
        (png(chunk(b"tEXt", b"undiffuse\0" + b"[" * 60_000)), "cannot be parsed"),
        (png(json_chunk([])), "has format None"),
        (png(json_chunk({**ORIGIN.to_json(), "format": 2})), "has format 2"),
        (png(json_chunk({**ORIGIN.to_json(), "format": "9" * 5000})), "has format '9999"),
        (png(json_chunk({**ORIGIN.to_json(), "seed": "0"})), "'seed'"),
        (png(json_chunk({**ORIGIN.to_json(), "seed": True})), "'seed'"),
        (png(json_chunk({**ORIGIN.to_json(), "seed": -1})), "below what there can be"),
        (png(json_chunk({**ORIGIN.to_json(), "count": 0})), "below what there can be"),
        (png(json_chunk({**ORIGIN.to_json(), "shape": [1, 0]})), "below what there can be"),
        (png(json_chunk({**ORIGIN.to_json(), "sample": {"sampler": 3}})), "'sample.sampler'"),
        (png(json_chunk({**ORIGIN.to_json(), "sample": {"stepps": 3}})), "perhaps you meant 'steps'"),
        (png(json_chunk({**ORIGIN.to_json(), "run": "x"})), "'run'"),
        (png(json_chunk({"format": 1, "step": 3})), "is missing"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(UndiffuseError) as caught:
        read_metadata(path)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_huge_text_chunk_is_skipped_unread(tmp_path: Path) -> None:
    huge = chunk(b"tEXt", b"parameters\0" + b"a" * MAX_TEXT)
    (tmp_path / "a.png").write_bytes(png(huge, json_chunk(ORIGIN.to_json())))
    assert read_metadata(tmp_path / "a.png") == Metadata(None, ORIGIN)


def test_a_folder_or_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.png"):
        with pytest.raises(UndiffuseError, match="Cannot read"):
            read_metadata(path)


def test_damaged_bytes_never_raise_anything_but_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_png(path, IMAGE, ORIGIN)
    whole = path.read_bytes()
    dice = random.Random(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(bytes(damaged[: dice.randrange(len(damaged))] if dice.random() < 0.3 else damaged))
        try:
            read_metadata(path)
        except UndiffuseError:
            refused += 1
    assert refused > 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*ORIGIN.to_json(), "more"]), JSON, max_size=4))
def test_any_json_is_read_or_refused_with_a_sentence(changes: dict[str, Any]) -> None:
    found = {**ORIGIN.to_json(), **changes}
    try:
        origin = Origin.from_json(found)
    except UndiffuseError:
        return
    assert Origin.from_json(json.loads(json.dumps(origin.to_json()))) == origin
