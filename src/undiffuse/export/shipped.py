"""Turn a run's newest checkpoint into a model that ships with the package.

  python -m undiffuse.export.shipped runs/NAME --name digits

``make shipped-model`` and ``make shipped-fast-model`` train the runs first. The file is written into the package's own
folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from undiffuse.checkpoints.pretrained import FOLDER
from undiffuse.config.flags import in_flags
from undiffuse.errors import UndiffuseError
from undiffuse.export.model_file import packed
from undiffuse.model import load_model
from undiffuse.runtime.durable_files import replace_bytes

LIMIT = 2_000_000
"""Bytes of a file at most: everyone who installs the package downloads it."""


def make(run: Path, target: Path) -> int:
    """Write the first average of a run's newest whole checkpoint, and return the file's size."""
    model = load_model(run, "ema")
    if model.provenance["weights"] == "raw":
        raise UndiffuseError(f"{run} has no averaged weights: train it with `ema=0.995`")
    data = packed(model)
    if len(data) > LIMIT:
        raise UndiffuseError(f"{run} makes a file of {len(data):,} bytes, and at most {LIMIT:,} ship; lower `base`")
    replace_bytes(target, data)
    return len(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--name", required=True, help="what the model will be called")
    typed = parser.parse_args()
    target = FOLDER / f"{typed.name}.safetensors"
    try:
        size = make(typed.run, target)
    except UndiffuseError as error:
        print(in_flags(f"undiffuse: {error}"), file=sys.stderr)
        return error.status
    print(f"{target}: {size:,} bytes; look at it with: undiffuse sample {typed.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
