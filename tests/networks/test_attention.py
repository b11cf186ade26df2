"""Self-attention, against the formula written out."""

import pytest
import torch

from undiffuse.errors import UndiffuseError
from undiffuse.networks.attention import SelfAttention


def attention_with_weights(channels, heads):
    attention = SelfAttention(channels, heads).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
    return attention


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("sizes", [(5,), (3, 4), (2, 3, 2)])
def test_attention_is_the_softmax_formula(heads, sizes):
    attention = attention_with_weights(8, heads)
    x = torch.randn(2, 8, *sizes, dtype=torch.float64)
    actual = attention(x)

    weight, bias = attention.qkv.weight, attention.qkv.bias
    for sample, result in zip(x, actual, strict=True):
        normed = sample.reshape(2, -1)  # 8 channels: two groups of four
        normed = (normed - normed.mean(1, keepdim=True)) / (normed.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
        normed = normed.reshape(8, -1) * attention.norm.weight[:, None] + attention.norm.bias[:, None]
        q, k, v = (weight @ normed + bias[:, None]).chunk(3)
        parts = []
        for h in range(heads):
            of_head = slice(h * 8 // heads, (h + 1) * 8 // heads)
            scores = q[of_head].T @ k[of_head] / (8 / heads) ** 0.5
            shares = scores.exp() / scores.exp().sum(1, keepdim=True)
            parts.append(v[of_head] @ shares.T)
        expected = sample + (attention.out.weight @ torch.cat(parts) + attention.out.bias[:, None]).reshape(
            sample.shape
        )
        torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)


def test_attention_does_not_depend_on_the_memory_format_and_keeps_it():
    attention = attention_with_weights(8, 2)
    x = torch.randn(2, 8, 4, 6, dtype=torch.float64)
    last = attention(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, attention(x), rtol=1e-12, atol=1e-12)
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_attention_commutes_with_a_permutation_of_the_positions():
    attention = attention_with_weights(8, 2)
    x = torch.randn(2, 8, 10, dtype=torch.float64)
    order = torch.randperm(10)
    torch.testing.assert_close(attention(x[:, :, order]), attention(x)[:, :, order], rtol=1e-10, atol=1e-10)


def test_fresh_attention_is_the_identity():
    x = torch.randn(2, 8, 5)
    assert torch.equal(SelfAttention(8, 2)(x), x)


def test_queries_keys_and_values_are_initialised_as_square_matrices():
    weight = SelfAttention(64).qkv.weight
    bound = (6 / (64 + 64)) ** 0.5
    for matrix in weight.chunk(3):
        assert 0.98 * bound < matrix.abs().max() <= bound


@pytest.mark.parametrize("heads", [3, 0])
def test_heads_that_do_not_divide_the_channels_are_refused(heads):
    with pytest.raises(UndiffuseError, match="heads"):
        SelfAttention(8, heads)
