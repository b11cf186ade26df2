"""Standard output takes any text, in any encoding, and where there is none."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from undiffuse.runtime.standard_streams import hidden, open_streams

TEXT = "FD ↓ 3.5 ± 0.1 … 東"


def printed(monkeypatch: pytest.MonkeyPatch, encoding: str, text: str) -> bytes:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    with open_streams():
        print(text, end="")
    assert stream.errors == "strict"
    stream.flush()
    return raw.getvalue()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", TEXT),
        ("cp1252", "FD v 3.5 ± 0.1 … ?"),
        ("ascii", "FD v 3.5 +- 0.1 ... ?"),
        ("latin-1", "FD v 3.5 ± 0.1 ... ?"),
    ],
)
def test_what_an_encoding_lacks_is_printed_in_other_letters(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    assert printed(monkeypatch, encoding, TEXT).decode(encoding) == shown


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "\N{REPLACEMENT CHARACTER}"), ("ascii", "?")])
def test_a_name_that_is_no_utf8_is_printed_with_a_mark(
    monkeypatch: pytest.MonkeyPatch, encoding: str, mark: str
) -> None:
    assert printed(monkeypatch, encoding, "caf\udce9 x").decode(encoding) == f"caf{mark} x"


def test_no_stream_takes_every_text_and_is_none_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with open_streams():
        print(TEXT)
        print(TEXT, file=sys.stderr)
        sys.stdout.flush()
    assert sys.stdout is None
    assert sys.stderr is None


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_file_does_not_get_the_number_of_a_closed_stream(tmp_path: Path, closed: str) -> None:
    code = (
        "import os; from undiffuse.runtime.standard_streams import open_streams; o = open_streams(); o.__enter__();"
        f"f = open({str(tmp_path / 'f')!r}, 'w'); os.write(1, b''); print('lost'); f.write(str(f.fileno() > 2))"
    )
    words = ["/bin/sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", code]
    done = subprocess.run(words, check=False, timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "f").read_text() == "True"


def test_a_bar_is_hidden_where_there_is_no_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from tqdm import tqdm

    assert (hidden(True), hidden(False)) == (None, True)
    monkeypatch.setattr(sys, "stderr", None)
    assert list(tqdm(range(3), disable=hidden(True))) == [0, 1, 2]
