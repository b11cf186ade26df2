"""5,000 digits of MNIST that come with the package; NOTICE.md says whose they are."""

from __future__ import annotations

from pathlib import Path

FILE = Path(__file__).parent / "mnist_5k.csv.gz"
SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
"""Of the file. It is part of the data set's fingerprint, so another packing of the same pixels would part runs from
their data."""
