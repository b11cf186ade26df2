"""A format is one file and one line: here a folder of WAV files, which the package does not know, becomes data."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from undiffuse.data.dataset import Dataset
from undiffuse.data.files.listing import FileEntry, Files, Listing
from undiffuse.data.formats.folder import filling
from undiffuse.data.formats.format import Format
from undiffuse.data.formats.registry import FORMATS
from undiffuse.data.preparation import open_source
from undiffuse.data.source import Draft, FileKind, WrittenSamples
from undiffuse.data.writing.volumes import SampleLayout, write_samples
from undiffuse.errors import UndiffuseError

Open = Callable[..., Dataset]


class Waves:
    """Mono, 8 bits."""

    noun, several = "sounds", False

    def look(self, entry: FileEntry) -> SampleLayout:
        with entry.open() as file, wave.open(file) as sound:
            return SampleLayout((1, sound.getnframes()), "uint8")

    def read(self, entry: FileEntry, form: SampleLayout) -> Iterator[NDArray[Any]]:
        with entry.open() as file, wave.open(file) as sound:
            yield np.frombuffer(sound.readframes(form.shape[1]), np.uint8)[None]


def _is_wave(name: str) -> bool:
    return name.endswith(".wav")


def _write(files: Files, listing: Listing, draft: Draft) -> WrittenSamples:
    return write_samples(files, listing, Waves(), draft)


WAVES = FileKind(_is_wave, _write, lambda config, source: {"kind": "Waves"})


FORMAT = Format(filling=filling("sound", WAVES, lambda count: count))


@pytest.fixture
def sounds(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, NDArray[np.uint8]]:
    values = rng.integers(0, 256, (6, 50), dtype=np.uint8)
    for number, one in enumerate(values):
        path = tmp_path / "sounds" / "ab"[number % 2] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 1, 8000, 0, "NONE", ""))
            sound.writeframes(one.tobytes())
    return tmp_path / "sounds", values


def test_a_line_in_the_registry_is_all_that_a_new_format_needs(
    sounds: tuple[Path, NDArray[np.uint8]], opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, values = sounds
    with pytest.raises(UndiffuseError, match="none among 6 other files"):
        opened(folder)
    monkeypatch.setattr(open_source, "FORMATS", (*FORMATS, FORMAT))
    dataset = opened(folder)
    assert np.array_equal(dataset.images[:, 0], values[[0, 2, 4, 1, 3, 5]])
    assert (dataset.info.classes, dataset.name_of(0)) == (("a", "b"), "a/0.wav")
    (folder / "a" / "cover.png").write_bytes(b"")
    with pytest.raises(UndiffuseError, match="got 6 sounds and 1 image"):
        opened(folder)


def test_every_format_says_how_it_is_recognised() -> None:
    assert all(form != Format() for form in FORMATS)
