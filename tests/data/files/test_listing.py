from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from undiffuse.data.files.listing import Listing, list_images, looks_like_image, sort_classes
from undiffuse.data.files.metadata import parse_numbers
from undiffuse.data.formats.folder import Folder
from undiffuse.errors import UndiffuseError

Write = Callable[[Path, dict[str, bytes]], Path]


@pytest.fixture
def listed(tmp_path: Path, write: Write) -> Callable[..., Listing]:
    def list_(*names: str, **contents: bytes) -> Listing:
        texts = {name.replace("__", "."): content for name, content in contents.items()}
        return list_images(Folder(write(tmp_path / "source", {**dict.fromkeys(names, b"x"), **texts}), "source"))

    return list_


def test_first_level_folders_are_classes(listed: Callable[..., Listing]) -> None:
    found = listed("cat/1.png", "cat/deep/2.png", "dog/3.jpg")
    assert found.classes == {"cat/1.png": "cat", "cat/deep/2.png": "cat", "dog/3.jpg": "dog"}
    assert found.images == ("cat/1.png", "cat/deep/2.png", "dog/3.jpg")


@pytest.mark.parametrize(
    "names", [("1.png", "2.png"), ("1.png", "cat/2.png"), ("photos/1.png", "photos/2.png"), ("a/b/1.png",)]
)
def test_images_at_the_top_or_in_one_wrapper_have_no_classes(
    names: tuple[str, ...], listed: Callable[..., Listing]
) -> None:
    found = listed(*names)
    assert found.classes == {}
    assert set(found.images) == set(names)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a/1.png", "a/2.png", "b/3.png", "cover.png"), "cover.png lies beside the folders a, b, which would be the"),
        (("p/a/1.png", "p/b/3.png", "p/x.png"), "x.png lies beside the folders a, b"),
        (
            ("a/1.png", "a/2.png", "b/3.png", "x.png", "y.png"),
            "2 images, x.png among them, lie beside the folders a, b",
        ),
        (("train/1.png", "test/3.png", "x.png"), "lies beside the folders test, train, so that all of these are taken"),
        (("1.png", "2.png", "3.png", "old/4.png"), ""),
        (("a/1.png", "b/2.png"), ""),
    ],
)
def test_a_stray_image_that_takes_all_classes_away_is_named(
    names: tuple[str, ...], said: str, listed: Callable[..., Listing]
) -> None:
    found = listed(*names)
    assert set(found.images) == set(names)
    assert said in found.unclassed
    assert bool(found.unclassed) == bool(said)


def test_null_nothing_and_nan_are_no_class(listed: Callable[..., Listing]) -> None:
    rows = b"""{"file_name": "1.png", "label": NaN}
{"file_name": "2.png", "label": null}
{"file_name": "3.png", "label": ""}
{"file_name": "4.png", "label": "nan"}
{"file_name": "5.png", "label": 0, "text": NaN}"""
    found = listed(*(f"{k}.png" for k in range(1, 6)), metadata__jsonl=rows)
    assert found.classes == {"4.png": "nan", "5.png": "0"}
    assert [name for name, _ in found.refused] == ["1.png", "2.png", "3.png"]
    assert found.texts == {}


def test_nan_as_programs_write_it_into_csv_is_no_class_no_text_and_no_number(listed: Callable[..., Listing]) -> None:
    rows = b"file_name,label,text\n1.png,nan,a\n2.png,NaN,nan\n3.png,,b\n4.png,0,c\n"
    found = listed(*(f"{k}.png" for k in range(1, 5)), metadata__csv=rows)
    assert found.classes == {"4.png": "0"}
    assert [name for name, _ in found.refused] == ["1.png", "2.png", "3.png"]
    assert found.texts == {"4.png": "c"}
    assert parse_numbers("metadata.csv", b"file_name,x\n1.png,nan\n2.png,3\n", ("x",)) == {"2.png": (3.0,)}


def test_a_wrapper_folder_is_looked_through(listed: Callable[..., Listing]) -> None:
    found = listed("set/cat/1.png", "set/dog/2.png", "README.md", "set/notes.txt")
    assert found.classes == {"set/cat/1.png": "cat", "set/dog/2.png": "dog"}
    assert [name for name, _ in found.ignored] == ["README.md", "set/notes.txt"]


