"""The texts of a data set as vectors: each different text is encoded once, and kept in the cache.

A batch takes as long as it takes to copy some kilobytes; the encoder is not in memory while training.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from undiffuse.conditioning.text.encoder import SIZE, load_encoder
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.cache import UnkeptError, cache_root, discard, new_entry
from undiffuse.runtime.durable_files import write_durably
from undiffuse.runtime.safe_tensors import from_bytes, to_bytes
from undiffuse.runtime.standard_streams import hidden

FILE = "texts.safetensors"


@dataclass(frozen=True, eq=False)
class TextTable:
    """Vectors of the pieces of different texts, one text after another, and which text each sample has.

    Args:
        pieces: float16: half precision is finer than what the encoder's own rounding leaves.
        starts: where text k begins, and last the number of pieces; text 0 is the empty one.
        of_sample: which text, for each sample.
    """

    pieces: Float[Tensor, "pieces size"]
    starts: Int[Tensor, "texts_and_one"]
    of_sample: Int[Tensor, "samples"]

    def batch(self, samples: Int[Tensor, "batch"]) -> Float[Tensor, "batch length size"]:
        """float32, filled up with NaN to the longest; a sample without a text has nothing else."""
        texts = self.of_sample[samples].tolist()
        parts = [self.pieces[self.starts[k] : self.starts[k + 1]].float() for k in texts]
        if not any(len(part) for part in parts):
            return torch.full((len(parts), 1, self.pieces.shape[1]), torch.nan)
        return pad_sequence(parts, batch_first=True, padding_value=torch.nan)


def text_table(texts: Sequence[str], cache: Path | None = None, progress: bool = False) -> TextTable:
    """The vectors of a text for each sample ('' for none); what the cache has not is encoded and kept."""
    encoder = load_encoder()
    different = ["", *sorted(set(texts) - {""})]
    number = {text: k for k, text in enumerate(different)}
    of_sample = torch.tensor([number[text] for text in texts])
    key = hashlib.sha256(json.dumps([encoder.sha256, different]).encode()).hexdigest()
    place = cache_root(cache) / "texts" / key[:32]
    for _ in range(3):  # make, read; and once more if another process cleared our entry away with a damaged one
        damaged = place.exists()
        try:
            found = from_bytes((place / FILE).read_bytes(), place / FILE)
            return TextTable(found["pieces"], found["starts"], of_sample)
        except (OSError, UndiffuseError, KeyError):
            if damaged:
                discard(place)
        bar = tqdm(different[1:], desc="Reading texts", unit="text", disable=hidden(progress), leave=False)
        parts = [torch.empty(0, SIZE, dtype=torch.float16), *(encoder.tokens(text).half() for text in bar)]
        starts = torch.tensor([0, *map(len, parts)]).cumsum(0)
        pieces = torch.cat(parts)
        try:
            with new_entry(place) as draft:
                write_durably(draft / FILE, to_bytes({"pieces": pieces, "starts": starts}))
        except UnkeptError as error:
            warnings.warn(f"{error}; what was read of the texts is not kept", stacklevel=2)
            return TextTable(pieces, starts, of_sample)
    raise UndiffuseError(f"expected to read back what was just written to {place}, got a damaged entry; check the disk")
