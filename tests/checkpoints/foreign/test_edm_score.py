"""EDM's DDPM++ and NCSN++ networks against a function of their tensors, written here from the papers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import undiffuse.model
from undiffuse.checkpoints.foreign import reader_of
from undiffuse.checkpoints.foreign.mapping import pair, write
from undiffuse.checkpoints.foreign.original import edm
from undiffuse.checkpoints.foreign.tensors import held
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import outline

SIDE, WIDTH = 8, 16
KINDS = {
    "ddpm++, classes": {"ncsn": False, "mults": (2, 2), "blocks": 2, "attention": (4,), "classes": 3},
    "ddpm++": {"ncsn": False, "mults": (1, 2, 2), "blocks": 1, "attention": (8, 2), "classes": 0},
    "ncsn++, classes": {"ncsn": True, "mults": (2, 2), "blocks": 1, "attention": (4,), "classes": 3},
    "ncsn++": {"ncsn": True, "mults": (1, 2, 2), "blocks": 2, "attention": (4,), "classes": 0},
}
TAPS = {True: (1.0, 3.0, 3.0, 1.0), False: (1.0, 1.0)}


def shapes_of(ncsn, mults, blocks, attention, classes, channels=3):
    """Names and shapes as EDM's code makes them, in the order of computation, and the filters of what resamples."""
    found, emb, waves, taps = {}, 4 * WIDTH, WIDTH * (1 + ncsn), len(TAPS[ncsn])

    def layer(name, *shape):
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    def block(name, inputs, outputs, attends=False, resamples=False):
        layer(f"{name}.norm0", inputs)
        layer(f"{name}.conv0", outputs, inputs, 3, 3)
        layer(f"{name}.affine", outputs, emb)
        layer(f"{name}.norm1", outputs)
        layer(f"{name}.conv1", outputs, outputs, 3, 3)
        if inputs != outputs or resamples:
            layer(f"{name}.skip", outputs, inputs, 1, 1)
        if attends:
            layer(f"{name}.norm2", outputs)
            layer(f"{name}.qkv", 3 * outputs, outputs, 1, 1)
            layer(f"{name}.proj", outputs, outputs, 1, 1)
        if resamples:
            found[f"{name}.conv0.resample_filter"] = found[f"{name}.skip.resample_filter"] = (1, 1, taps, taps)

    if ncsn:
        found["map_noise.freqs"] = (waves // 2,)
    if classes:
        layer("map_label", waves, classes)
    layer("map_layer0", emb, waves)
    layer("map_layer1", emb, emb)
    layer(f"enc.{SIDE}x{SIDE}_conv", WIDTH, channels, 3, 3)
    ch, picture, skips = WIDTH, channels, [WIDTH]
    for level, mult in enumerate(mults):
        res = SIDE >> level
        if level:
            block(f"enc.{res}x{res}_down", ch, ch, resamples=True)
            skips.append(ch)
        if level and ncsn:
            layer(f"enc.{res}x{res}_aux_residual", ch, picture, 3, 3)
            found[f"enc.{res}x{res}_aux_residual.resample_filter"] = (1, 1, taps, taps)
            picture = ch
        for i in range(blocks):
            block(f"enc.{res}x{res}_block{i}", ch, WIDTH * mult, res in attention)
            ch = WIDTH * mult
            skips.append(ch)
    block(f"dec.{res}x{res}_in0", ch, ch, True)
    block(f"dec.{res}x{res}_in1", ch, ch)
    for level, mult in reversed(list(enumerate(mults))):
        res = SIDE >> level
        if level < len(mults) - 1:
            block(f"dec.{res}x{res}_up", ch, ch, resamples=True)
        for i in range(blocks + 1):
            block(f"dec.{res}x{res}_block{i}", ch + skips.pop(), WIDTH * mult, res in attention and i == blocks)
            ch = WIDTH * mult
    layer(f"dec.{SIDE}x{SIDE}_aux_norm", ch)
    layer(f"dec.{SIDE}x{SIDE}_aux_conv", channels, ch, 3, 3)
    return found


def tensors_of(kind, prefix="model."):
    generator = torch.Generator().manual_seed(0)
    taps = torch.tensor(TAPS[KINDS[kind]["ncsn"]])

    def draw(name, shape):
        noise = torch.randn(shape, generator=generator)
        if name.endswith("resample_filter"):
            return torch.outer(taps, taps).reshape(shape) / taps.sum() ** 2
        if name.endswith("freqs"):
            return 16 * noise
        if "norm" in name and name.endswith("weight"):
            return 1 + 0.2 * noise
        return noise * 0.7 / (math.prod(shape[1:]) or 1) ** 0.5

    return {prefix + name: draw(name, shape) for name, shape in shapes_of(**KINDS[kind]).items()}


def halving(size, taps):
    """The matrix that halves a side of ``size`` pixels: taps around the middle of each two, cut at the border."""
    matrix, reach = torch.zeros(size // 2, size, dtype=torch.float64), len(taps) // 2 - 1
    for row in range(size // 2):
        for k, tap in enumerate(taps):
            if 0 <= (column := 2 * row - reach + k) < size:
                matrix[row, column] = tap / sum(taps)
    return matrix


class Reference:
    """The blocks in the order of their names in the file, which is the order of computation; in float64."""

    def __init__(self, tensors):
        self.t = {name.removeprefix("model."): tensor.double() for name, tensor in tensors.items()}
        self.ncsn = "map_noise.freqs" in self.t
        self.taps = TAPS[self.ncsn]

    def wb(self, name):
        return self.t[f"{name}.weight"], self.t[f"{name}.bias"]

    def norm(self, name, x):
        return F.group_norm(x, min(32, x.shape[1] // 4), *self.wb(name), eps=1e-6)

    def halve(self, x):
        matrix = halving(x.shape[2], self.taps)
        return matrix @ x @ matrix.T

    def double(self, x):
        matrix = 2 * halving(2 * x.shape[2], self.taps).T
        return matrix @ x @ matrix.T

    def block(self, name, x, emb):
        resample = self.halve if name.endswith("down") else self.double if name.endswith("up") else lambda y: y
        h = F.conv2d(resample(F.silu(self.norm(f"{name}.norm0", x))), *self.wb(f"{name}.conv0"), padding=1)
        h = h + F.linear(emb, *self.wb(f"{name}.affine"))[:, :, None, None]
        h = F.conv2d(F.silu(self.norm(f"{name}.norm1", h)), *self.wb(f"{name}.conv1"), padding=1)
        h = (h + (F.conv2d(resample(x), *self.wb(f"{name}.skip")) if f"{name}.skip.weight" in self.t else x)) / 2**0.5
        if f"{name}.qkv.weight" not in self.t:
            return h
        qkv = F.conv2d(self.norm(f"{name}.norm2", h), *self.wb(f"{name}.qkv")).flatten(2)
        q, k, v = qkv[:, 0::3], qkv[:, 1::3], qkv[:, 2::3]
        weights = (q.transpose(1, 2) @ k / h.shape[1] ** 0.5).softmax(2)
        attended = (v @ weights.transpose(1, 2)).reshape(h.shape)
        return (h + F.conv2d(attended, *self.wb(f"{name}.proj"))) / 2**0.5

    def smaller(self, name, picture):
        """A convolution at every place that the filter reaches, which is one beyond the border, and the filter."""
        h = F.conv2d(F.pad(picture, (2, 2, 2, 2)), *self.wb(name))
        matrix = halving(h.shape[2] + 2, self.taps)[1:-1, 1:-1]  # the rows whose taps all are within
        return matrix @ h @ matrix.T

    def embed(self, noise, label):
        half = self.t["map_layer0.weight"].shape[1] // 2
        # Angles are of float32, as they are there: their rounding is no error.
        powers = torch.tensor([10000.0 ** (-k / (half - 1)) for k in range(half)])
        angles = noise[:, None] * (2 * math.pi * self.t["map_noise.freqs"].float() if self.ncsn else powers)
        waves = torch.cat([angles.sin(), angles.cos()], 1).double()
        if "map_label.weight" in self.t:
            weight, bias = self.wb("map_label")
            waves = waves + bias
            if label is not None:
                waves = waves + weight.T[label] * weight.shape[1] ** 0.5
        return F.silu(F.linear(F.silu(F.linear(waves, *self.wb("map_layer0"))), *self.wb("map_layer1")))

    def network(self, x, noise, label=None):
        emb, skips, picture = self.embed(noise, label), [], x.double()
        x = picture
        places = dict.fromkeys(".".join(name.split(".")[:2]) for name in self.t if name.startswith(("enc.", "dec.")))
        for place in places:
            if place.endswith("aux_residual"):
                x = skips[-1] = picture = (x + self.smaller(place, picture)) / 2**0.5
            elif place.startswith("enc."):
                conv = place.endswith("conv")
                x = F.conv2d(x, *self.wb(place), padding=1) if conv else self.block(place, x, emb)
                skips.append(x)
            elif "aux" not in place:
                x = self.block(place, torch.cat([x, skips.pop()], 1) if "block" in place else x, emb)
        assert not skips
        end = f"dec.{SIDE}x{SIDE}_aux"
        return F.conv2d(F.silu(self.norm(f"{end}_norm", x)), *self.wb(f"{end}_conv"), padding=1)

    def denoised(self, x, sigma, label=None):
        """D(x; sigma) of the paper's equation 7 and table 1, of sigma_data = 0.5."""
        sigma, data = sigma.reshape(-1, 1, 1, 1), 0.5
        total = sigma**2 + data**2
        output = self.network(x / total.sqrt(), sigma.flatten().log() / 4, label)
        return data**2 / total * x + sigma * data / total.sqrt() * output


def save(folder, tensors):
    torch.save(tensors, folder / "edm.pt")
    return folder / "edm.pt"


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_theirs_to_a_hundred_thousandth_of_the_largest_output(kind, tmp_path):
    tensors = tensors_of(kind)
    network = undiffuse.model.load(save(tmp_path, tensors)).network
    x = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    noise = torch.tensor([-1.5, 0.1, 1.2])
    labels = [None, torch.tensor([2, 0, 1])] if KINDS[kind]["classes"] else [None]
    for label in labels:
        expected = Reference(tensors).network(x, noise, label)
        with torch.no_grad():
            found = network(x, noise, **({} if label is None else {"label": label}))
        assert expected.std() > 0.1
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_denoiser_is_the_preconditioned_network_at_every_noise_level(kind, tmp_path):
    tensors = tensors_of(kind)
    model = undiffuse.model.load(save(tmp_path, tensors))
    x0 = 0.5 * torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))
    t = torch.tensor([0.05, 0.4, 1.0], dtype=torch.float64)
    alpha, sigma = (part.float().reshape(-1, 1, 1, 1) for part in model.schedule(t))
    level = sigma / alpha
    expected = Reference(tensors).denoised(x0 + level * noise, level).float()
    with torch.no_grad():
        found = model.denoiser(alpha * x0 + sigma * noise, t)
    assert level.max() > 80
    torch.testing.assert_close(found.x0, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_ours_is_theirs_and_back(kind, tmp_path):
    tensors = tensors_of(kind, prefix="")
    found = reader_of(path := save(tmp_path, tensors)).read(path)
    table = edm.layout(path, held(tensors), held(tensors)).rules
    back = write(pair(outline(found.config, found.info), table), found.tensors)
    assert back.keys() == {name for name in tensors if not name.endswith("filter")}
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in back.items())


@pytest.mark.parametrize("kind", ["ddpm++, classes", "ncsn++, classes"])
def test_it_draws_samples_whatever_it_knows_of_augmentations(kind, tmp_path):
    tensors = tensors_of(kind) | {"model.map_augment.weight": torch.ones(WIDTH, 9)}
    model = undiffuse.model.load(save(tmp_path, tensors))
    assert model.info.classes == ("0", "1", "2")
    assert model.sample(1, sampler="heun", steps=2, spacing="karras", classes=("1",)).array.shape == (1, 3, SIDE, SIDE)


def with_tensor(name, *shape):
    return lambda tree: tree.update({f"model.{name}": torch.ones(shape)})


def without(name):
    return lambda tree: tree.pop(f"model.{name}")


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        ("ddpm++", without("dec.8x8_aux_norm.bias"), "lacks 'dec.8x8_aux_norm.bias'"),
        ("ddpm++", without("dec.8x8_aux_conv.weight"), "lacks 'dec.8x8_aux_conv.weight'"),
        ("ddpm++", with_tensor("enc.4x4_down.skip.resample_filter", 1, 1, 4, 4), "the mean of 2 x 2"),
        ("ncsn++", with_tensor("enc.4x4_down.skip.resample_filter", 1, 1, 4, 4), r"\(1, 3, 3, 1\) / 8"),
        ("ddpm++", with_tensor("enc.4x4_aux_residual.weight", 16, 3, 3, 3), "has a 'enc.4x4_aux_residual.weight'"),
        ("ddpm++", with_tensor("enc.4x4_aux_skip.weight", 16, 3, 1, 1), "has a 'enc.4x4_aux_skip.weight'"),
        ("ddpm++", with_tensor("dec.4x4_aux_norm.weight", 32), "has a 'dec.4x4_aux_norm.weight'"),
        ("ncsn++", without("enc.4x4_aux_residual.weight"), "lacks 'enc.4x4_aux_residual.weight'"),
        ("ncsn++", with_tensor("map_noise.freqs", 3), "'map_noise.freqs' of the shape"),
        ("ncsn++", with_tensor("map_layer0.weight", 64, 16), "'map_layer0.weight' of the shape"),
        ("ncsn++", with_tensor("dec.8x8_aux_conv.weight", 6, 16, 3, 3), "makes 6 channels of 3"),
        ("ddpm++, classes", without("map_label.bias"), "lacks 'map_label.bias'"),
        ("ddpm++", with_tensor("enc.8x8_conv.weight", 2, 3, 3, 3), "an even `base` of at least 4"),
    ],
)
def test_what_does_not_fit_is_a_sentence(kind, change, sentence, tmp_path):
    tree = tensors_of(kind)
    change(tree)
    with pytest.raises(UndiffuseError, match=sentence):
        undiffuse.model.load(save(tmp_path, tree))


def test_a_baseline_is_refused_by_its_name_as_its_preconditioning_is_another(tmp_path):
    path = save(tmp_path, tensors_of("ddpm++")).rename(tmp_path / "baseline-cifar10-32x32-uncond-vp.pt")
    with pytest.raises(UndiffuseError, match="would draw wrong images"):
        undiffuse.model.load(path)
