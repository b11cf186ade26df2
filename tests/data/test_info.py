from __future__ import annotations

import json
from dataclasses import replace

import pytest

from undiffuse.data.info import DataInfo
from undiffuse.data.standardizer import Standardizer

PLAIN = DataInfo("x", "0" * 64, 9, (3, 4, 5), "float32", -2.0, 3.5, (0.0,) * 3, (0.5,) * 3, ("a", "b"), 1, 2)
NUMBERS = replace(PLAIN, numbers=Standardizer(("angle", "size"), (1.0, 2.0), (0.5, 4.0)))
FLAT = {"vectors": (), "vector_mean": (), "vector_std": ()}
FLAT |= {"pair_channels": 0, "pair_dtype": "", "pair_low": 0.0, "pair_high": 0.0}


CLIPS = replace(PLAIN, shape=(3, 2, 4, 5), kind="video")
PAIR = PLAIN.with_pair(1, "uint8", 0.0, 255.0)


@pytest.mark.parametrize("info", [PLAIN, NUMBERS, PAIR, CLIPS], ids=["", "numbers", "pair", "kind"])
def test_what_is_known_of_data_comes_back_from_json(info: DataInfo) -> None:
    assert DataInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


def test_files_have_the_flat_names_of_before() -> None:
    assert {name: PLAIN.to_json()[name] for name in FLAT} == FLAT
    assert list(PLAIN.to_json())[-len(FLAT) :] == list(FLAT)
    numbers = {"vectors": ("angle", "size"), "vector_mean": (1.0, 2.0), "vector_std": (0.5, 4.0)}
    assert NUMBERS.to_json() == PLAIN.to_json() | numbers
    pair = {"pair_channels": 2, "pair_dtype": "float32", "pair_low": -1.0, "pair_high": 4.0}
    assert PLAIN.with_pair(2, "float32", -1.0, 4.0).to_json() == PLAIN.to_json() | pair


def test_a_kind_that_the_shape_tells_is_not_written() -> None:
    assert "kind" not in PLAIN.to_json()
    assert CLIPS.to_json()["kind"] == "video"


def test_files_of_before_there_were_numbers_and_pairs_are_read() -> None:
    fields = {name: value for name, value in PLAIN.to_json().items() if name not in FLAT}
    assert DataInfo.from_json(fields) == PLAIN


def test_pictures_that_a_forged_file_claims_take_no_memory() -> None:
    fields = PLAIN.to_json() | {"pair_channels": 1 << 60, "pair_dtype": "uint8"}
    pair = DataInfo.from_json(fields).pair
    assert pair is not None
    assert pair.shape == (1 << 60, 4, 5)
