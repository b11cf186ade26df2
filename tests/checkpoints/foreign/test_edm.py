"""EDM's ADM networks against a function of their tensors and its preconditioning, written here from the paper."""

from __future__ import annotations

import math
import pickle

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

import undiffuse.model
from undiffuse.checkpoints.foreign import reader_of
from undiffuse.checkpoints.foreign.mapping import pair, write
from undiffuse.checkpoints.foreign.original import edm
from undiffuse.checkpoints.foreign.tensors import held
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import outline

SIDE, HEAD = 8, 64
KINDS = {
    "classes": {"width": 64, "mults": (1, 2), "blocks": 2, "attention": (4,), "classes": 3},
    "no classes": {"width": 64, "mults": (1, 1, 2), "blocks": 1, "attention": (8, 2), "classes": 0},
}


def shapes_of(width, mults, blocks, attention, classes, channels=3):
    """Names and shapes as EDM's code makes them, and the filters of what resamples."""
    found, emb = {}, 4 * width

    def layer(name, *shape):
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    def block(name, inputs, outputs, attends=False, resamples=False):
        layer(f"{name}.norm0", inputs)
        layer(f"{name}.conv0", outputs, inputs, 3, 3)
        layer(f"{name}.affine", 2 * outputs, emb)
        layer(f"{name}.norm1", outputs)
        layer(f"{name}.conv1", outputs, outputs, 3, 3)
        if inputs != outputs:
            layer(f"{name}.skip", outputs, inputs, 1, 1)
        if attends:
            layer(f"{name}.norm2", outputs)
            layer(f"{name}.qkv", 3 * outputs, outputs, 1, 1)
            layer(f"{name}.proj", outputs, outputs, 1, 1)
        if resamples:
            found[f"{name}.conv0.resample_filter"] = found[f"{name}.skip.resample_filter"] = (1, 1, 2, 2)

    layer("map_layer0", emb, width)
    layer("map_layer1", emb, emb)
    if classes:
        found["map_label.weight"] = (emb, classes)
    ch, skips = channels, []
    for level, mult in enumerate(mults):
        res = SIDE >> level
        if level == 0:
            layer(f"enc.{res}x{res}_conv", width * mult, ch, 3, 3)
            ch = width * mult
        else:
            block(f"enc.{res}x{res}_down", ch, ch, resamples=True)
        skips.append(ch)
        for i in range(blocks):
            block(f"enc.{res}x{res}_block{i}", ch, width * mult, res in attention)
            ch = width * mult
            skips.append(ch)
    block(f"dec.{res}x{res}_in0", ch, ch, True)
    block(f"dec.{res}x{res}_in1", ch, ch)
    for level, mult in reversed(list(enumerate(mults))):
        res = SIDE >> level
        if level < len(mults) - 1:
            block(f"dec.{res}x{res}_up", ch, ch, resamples=True)
        for i in range(blocks + 1):
            block(f"dec.{res}x{res}_block{i}", ch + skips.pop(), width * mult, res in attention)
            ch = width * mult
    layer("out_norm", ch)
    layer("out_conv", channels, ch, 3, 3)
    return found


def tensors_of(kind="classes", prefix="model."):
    generator = torch.Generator().manual_seed(0)

    def draw(name, shape):
        noise = torch.randn(shape, generator=generator)
        if name.endswith("resample_filter"):
            return torch.full(shape, 0.25)
        if "norm" in name and name.endswith("weight"):
            return 1 + 0.2 * noise
        return noise * 0.7 / (math.prod(shape[1:]) or 1) ** 0.5

    return {prefix + name: draw(name, shape) for name, shape in shapes_of(**KINDS[kind]).items()}


