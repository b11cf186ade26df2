"""Ho's network against a function of its TensorFlow variables, channels last, written here from the paper."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import undiffuse.model
from undiffuse.checkpoints.foreign import reader_of
from undiffuse.checkpoints.foreign.mapping import pair, write
from undiffuse.checkpoints.foreign.original import ho
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import outline

BASE, MULTS, BLOCKS, ATTENTION = 32, (1, 2), 1, (1,)


def shapes():
    """Variables of the network, as the TensorFlow code names and shapes them."""
    found, emb = {}, 4 * BASE

    def matrix(name, *shape):
        found[f"model/{name}/W"], found[f"model/{name}/b"] = shape, shape[-1:]

    def norm(name, channels):
        found[f"model/{name}/gamma"] = found[f"model/{name}/beta"] = (channels,)

    def block(name, inputs, outputs):
        norm(f"{name}/norm1", inputs)
        matrix(f"{name}/conv1", 3, 3, inputs, outputs)
        matrix(f"{name}/temb_proj", emb, outputs)
        norm(f"{name}/norm2", outputs)
        matrix(f"{name}/conv2", 3, 3, outputs, outputs)
        if inputs != outputs:
            matrix(f"{name}/nin_shortcut", inputs, outputs)

    def attention(name, channels):
        norm(f"{name}/norm", channels)
        for part in ("q", "k", "v", "proj_out"):
            matrix(f"{name}/{part}", channels, channels)

    matrix("temb/dense0", BASE, emb)
    matrix("temb/dense1", emb, emb)
    matrix("conv_in", 3, 3, 3, BASE)
    widths = [BASE * mult for mult in MULTS]
    ch, skips = BASE, [BASE]
    for level, width in enumerate(widths):
        for i in range(BLOCKS):
            block(f"down_{level}/block_{i}", ch, width)
            ch = width
            if level in ATTENTION:
                attention(f"down_{level}/attn_{i}", ch)
            skips.append(ch)
        if level + 1 < len(widths):
            matrix(f"down_{level}/downsample/conv", 3, 3, ch, ch)
            skips.append(ch)
    block("mid/block_1", ch, ch)
    attention("mid/attn_1", ch)
    block("mid/block_2", ch, ch)
    for level in reversed(range(len(widths))):
        for i in range(BLOCKS + 1):
            block(f"up_{level}/block_{i}", ch + skips.pop(), widths[level])
            ch = widths[level]
            if level in ATTENTION:
                attention(f"up_{level}/attn_{i}", ch)
        if level:
            matrix(f"up_{level}/upsample/conv", 3, 3, ch, ch)
    norm("norm_out", ch)
    matrix("conv_out", 3, 3, ch, 3)
    return found


@pytest.fixture(scope="module")
def variables():
    random = np.random.default_rng(0)

    def draw(name, shape):
        noise = random.standard_normal(shape).astype(np.float32)
        return 1 + 0.2 * noise if name.endswith("gamma") else noise * np.float32(0.7 / math.prod(shape[:-1]) ** 0.5)

    return {name: draw(name, shape) for name, shape in shapes().items()}


class Reference:
    """Features are (batch, height, width, channels), as TensorFlow has them."""

    def __init__(self, variables):
        self.v = {name.removeprefix("model/"): torch.from_numpy(array) for name, array in variables.items()}

    def dense(self, name, x):
        return x @ self.v[f"{name}/W"] + self.v[f"{name}/b"]

    def conv(self, name, x, stride=1):
        """A sum over the nine offsets; 'SAME' pads both sides by one, or at stride 2 and even sizes the end alone."""
        kernel, size = self.v[f"{name}/W"], x.shape[1]
        before = 1 if stride == 1 else 0
        x = F.pad(x, (0, 0, before, 1, before, 1))
        offsets = [(i, j) for i in range(3) for j in range(3)]
        parts = [x[:, i : i + size : stride, j : j + size : stride] @ kernel[i, j] for i, j in offsets]
        return torch.stack(parts).sum(0) + self.v[f"{name}/b"]

    def norm(self, name, x):
        batch, height, width, channels = x.shape
        grouped = x.reshape(batch, height * width, 32, channels // 32)
        mean = grouped.mean((1, 3), keepdim=True)
        variance = ((grouped - mean) ** 2).mean((1, 3), keepdim=True)
        normal = ((grouped - mean) / (variance + 1e-6).sqrt()).reshape(x.shape)
        return normal * self.v[f"{name}/gamma"] + self.v[f"{name}/beta"]

    def block(self, name, x, temb):
        h = self.conv(f"{name}/conv1", swish(self.norm(f"{name}/norm1", x)))
        h = h + self.dense(f"{name}/temb_proj", swish(temb))[:, None, None]
        h = self.conv(f"{name}/conv2", swish(self.norm(f"{name}/norm2", h)))
        return h + (self.dense(f"{name}/nin_shortcut", x) if f"{name}/nin_shortcut/W" in self.v else x)

    def attention(self, name, x):
        if f"{name}/q/W" not in self.v:
            return x
        q, k, v = (self.dense(f"{name}/{part}", self.norm(f"{name}/norm", x)).flatten(1, 2) for part in "qkv")
        weights = (q @ k.transpose(1, 2) / math.sqrt(x.shape[-1])).softmax(-1)
        return x + self.dense(f"{name}/proj_out", (weights @ v).reshape(x.shape))

    def __call__(self, x, time):
        x = x.permute(0, 2, 3, 1)
        half = BASE // 2
        angles = torch.tensor([[t * 10000 ** (-k / (half - 1)) for k in range(half)] for t in time.tolist()])
        temb = self.dense("temb/dense0", torch.cat([angles.sin(), angles.cos()], 1))
        temb = self.dense("temb/dense1", swish(temb))
        h = self.conv("conv_in", x)
        skips = [h]
        for level in range(len(MULTS)):
            for i in range(BLOCKS):
                h = self.attention(f"down_{level}/attn_{i}", self.block(f"down_{level}/block_{i}", h, temb))
                skips.append(h)
            if level + 1 < len(MULTS):
                h = self.conv(f"down_{level}/downsample/conv", h, stride=2)
                skips.append(h)
        h = self.attention("mid/attn_1", self.block("mid/block_1", h, temb))
        h = self.block("mid/block_2", h, temb)
        for level in reversed(range(len(MULTS))):
            for i in range(BLOCKS + 1):
                h = self.block(f"up_{level}/block_{i}", torch.cat([h, skips.pop()], -1), temb)
                h = self.attention(f"up_{level}/attn_{i}", h)
            if level:
                h = self.conv(f"up_{level}/upsample/conv", h.repeat_interleave(2, 1).repeat_interleave(2, 2))
        return self.conv("conv_out", swish(self.norm("norm_out", h))).permute(0, 3, 1, 2)


def swish(x):
    return x * torch.sigmoid(x)


def save(folder, variables, **more):
    path = folder / "cifar.npz"
    np.savez(path, **variables, **more)
    return path


def test_the_network_is_the_function_of_the_variables(variables, tmp_path):
    model = undiffuse.model.load(save(tmp_path, variables))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    time = torch.tensor([5.0, 999.0])
    expected = Reference(variables)(x, time)
    with torch.no_grad():
        got = model.network(x, time)
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=2e-4, atol=2e-5)


def test_attention_at_sixteen_pixels_tells_the_size_unless_the_file_beside_does(variables, tmp_path):
    path = save(tmp_path, variables)
    assert reader_of(path).read(path).info.shape == (3, 32, 32)
    path.with_suffix(".json").write_text(json.dumps({"image_size": 8}))
    assert reader_of(path).read(path).info.shape == (3, 8, 8)


def test_a_round_trip_is_exact(variables, tmp_path):
    path = save(tmp_path, variables)
    found = reader_of(path).read(path)
    back = write(pair(outline(found.config, found.info), ho.rules(found.config.network)), found.tensors)
    names = ho.named(list(variables))
    assert back.keys() == names.keys()
    assert all(np.array_equal(back[new].numpy(), variables[old]) for new, old in names.items())


def test_averages_are_read_where_there_are_any_and_the_optimisers_leavings_passed_over(variables, tmp_path):
    averages = {f"{name}/ExponentialMovingAverage": 2 * array for name, array in variables.items()}
    leavings = {f"{name}/Adam_1": array for name, array in variables.items()}
    more = {"global_step": np.int64(7), "beta1_power": np.float32(0.5), **averages}
    path = save(tmp_path, variables, **leavings, **more)
    found = reader_of(path).read(path)
    assert found.provenance["weights"] == "ema"
    assert np.array_equal(found.tensors["norm.weight"].numpy(), 2 * variables["model/norm_out/gamma"])
    plain = save(tmp_path, variables, **leavings, beta1_power=np.float32(0.5))
    found = reader_of(plain).read(plain)
    assert found.provenance["weights"] == "raw"
    assert np.array_equal(found.tensors["norm.weight"].numpy(), variables["model/norm_out/gamma"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda v: v.pop("model/mid/attn_1/k/b"), "lacks 'mid.attn_1.k.bias'"),
        (lambda v: v.update({"model/extra/W": np.ones((2, 2), "f4")}), "has a 'extra.weight'"),
        (lambda v: v.update({"model/norm_out/beta": np.ones(3, "f4")}), r"of the shape \(3,\)"),
        (lambda v: v.pop("model/conv_out/W"), "lacks 'conv_out/W'"),
        (lambda v: v.update({"model/conv_in/W": np.ones((3, 3, 12, 32), "f4")}), "block_size of 1"),
        (lambda v: v.update({"model/conv_in/W": np.ones(32, "f4")}), "lacks 'conv_in.weight'"),
        (lambda v: v.update({"model/conv_in/W": np.array([{}])}), "names that undiffuse does not know"),
    ],
)
def test_a_variable_missing_extra_or_of_another_shape_is_a_sentence(change, sentence, variables, tmp_path):
    changed = dict(variables)
    change(changed)
    with pytest.raises(UndiffuseError, match=sentence):
        undiffuse.model.load(save(tmp_path, changed))


@pytest.mark.parametrize("cut", [10, 5000, -10])
def test_a_damaged_file_is_a_sentence(cut, variables, tmp_path):
    path = save(tmp_path, variables)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UndiffuseError, match=r"not a valid \.npz"):
        undiffuse.model.load(path)
