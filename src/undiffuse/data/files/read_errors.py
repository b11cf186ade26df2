"""One sentence for whatever a parser raises on damaged bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from undiffuse.errors import UndiffuseError


@contextmanager
def intact(kind: str, name: str) -> Iterator[None]:
    """Around code that only reads: every exception means that the file is not the ``kind`` it should be.

    zipfile, tarfile, the decompressors and NumPy's header parser raise all sorts on damaged bytes (struct.error,
    zlib.error, OverflowError, tokenize errors, ...), so no shorter list than Exception is right.
    """
    try:
        yield
    except UndiffuseError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UndiffuseError(f"expected {kind}, got a damaged one: {name}: {said}") from error