def test_train_is_learnt_from_and_other_splits_are_set_aside_and_said(listed: Callable[..., Listing]) -> None:
    found = listed("train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "val/dog/4.png", "val/dog/5.png")
    assert found.classes == {"train/cat/1.png": "cat", "train/dog/2.png": "dog"}
    assert dict(found.ignored)["test/"].startswith("another split, set aside with 1 image; source/test names it")
    assert "with 2 images" in dict(found.ignored)["val/"]


def test_a_class_called_train_among_others_is_a_class(listed: Callable[..., Listing]) -> None:
    assert set(listed("train/1.png", "bus/2.png").classes.values()) == {"train", "bus"}


def test_splits_without_train_must_be_chosen_from(listed: Callable[..., Listing]) -> None:
    with pytest.raises(UndiffuseError, match=r"type source/(test|val)"):
        listed("test/1.png", "val/2.png")


def test_what_no_one_takes_for_an_image_is_ignored_and_what_is_meant_as_data_is_refused(
    listed: Callable[..., Listing],
) -> None:
    found = listed(
        ".DS_Store", "__MACOSX/._1.png", "._2.png", "README", "a.txt", "film.mp4", "1.png", "more.zip", "x.npy"
    )
    assert found.images == ("1.png",)
    assert {name for name, _ in found.ignored} == {
        ".DS_Store",
        "__MACOSX/._1.png",
        "._2.png",
        "README",
        "a.txt",
        "film.mp4",
    }
    assert {name for name, _ in found.refused} == {"more.zip", "x.npy"}


def test_an_image_without_a_suffix_is_found_by_its_first_bytes(listed: Callable[..., Listing]) -> None:
    assert listed("1.png", photo=b"\xff\xd8\xff\xe0rest").images == ("1.png", "photo")


def test_metadata_jsonl_gives_classes_and_reports_what_does_not_match(listed: Callable[..., Listing]) -> None:
    lines = b'{"file_name": "a/1.png", "label": "cat"}\n\n{"file_name": "./2.png", "label": 7}\n'
    found = listed("a/1.png", "2.png", "3.png", metadata__jsonl=lines + b'{"file_name": "gone.png", "label": "dog"}\n')
    assert found.classes == {"a/1.png": "cat", "2.png": "7"}
    assert found.images == ("2.png", "a/1.png")
    assert dict(found.refused) == {
        "3.png": "has no class in metadata.jsonl",
        "gone.png": "is named in metadata.jsonl but not there",
    }


def test_metadata_csv_with_class_and_byte_order_mark(listed: Callable[..., Listing]) -> None:
    found = listed("1.png", "b/2.png", metadata__csv=b'\xef\xbb\xbffile_name,class\r\n1.png,"a, b"\r\nb\\2.png,c\r\n')
    assert found.classes == {"1.png": "a, b", "b/2.png": "c"}
    assert found.metadata == ("metadata.csv",)


def test_metadata_beside_a_split_or_above_the_images(tmp_path: Path, write: Write) -> None:
    inner = write(tmp_path / "x", {"train/1.png": b"x", "test/2.png": b"x"})
    (inner / "train" / "metadata.csv").write_text("file_name,label\n1.png,cat\n")
    assert list_images(Folder(inner, "x")).classes == {"train/1.png": "cat"}
    above = write(tmp_path / "y", {"images/1.png": b"x"})
    (above / "metadata.csv").write_text("file_name,label\nimages/1.png,dog\n")
    assert list_images(Folder(above, "y")).classes == {"images/1.png": "dog"}


def test_metadata_without_a_label_column_leaves_the_folders_to_speak(listed: Callable[..., Listing]) -> None:
    found = listed("cat/1.png", "dog/2.png", metadata__csv=b"file_name,text\ncat/1.png,a cat\n")
    assert set(found.classes.values()) == {"cat", "dog"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"file_name": "1.png", "label": "a"', "one record per line"),
        (b'{"label": "a"}', "no.* in line 1"),
        (b"[1, 2]", "line 1"),
        (b'{"file_name": "1.png", "label": "a"}\n{"file_name": "1.png", "label": "b"}', "'a' and 'b' for '1.png'"),
        (b'{"file_name": "1.png", "label": ["a", "b"]}', "one class per file"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"[" * 100_000, "one record per line"),
    ],
)
def test_bad_metadata_is_one_sentence(content: bytes, said: str, listed: Callable[..., Listing]) -> None:
    with pytest.raises(UndiffuseError, match=said.replace("no.*", ".*none")):
        listed("1.png", metadata__jsonl=content)


def test_two_metadata_files_are_an_error(listed: Callable[..., Listing]) -> None:
    with pytest.raises(UndiffuseError, match="one metadata file"):
        listed("1.png", metadata__jsonl=b"", metadata__csv=b"")


def test_a_loop_of_links_ends_and_linked_folders_are_followed(tmp_path: Path, write: Write) -> None:
    source = write(tmp_path / "s", {"a/1.png": b"x"})
    (source / "a" / "loop").symlink_to(source)
    (source / "b").symlink_to(write(tmp_path / "elsewhere", {"2.png": b"x"}))
    (source / "broken.png").symlink_to(tmp_path / "nothing")
    found = list_images(Folder(source, "s"))
    assert found.images == ("a/1.png", "b/2.png")
    assert [name for name, _ in found.refused] == ["broken.png"]


def test_numbered_classes_are_in_the_order_of_numbers() -> None:
    assert sort_classes(["10", "9", "2", "9"]) == ("2", "9", "10")
    assert sort_classes(["b", "10", "9"]) == ("10", "9", "b")


