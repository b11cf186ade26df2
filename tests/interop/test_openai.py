"""OpenAI's networks against a function of their published tensors, written here from the papers' description."""

from __future__ import annotations

import json
import math
import pickle

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

import undiffuse.model
from undiffuse.build import outline
from undiffuse.errors import UndiffuseError
from undiffuse.interop import reader_of
from undiffuse.interop.mapping import pair, write
from undiffuse.interop.original import openai
from undiffuse.interop.original.flags import PUBLISHED, Flags, process
from undiffuse.schedule import make_schedule

BASE, BLOCKS = 32, 1


def shapes_of(mults, attention, *, scale_shift, resblock, classes, out, width=BASE):
    """Names and shapes as OpenAI's code makes them, told level by level."""
    found, emb = {}, 4 * width

    def layer(name, *shape):
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    def residual(name, inputs, outputs):
        layer(f"{name}.in_layers.0", inputs)
        layer(f"{name}.in_layers.2", outputs, inputs, 3, 3)
        layer(f"{name}.emb_layers.1", outputs * (2 if scale_shift else 1), emb)
        layer(f"{name}.out_layers.0", outputs)
        layer(f"{name}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            layer(f"{name}.skip_connection", outputs, inputs, 1, 1)

    def attend(name, channels):
        layer(f"{name}.norm", channels)
        layer(f"{name}.qkv", 3 * channels, channels, 1)
        layer(f"{name}.proj_out", channels, channels, 1)

    layer("time_embed.0", emb, width)
    layer("time_embed.2", emb, emb)
    if classes:
        found["label_emb.weight"] = (classes, emb)
    widths = [int(width * mult) for mult in mults]
    ch = widths[0]
    layer("input_blocks.0.0", ch, 3, 3, 3)
    skips, k = [ch], 1
    for level, w in enumerate(widths):
        for _ in range(BLOCKS):
            residual(f"input_blocks.{k}.0", ch, w)
            ch = w
            if level in attention:
                attend(f"input_blocks.{k}.1", ch)
            skips.append(ch)
            k += 1
        if level + 1 < len(widths):
            if resblock:
                residual(f"input_blocks.{k}.0", ch, ch)
            else:
                layer(f"input_blocks.{k}.0.op", ch, ch, 3, 3)
            skips.append(ch)
            k += 1
    residual("middle_block.0", ch, ch)
    attend("middle_block.1", ch)
    residual("middle_block.2", ch, ch)
    k = 0
    for level in reversed(range(len(widths))):
        for i in range(BLOCKS + 1):
            residual(f"output_blocks.{k}.0", ch + skips.pop(), widths[level])
            ch = widths[level]
            if level in attention:
                attend(f"output_blocks.{k}.1", ch)
            if level and i == BLOCKS:
                last = f"output_blocks.{k}.{2 if level in attention else 1}"
                if resblock:
                    residual(last, ch, ch)
                else:
                    layer(f"{last}.conv", ch, ch, 3, 3)
            k += 1
    layer("out.0", ch)
    layer("out.2", out, ch, 3, 3)
    return found


class Reference:
    """The network as a function of its tensors: it finds what a place holds by the names that are there."""

    def __init__(self, tensors, *, heads=None, head_channels=None, new_order=False, resblock=False):
        self.t, self.heads, self.head_channels = tensors, heads, head_channels
        self.new_order, self.resblock = new_order, resblock

    def wb(self, name):
        return self.t[f"{name}.weight"], self.t[f"{name}.bias"]

    def norm(self, name, x):
        grouped = x.reshape(len(x), 32, -1)
        centred = grouped - grouped.mean(2, keepdim=True)
        normal = (centred / (grouped.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()).reshape(x.shape)
        weight, bias = (p.reshape(1, -1, *[1] * (x.ndim - 2)) for p in self.wb(name))
        return normal * weight + bias

    def residual(self, name, x, emb, turn=None):
        h = self.norm(f"{name}.in_layers.0", x)
        h = h * torch.sigmoid(h)
        if turn == "up":
            h, x = (y.repeat_interleave(2, 2).repeat_interleave(2, 3) for y in (h, x))
        if turn == "down":
            h, x = ((y[..., ::2, ::2] + y[..., 1::2, ::2] + y[..., ::2, 1::2] + y[..., 1::2, 1::2]) / 4 for y in (h, x))
        h = F.conv2d(h, *self.wb(f"{name}.in_layers.2"), padding=1)
        e = (F.linear(emb * torch.sigmoid(emb), *self.wb(f"{name}.emb_layers.1")))[:, :, None, None]
        if e.shape[1] == 2 * h.shape[1]:
            half = h.shape[1]
            h = self.norm(f"{name}.out_layers.0", h) * (1 + e[:, :half]) + e[:, half:]
        else:
            h = self.norm(f"{name}.out_layers.0", h + e)
        h = F.conv2d(h * torch.sigmoid(h), *self.wb(f"{name}.out_layers.3"), padding=1)
        skip = f"{name}.skip_connection"
        return h + (F.conv2d(x, *self.wb(skip)) if f"{skip}.weight" in self.t else x)

    def attend(self, name, x):
        batch, channels, *_spatial = x.shape
        flat = x.reshape(batch, channels, -1)
        qkv = F.conv1d(self.norm(f"{name}.norm", flat), *self.wb(f"{name}.qkv"))
        heads = self.heads or channels // self.head_channels
        c = channels // heads
        parts = []
        for i in range(heads):
            if self.new_order:
                q, k, v = (qkv[:, j * channels + i * c : j * channels + (i + 1) * c] for j in range(3))
            else:
                q, k, v = (qkv[:, (3 * i + j) * c : (3 * i + j + 1) * c] for j in range(3))
            weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(c), dim=-1)
            parts.append(v @ weights.transpose(1, 2))
        return (flat + F.conv1d(torch.cat(parts, 1), *self.wb(f"{name}.proj_out"))).reshape(x.shape)

    def sequence(self, block, h, emb):
        for j in range(3):
            name = f"{block}.{j}"
            if f"{name}.op.weight" in self.t:
                h = F.conv2d(h, *self.wb(f"{name}.op"), stride=2, padding=1)
            elif f"{name}.conv.weight" in self.t:
                h = F.conv2d(h.repeat_interleave(2, 2).repeat_interleave(2, 3), *self.wb(f"{name}.conv"), padding=1)
            elif f"{name}.qkv.weight" in self.t:
                h = self.attend(name, h)
            elif f"{name}.in_layers.0.weight" in self.t:
                turn = "up" if j and block.startswith("output") else None
                if self.resblock and block.startswith("input") and int(block.split(".")[1]) % (BLOCKS + 1) == 0:
                    turn = "down"
                h = self.residual(name, h, emb, turn)
        return h

    def __call__(self, x, time, label=None):
        width = self.t["time_embed.0.weight"].shape[1]
        angles = torch.tensor([[t * 10000 ** (-k / (width // 2)) for k in range(width // 2)] for t in time.tolist()])
        emb = F.linear(torch.cat([angles.cos(), angles.sin()], 1), *self.wb("time_embed.0"))
        emb = F.linear(emb * torch.sigmoid(emb), *self.wb("time_embed.2"))
        if label is not None:
            emb = emb + self.t["label_emb.weight"][label]
        h = F.conv2d(x, *self.wb("input_blocks.0.0"), padding=1)
        skips, k = [h], 1
        while any(name.startswith(f"input_blocks.{k}.") for name in self.t):
            h = self.sequence(f"input_blocks.{k}", h, emb)
            skips.append(h)
            k += 1
        h = self.sequence("middle_block", h, emb)
        for k in range(len(skips)):
            h = self.sequence(f"output_blocks.{k}", torch.cat([h, skips.pop()], 1), emb)
        h = self.norm("out.0", h)
        return F.conv2d(h * torch.sigmoid(h), *self.wb("out.2"), padding=1)


def tensors_of(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(name, shape):
        fan = math.prod(shape[1:]) or 1
        noise = torch.randn(shape, generator=generator)
        return 1 + 0.2 * noise if len(shape) == 1 and name.endswith("weight") else noise * (1 / fan) ** 0.5 * 0.7

    return {name: draw(name, shape) for name, shape in shapes.items()}


GUIDED = {"mults": (1, 2), "attention": (1,), "scale_shift": True, "resblock": True, "classes": 5, "out": 6}
VARIANTS = {
    "improved": (
        {"mults": (1, 2), "attention": (1,), "scale_shift": True, "resblock": False, "classes": 0, "out": 6},
        {"num_heads": 4, "diffusion_steps": 4000, "noise_schedule": "cosine", "rescale_timesteps": True},
    ),
    "improved-lsun": (
        {"mults": (1, 1, 2), "attention": (2,), "scale_shift": False, "resblock": False, "classes": 0, "out": 3},
        {"num_heads": 1, "diffusion_steps": 1000, "noise_schedule": "linear"},
    ),
    "guided": (
        {**GUIDED, "attention": (0, 1)},
        {"num_head_channels": 16, "diffusion_steps": 1000, "noise_schedule": "linear"},
    ),
    "guided-new-order": (
        GUIDED,
        {"num_head_channels": 16, "diffusion_steps": 1000, "noise_schedule": "cosine", "use_new_attention_order": True},
    ),
    "guided-512": (
        {
            "mults": (0.5, 1),
            "attention": (1,),
            "scale_shift": True,
            "resblock": True,
            "classes": 5,
            "out": 6,
            "width": 64,
        },
        {"num_head_channels": 16, "diffusion_steps": 1000, "noise_schedule": "linear"},
    ),
}


def write_pt(folder, tensors, flags=None, name="model000100.pt"):
    path = folder / name
    torch.save(tensors, path)
    if flags is not None:
        path.with_suffix(".json").write_text(json.dumps({"image_size": 8, **flags}))
    return path


@pytest.fixture
def guided(tmp_path):
    kinds, flags = VARIANTS["guided"]
    return tensors_of(shapes_of(**kinds)), flags, tmp_path


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_is_the_function_of_the_published_tensors(variant, tmp_path):
    kinds, flags = VARIANTS[variant]
    tensors = tensors_of(shapes_of(**kinds))
    model = undiffuse.model.load(write_pt(tmp_path, tensors, flags))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    time = torch.tensor([3.0, 731.25])
    label = torch.tensor([4, 1]) if kinds["classes"] else None
    reference = Reference(
        tensors,
        heads=flags.get("num_heads"),
        head_channels=flags.get("num_head_channels"),
        new_order=flags.get("use_new_attention_order", False),
        resblock=kinds["resblock"],
    )
    expected = reference(x, time, label)
    with torch.no_grad():
        got = model.network(x, time, **({} if label is None else {"label": label}))
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_round_trip_is_exact(variant, tmp_path):
    kinds, flags = VARIANTS[variant]
    tensors = tensors_of(shapes_of(**kinds))
    found = reader_of(path := write_pt(tmp_path, tensors, flags)).read(path)
    table = openai.rules(found.config.network, flags.get("use_new_attention_order", False))
    back = write(pair(outline(found.config, found.info), table), found.tensors)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_safetensors_give_the_same_model_and_are_told_from_ours(guided):
    tensors, flags, folder = guided
    path = write_pt(folder, tensors, flags)
    other = path.with_suffix(".safetensors")
    safetensors.torch.save_file(tensors, other)
    one, two = (reader_of(each).read(each) for each in (path, other))
    assert one.config == two.config
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    safetensors.torch.save_file({"weight": torch.ones(1)}, other)
    assert reader_of(other) is None


def test_half_precision_is_read_as_float32(guided):
    tensors, flags, folder = guided
    path = write_pt(folder, {name: tensor.half() for name, tensor in tensors.items()}, flags)
    found = reader_of(path).read(path)
    assert torch.equal(found.tensors["stem.weight"], tensors["input_blocks.0.0.weight"].half().float())


def test_samples_are_drawn_with_the_learned_variance(guided):
    tensors, flags, folder = guided
    model = undiffuse.model.load(write_pt(folder, tensors, flags))
    settings = {"sampler": "ddpm", "variance": "learned", "steps": 3, "classes": ("4", "0")}
    assert model.sample(2, **settings).array.shape == (2, 3, 8, 8)
    assert model.info.classes == ("0", "1", "2", "3", "4")
    assert model.config.diffusion.learn_variance


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("middle_block.1.qkv.bias"), "lacks 'middle_block.1.qkv.bias'"),
        (lambda t: t.update(extra=torch.ones(2)), "has a 'extra'"),
        (lambda t: t.update({"out.2.bias": torch.ones(7)}), r"'out.2.bias' of the shape \(7,\)"),
        (lambda t: t.update({"out.2.weight": torch.ones(5, 32, 3, 3)}), "makes 5 channels of 3"),
        (lambda t: t.update({"input_blocks.0.0.weight": torch.ones(32, 6, 3, 3)}), "enlarges images"),
        (lambda t: [t.pop(n) for n in list(t) if n.startswith("output")], "classifier"),
        (lambda t: [t.pop(n) for n in list(t) if n.startswith("output_blocks.3")], "different lengths"),
        (lambda t: t.update({"out.2.bias": torch.ones(1).expand(10**12)}), "claim more than the file"),
        (lambda t: t.update({"out.2.bias": "text"}), "tensors by their names and nothing else"),
    ],
)
def test_a_tensor_missing_extra_or_of_another_shape_is_a_sentence(change, sentence, guided):
    tensors, flags, folder = guided
    change(tensors)
    path = write_pt(folder, tensors, flags)
    with pytest.raises(UndiffuseError, match=sentence):
        undiffuse.model.load(path)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (None, 'such as {"image_size"'),
        ({"diffusion_steps": 1000, "noise_schedule": "linear"}, "one of num_heads and num_head_channels"),
        ({"diffusion_steps": 4000, "noise_schedule": "cosine", "num_heads": 4}, "must say rescale_timesteps"),
        ({"diffusion_steps": 1000, "noise_schedule": "lineer", "num_heads": 4}, "perhaps you meant 'linear'"),
        ({"diffusion_steps": 1000, "noise_schedule": "linear", "num_heds": 4}, "unknown setting 'num_heds'"),
        ({"diffusion_steps": 1000, "noise_schedule": "linear", "num_heads": 5}, "heads"),
        ({"diffusion_steps": 10**9, "noise_schedule": "linear", "num_heads": 4}, "diffusion_steps of 2 to"),
    ],
)
def test_flags_that_are_missing_or_wrong_are_a_sentence(flags, sentence, guided):
    tensors, _, folder = guided
    with pytest.raises(UndiffuseError, match=sentence):
        undiffuse.model.load(write_pt(folder, tensors, flags))


class Bomb:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


@pytest.mark.parametrize("name", ["bomb.pt", "bomb.pth", "bomb.ckpt", "bomb.pkl"])
def test_a_pickle_that_holds_code_is_refused_and_not_run(name, tmp_path):
    canary = tmp_path / "canary"
    torch.save({"input_blocks.0.0.weight": Bomb(canary)}, path := tmp_path / name)
    with pytest.raises(UndiffuseError, match="safetensors"):
        undiffuse.model.load(path)
    path.write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(UndiffuseError, match="safetensors"):
        undiffuse.model.load(path)
    assert not canary.exists()
    pickle.loads(path.read_bytes()).close()  # that it would have been run
    assert canary.exists()


def test_names_that_nobody_knows_are_a_sentence(tmp_path):
    with pytest.raises(UndiffuseError, match="names that undiffuse does not know"):
        undiffuse.model.load(write_pt(tmp_path, {"a.weight": torch.ones(2)}))


def test_a_linear_chain_of_any_length_has_the_authors_betas():
    flags = Flags(32, 4000, "linear", num_heads=4, rescale_timesteps=True)
    betas = make_schedule(process(flags, False)).betas
    expected = torch.linspace(1e-4 / 4, 0.02 / 4, 4000, dtype=torch.float64)
    torch.testing.assert_close(betas, expected, rtol=1e-9, atol=1e-13)


def test_the_rescaled_index_is_what_the_network_sees(tmp_path):
    kinds, flags = VARIANTS["improved"]
    model = undiffuse.model.load(write_pt(tmp_path, tensors_of(shapes_of(**kinds)), flags))
    assert model.denoiser.time_input(model.schedule, torch.tensor(4000.0)) == 999.75
    assert model.denoiser.time_input(model.schedule, torch.tensor(1.0)) == 0


@pytest.mark.parametrize("name", ["cifar10_uncond_50M_500K", "64x64_diffusion", "512x512_diffusion"])
def test_a_published_file_needs_no_settings_beside_it(name, tmp_path):
    kinds, _ = VARIANTS["improved" if "cifar" in name else "guided"]
    if PUBLISHED[name].num_head_channels:
        kinds = {**kinds, "width": 64}
    found = reader_of(path := write_pt(tmp_path, tensors_of(shapes_of(**kinds)), name=f"{name}.pt")).read(path)
    assert found.info.shape[1] == PUBLISHED[name].image_size
    assert found.provenance["weights"] == "ema"