class Reference:
    """The blocks in the order of their names in the file, which is the order of computation."""

    def __init__(self, tensors):
        self.t = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}

    def wb(self, name):
        return self.t[f"{name}.weight"], self.t[f"{name}.bias"]

    def norm(self, name, x):
        return F.group_norm(x, min(32, x.shape[1] // 4), *self.wb(name), eps=1e-5)

    def block(self, name, x, emb):
        def resample(y):
            if name.endswith("down"):
                return y.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
            return y.repeat_interleave(2, 2).repeat_interleave(2, 3) if name.endswith("up") else y

        h = F.conv2d(resample(F.silu(self.norm(f"{name}.norm0", x))), *self.wb(f"{name}.conv0"), padding=1)
        scale, shift = F.linear(emb, *self.wb(f"{name}.affine"))[:, :, None, None].chunk(2, dim=1)
        h = F.silu(shift + self.norm(f"{name}.norm1", h) * (scale + 1))
        h = F.conv2d(h, *self.wb(f"{name}.conv1"), padding=1)
        h = h + (F.conv2d(resample(x), *self.wb(f"{name}.skip")) if f"{name}.skip.weight" in self.t else resample(x))
        if f"{name}.qkv.weight" not in self.t:
            return h
        batch, channels, *_ = h.shape
        count = channels // HEAD
        qkv = F.conv2d(self.norm(f"{name}.norm2", h), *self.wb(f"{name}.qkv"))
        q, k, v = qkv.reshape(batch * count, HEAD, 3, -1).unbind(2)
        weights = torch.einsum("ncq,nck->nqk", q, k / HEAD**0.5).softmax(2)
        a = torch.einsum("nqk,nck->ncq", weights, v).reshape(h.shape)
        return h + F.conv2d(a, *self.wb(f"{name}.proj"))

    def network(self, x, noise, label=None):
        half = self.t["map_layer0.weight"].shape[1] // 2
        angles = noise[:, None] * 10000.0 ** (-torch.arange(half) / half)
        emb = F.silu(F.linear(torch.cat([angles.cos(), angles.sin()], 1), *self.wb("map_layer0")))
        emb = F.linear(emb, *self.wb("map_layer1"))
        if label is not None:
            one_hot = F.one_hot(label, self.t["map_label.weight"].shape[1]).float()
            emb = emb + one_hot @ self.t["map_label.weight"].T
        emb, skips = F.silu(emb), []
        places = dict.fromkeys(".".join(name.split(".")[:2]) for name in self.t if name.startswith(("enc.", "dec.")))
        for place in places:
            if place.endswith("conv"):
                x = F.conv2d(x, *self.wb(place), padding=1)
            else:
                skip = place.startswith("dec.") and "block" in place
                x = self.block(place, torch.cat([x, skips.pop()], 1) if skip else x, emb)
            if place.startswith("enc."):
                skips.append(x)
        return F.conv2d(F.silu(self.norm("out_norm", x)), *self.wb("out_conv"), padding=1)

    def denoised(self, x, sigma, label=None):
        """D(x; sigma) of the paper's equation 7 and table 1, of sigma_data = 0.5."""
        sigma, data = sigma.reshape(-1, 1, 1, 1), 0.5
        total = sigma**2 + data**2
        output = self.network(x / total.sqrt(), sigma.flatten().log() / 4, label)
        return data**2 / total * x + sigma * data / total.sqrt() * output


def save(folder, tensors, name="edm.pt"):
    path = folder / name
    torch.save(tensors, path) if name.endswith(".pt") else safetensors.torch.save_file(tensors, path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_denoiser_is_the_preconditioned_network_at_every_noise_level(kind, tmp_path):
    tensors = tensors_of(kind)
    model = undiffuse.model.load(save(tmp_path, tensors))
    x0 = 0.5 * torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))
    t = torch.tensor([0.05, 0.4, 1.0], dtype=torch.float64)
    alpha, sigma = (part.float().reshape(-1, 1, 1, 1) for part in model.schedule(t))
    level = sigma / alpha
    label = torch.tensor([2, 0, 1]) if KINDS[kind]["classes"] else None
    expected = Reference(tensors).denoised(x0 + level * noise, level, label)
    with torch.no_grad():
        found = model.denoiser(alpha * x0 + sigma * noise, t, **({} if label is None else {"label": label}))
    assert level.max() > 80
    assert expected.std() > 0.1
    torch.testing.assert_close(found.x0, expected, rtol=1e-3, atol=1e-4)


def test_no_class_is_no_column(tmp_path):
    tensors = tensors_of()
    model = undiffuse.model.load(save(tmp_path, tensors))
    x, noise = torch.randn(2, 3, SIDE, SIDE), torch.tensor([-0.3, 0.7])
    with torch.no_grad():
        torch.testing.assert_close(model.network(x, noise), Reference(tensors).network(x, noise), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_ours_is_theirs_and_back(kind, tmp_path):
    tensors = tensors_of(kind, prefix="")
    found = reader_of(path := save(tmp_path, tensors, "edm.safetensors")).read(path)
    table = edm.layout(path, held(tensors), held(tensors)).rules
    back = write(pair(outline(found.config, found.info), table), found.tensors)
    assert back.keys() == {name for name in tensors if not name.endswith("filter")}
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in back.items())


def test_it_draws_samples_whatever_it_knows_of_augmentations(tmp_path):
    tensors = tensors_of() | {"model.map_augment.weight": torch.ones(64, 9)}
    model = undiffuse.model.load(save(tmp_path, tensors))
    assert model.info.classes == ("0", "1", "2")
    assert model.sample(1, sampler="heun", steps=2, spacing="karras", classes=("1",)).array.shape == (1, 3, SIDE, SIDE)


def without(name):
    return lambda tree: tree.pop(name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without("model.dec.4x4_in0.proj.bias"), "lacks 'dec.4x4_in0.proj.bias'"),
        (without("model.out_conv.weight"), "lacks 'out_conv.weight'"),
        (lambda t: t.update({"model.extra.weight": torch.ones(2)}), "has a 'extra.weight'"),
        (lambda t: t.update({"model.map_noise.freqs": torch.ones(2)}), "lacks 'dec.8x8_aux_conv.weight'"),
        (lambda t: t.update({"model.enc.4x4_down.skip.resample_filter": torch.ones(1, 1, 4, 4)}), "the mean of 2 x 2"),
        (lambda t: t.update({"model.enc.3x3_block0.conv1.weight": torch.ones(2)}), "half of the one before"),
        (lambda t: t.update({"model.out_conv.weight": torch.ones(6, 64, 3, 3)}), "makes 6 channels of 3"),
        (lambda t: t.update({"model.enc.8x8_conv.weight": torch.ones(60, 3, 3, 3)}), "no multiples"),
    ],
)
def test_what_does_not_fit_is_a_sentence(change, sentence, tmp_path):
    tree = tensors_of()
    change(tree)
    with pytest.raises(UndiffuseError, match=sentence):
        undiffuse.model.load(save(tmp_path, tree))


def test_the_published_pickles_are_refused_and_say_what_to_do(tmp_path):
    (tmp_path / "edm.pkl").write_bytes(pickle.dumps({"ema": 1}))
    with pytest.raises(UndiffuseError, match="save its tensors"):
        undiffuse.model.load(tmp_path / "edm.pkl")