def test_text_is_not_taken_for_an_image() -> None:
    assert not any(map(looks_like_image, (b"", b"P", b"BMW is a make of car", b"Plain text", b"II and a half")))
    assert looks_like_image(b"P6\n3 3\n255\n")
    assert looks_like_image(b"RIFF\x10\0\0\0WEBPVP8 ")


@pytest.mark.parametrize("name", ["Metadata.JSONL", "metadata.json", "METADATA.csv", "metadata.tsv"])
def test_a_file_that_is_nearly_called_metadata_is_said(name: str, tmp_path: Path, write: Write) -> None:
    files = {"1.png": b"x", name: b'{"file_name": "1.png", "label": "cat"}'}
    found = list_images(Folder(write(tmp_path, files), "source"))
    assert found.ignored == ((name, "is not read: it would be as metadata.jsonl or metadata.csv"),)


def test_captions_of_metadata_are_said_where_no_text_is_read(listed: Callable[..., Listing]) -> None:
    found = listed("1.png", metadata__jsonl=b'{"file_name": "1.png", "caption": "a cat"}')
    assert found.ignored == (("metadata.jsonl", "is not read: its column 'caption'; call it 'text' to learn from it"),)
    found = listed("1.png", metadata__jsonl=b'{"file_name": "1.png", "caption": "a cat", "text": "a dog"}')
    assert (found.ignored, found.texts) == ((), {"1.png": "a dog"})


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("file_name,Label", "its column 'Label'; call it 'label'"),
        ("file_name, label", "its column ' label'; call it 'label'"),
        ("file_name,category", "its column 'category'; call it 'label'"),
        ("file_name,prompt", "its column 'prompt'; call it 'text'"),
        ("file_name,angle", ""),
        ("file_name,label", ""),
    ],
)
def test_columns_that_look_like_classes_or_texts_and_are_not_read_are_said(
    head: str, said: str, listed: Callable[..., Listing]
) -> None:
    found = listed("1.png", metadata__csv=f"{head}\n1.png,7\n".encode())
    assert [why for name, why in found.ignored if name == "metadata.csv"] == (
        [f"is not read: {said} to learn from it"] * bool(said)
    )


def test_a_class_with_a_comma_and_no_quotes_is_an_error_and_not_half_a_class(listed: Callable[..., Listing]) -> None:
    with pytest.raises(UndiffuseError, match=r"expected 2 cells in line 2 of metadata.csv.*quotes"):
        listed("1.png", metadata__csv=b"file_name,label\n1.png,cat, tabby\n")
    found = listed("1.png", metadata__csv=b'file_name,label,\n1.png,"cat, tabby",,\n')
    assert found.classes == {"1.png": "cat, tabby"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("file_name;label\n1.png;a\n", "parted by ';': save it with commas"),
        ("filename,label\n1.png,a\n", "call the column 'filename' file_name"),
        ("who,label\n1.png,a\n", "its columns are who, label: call one of them file_name"),
        ("file_name,label\nfolder/1.png,a\n", "such as '1.png', got 'folder/1.png', and none of the 1 is there"),
        ("file_name,text\n1,a\n", "such as '1.png', got '1', and none of the 1 is there"),
    ],
)
def test_metadata_that_name_no_file_say_how_it_would_be(
    content: str, said: str, listed: Callable[..., Listing]
) -> None:
    with pytest.raises(UndiffuseError, match=re.escape(said)):
        listed("1.png", metadata__csv=content.encode())


def test_texts_of_files_that_are_not_there_are_said(listed: Callable[..., Listing]) -> None:
    found = listed("1.png", metadata__csv=b"file_name,text\n1.png,a\n2.png,b\n")
    assert found.texts == {"1.png": "a"}
    assert ("metadata.csv", "is not read: what it says of 1 file not there, such as 2.png") in found.ignored
    again = listed("1.png", metadata__csv=b"file_name,text,label\n1.png,a,x\n2.png,b,x\n")
    assert again.refused == (("2.png", "is named in metadata.csv but not there"),)
    assert all(name != "metadata.csv" for name, _ in again.ignored)


def test_an_accent_is_the_same_name_in_both_of_unicodes_spellings(listed: Callable[..., Listing]) -> None:
    found = listed("e\u0301.png", metadata__csv="file_name,label\n\u00e9.png,a\n".encode())
    assert found.classes == {"e\u0301.png": "a"}


def test_metadata_in_the_folders_of_classes_are_said(listed: Callable[..., Listing]) -> None:
    found = listed("a/1.png", "b/2.png", **{"a/metadata.csv": b"file_name,label\n1.png,x\n"})
    assert found.classes == {"a/1.png": "a", "b/2.png": "b"}
    assert [name for name, why in found.ignored if "lies in a folder of its own" in why] == ["a/metadata.csv"]
