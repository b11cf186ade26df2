from __future__ import annotations

from io import BytesIO

from undiffuse.data.files.decode import ForTheEyeError, UnreadableError
from undiffuse.data.files.listing import FileEntry, Listing
from undiffuse.data.writing.listed import survey


class Bar:
    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self) -> None:
        pass


class Pass:
    """A draft that shows nothing, of files that are there."""

    def bar(self, *words: object) -> Bar:
        return Bar()

    def entries(self) -> list[FileEntry]:
        return [FileEntry(name, 1, lambda: BytesIO(b"x")) for name in ("a", "b")]


def test_reasons_of_unreadable_files_keep_no_traceback_and_so_no_bytes() -> None:
    def look(entry: FileEntry) -> int:
        try:
            raise ValueError("inside")
        except ValueError:
            raise (UnreadableError if entry.name == "a" else ForTheEyeError)("is cut short") from None

    names = Listing.__new__(Listing)
    object.__setattr__(names, "images", ["a", "b"])
    found, failed = survey(Pass(), names, look, Pass())  # type: ignore[arg-type]
    assert found == {}
    assert [(name, type(error), str(error)) for name, error in failed] == [
        ("a", UnreadableError, "is cut short"),
        ("b", ForTheEyeError, "is cut short"),
    ]
    assert not any(error.__traceback__ or error.__context__ for _, error in failed)
