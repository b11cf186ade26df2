"""denoising-diffusion-pytorch's files against a function of their tensors, written here from its description."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

import undiffuse.model
from undiffuse.checkpoints.foreign.mapping import pair, write
from undiffuse.checkpoints.foreign.original import lucidrains
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import outline

HEADS, WIDTH, TOKENS, SIDE, STEPS = 2, 8, 4, 8, 40


def shapes_of(base=8, mults=(1, 2), full=(1,), channels=3, out=None):
    """Names and shapes of a U-Net of this code."""
    found, emb, inner = {}, 4 * base, HEADS * WIDTH

    def layer(name, *shape):
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    def block(name, inputs, outputs):
        layer(f"{name}.mlp.1", 2 * outputs, emb)
        for number, ch in ((1, inputs), (2, outputs)):
            layer(f"{name}.block{number}.proj", outputs, ch, 3, 3)
            found[f"{name}.block{number}.norm.g"] = (1, outputs, 1, 1)
        if inputs != outputs:
            layer(f"{name}.res_conv", outputs, inputs, 1, 1)

    def attention(name, ch, full):
        found[f"{name}.norm.g"] = (1, ch, 1, 1)
        found[f"{name}.to_qkv.weight"] = (3 * inner, ch, 1, 1)
        found[f"{name}.mem_kv"] = (2, HEADS, TOKENS, WIDTH) if full else (2, HEADS, WIDTH, TOKENS)
        layer(f"{name}.to_out" if full else f"{name}.to_out.0", ch, inner, 1, 1)
        if not full:
            found[f"{name}.to_out.1.g"] = (1, ch, 1, 1)

    layer("init_conv", base, channels, 7, 7)
    layer("time_mlp.1", emb, base)
    layer("time_mlp.3", emb, emb)
    widths = [base, *(base * mult for mult in mults)]
    pairs = list(pairwise(widths))
    for k, (near, far) in enumerate(pairs):
        block(f"downs.{k}.0", near, near)
        block(f"downs.{k}.1", near, near)
        attention(f"downs.{k}.2", near, k in full)
        last = k == len(pairs) - 1
        layer(*((f"downs.{k}.3", far, near, 3, 3) if last else (f"downs.{k}.3.1", far, 4 * near, 1, 1)))
    block("mid_block1", far, far)
    attention("mid_attn", far, True)
    block("mid_block2", far, far)
    for i, (k, (near, far)) in enumerate(reversed(list(enumerate(pairs)))):
        block(f"ups.{i}.0", far + near, far)
        block(f"ups.{i}.1", far + near, far)
        attention(f"ups.{i}.2", far, k in full)
        layer(f"ups.{i}.3" if k == 0 else f"ups.{i}.3.1", near, far, 3, 3)
    block("final_res_block", 2 * base, base)
    layer("final_conv", out or channels, base, 1, 1)
    return found


def tensors_of(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(name, shape):
        noise = torch.randn(shape, generator=generator)
        if name.endswith(".g"):
            return 1 + 0.2 * noise
        return noise if name.endswith("mem_kv") else noise * 0.7 / math.prod(shape[1:]) ** 0.5

    return {name: draw(name, shape) for name, shape in shapes.items()}


class Reference:
    def __init__(self, tensors):
        self.t = tensors

    def conv(self, name, x):
        weight = self.t[f"{name}.weight"]
        return F.conv2d(x, weight, self.t[f"{name}.bias"], padding=weight.shape[2] // 2)

    def dense(self, name, x):
        return x @ self.t[f"{name}.weight"].T + self.t[f"{name}.bias"]

    def norm(self, name, x):
        return x / (x**2).mean(1, keepdim=True).sqrt() * self.t[f"{name}.g"]

    def block(self, name, x, emb):
        scale, shift = self.dense(f"{name}.mlp.1", swish(emb))[:, :, None, None].chunk(2, dim=1)
        h = self.norm(f"{name}.block1.norm", self.conv(f"{name}.block1.proj", x))
        h = swish(h * (scale + 1) + shift)
        h = swish(self.norm(f"{name}.block2.norm", self.conv(f"{name}.block2.proj", h)))
        return h + (self.conv(f"{name}.res_conv", x) if f"{name}.res_conv.weight" in self.t else x)

    def attention(self, name, x):
        """Each position of each image and each head by itself."""
        qkv = F.conv2d(self.norm(f"{name}.norm", x), self.t[f"{name}.to_qkv.weight"]).flatten(2)
        memory, full = self.t[f"{name}.mem_kv"], f"{name}.to_out.weight" in self.t
        heads = []
        for head in range(HEADS):
            q, k, v = (part[:, head * WIDTH : (head + 1) * WIDTH] for part in qkv.chunk(3, dim=1))
            mk, mv = (part[head].T if full else part[head] for part in memory)
            k, v = (torch.cat([m.expand(len(x), -1, -1), part], dim=2) for m, part in ((mk, k), (mv, v)))
            if full:
                weights = torch.einsum("bdi,bdj->bij", q, k).div(WIDTH**0.5).softmax(2)
                heads.append(torch.einsum("bij,bdj->bdi", weights, v))
            else:
                q, k = q.exp() / q.exp().sum(1, keepdim=True) / WIDTH**0.5, k.exp() / k.exp().sum(2, keepdim=True)
                heads.append(torch.einsum("bdi,bdj,bej->bei", q, k, v))
        h = torch.cat(heads, dim=1).unflatten(2, x.shape[2:])
        if full:
            return x + self.conv(f"{name}.to_out", h)
        return x + self.norm(f"{name}.to_out.1", self.conv(f"{name}.to_out.0", h))

    def __call__(self, x, time):
        half = self.t["time_mlp.1.weight"].shape[1] // 2
        angles = time[:, None] / 10000 ** (torch.arange(half) / (half - 1))
        emb = self.dense("time_mlp.1", torch.cat([angles.sin(), angles.cos()], dim=1))
        emb = self.dense("time_mlp.3", emb * 0.5 * (1 + torch.erf(emb / 2**0.5)))
        h = first = self.conv("init_conv", x)
        skips, levels = [], sum(name.startswith("downs") and name.endswith("2.mem_kv") for name in self.t)
        for k in range(levels):
            h = self.block(f"downs.{k}.0", h, emb)
            skips.append(h)
            h = self.attention(f"downs.{k}.2", self.block(f"downs.{k}.1", h, emb))
            skips.append(h)
            if k == levels - 1:
                h = self.conv(f"downs.{k}.3", h)
            else:
                parts = torch.stack([h[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=2)
                h = self.conv(f"downs.{k}.3.1", parts.flatten(1, 2))
        h = self.block("mid_block2", self.attention("mid_attn", self.block("mid_block1", h, emb)), emb)
        for k in range(levels):
            h = self.block(f"ups.{k}.0", torch.cat([h, skips.pop()], dim=1), emb)
            h = self.block(f"ups.{k}.1", torch.cat([h, skips.pop()], dim=1), emb)
            h = self.attention(f"ups.{k}.2", h)
            if k == levels - 1:
                h = self.conv(f"ups.{k}.3", h)
            else:
                h = self.conv(f"ups.{k}.3.1", h.repeat_interleave(2, 2).repeat_interleave(2, 3))
        return self.conv("final_conv", self.block("final_res_block", torch.cat([h, first], dim=1), emb))


def swish(x):
    return x / (1 + (-x).exp())


# --- files ------------------------------------------------------------------------------------------------------------


def sigmoid_chain(steps=STEPS):
    """alpha-bar of Jabri et al. 2022, from -3 to 3, as betas."""
    curve = torch.linspace(3, -3, steps + 1, dtype=torch.float64).sigmoid()
    alpha_bar = (curve - curve[-1]) / (curve[0] - curve[-1])
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clip(0, 0.999)


def process_of(betas, weight=lambda snr: snr / (snr + 1)):
    alpha_bar = (1 - betas).cumprod(0)
    weights = weight(alpha_bar / (1 - alpha_bar))
    found = {"betas": betas, "alphas_cumprod": alpha_bar, "loss_weight": weights, "posterior_variance": betas}
    return {name: values.float() for name, values in found.items()}


def inside(tensors):
    return {f"model.{name}": tensor for name, tensor in tensors.items()}


def trainer_of(tensors, average, process):
    ema = {f"ema_model.{name}": tensor for name, tensor in (inside(average) | process).items()}
    ema |= {"initted": torch.tensor(True), "step": torch.tensor(7)} | {
        f"online_model.{n}": t for n, t in process.items()
    }
    opt = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.99)}]}
    return {"step": 7, "model": process | inside(tensors), "opt": opt, "ema": ema, "scaler": None, "version": "2.2.5"}


def save(folder, tree, side=SIDE, name="model-1.pt"):
    path = folder / name
    torch.save(tree, path) if path.suffix == ".pt" else safetensors.torch.save_file(tree, path)
    if side:
        path.with_suffix(".json").write_text(json.dumps({"image_size": side}))
    return path


@pytest.mark.parametrize(
    "kinds",
    [
        {},
        {"mults": (2, 2, 3), "full": (0, 2), "channels": 1},
        {"mults": (1, 3), "full": (), "out": 6},
    ],
)
def test_the_network_is_the_published_one(kinds, tmp_path):
    tensors = tensors_of(shapes_of(**kinds))
    model = undiffuse.model.load(save(tmp_path, process_of(sigmoid_chain()) | inside(tensors)))
    x = torch.randn(2, model.info.shape[0], SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    time = torch.tensor([0.0, 31.0])
    with torch.no_grad():
        torch.testing.assert_close(model.network(x, time), Reference(tensors)(x, time), rtol=1e-4, atol=1e-4)
    assert model.config.diffusion.learn_variance == ("out" in kinds)


def test_a_trainers_file_gives_its_average_and_its_step(tmp_path):
    tensors, average = tensors_of(shapes_of()), tensors_of(shapes_of(), seed=1)
    model = undiffuse.model.load(save(tmp_path, trainer_of(tensors, average, process_of(sigmoid_chain()))))
    assert torch.equal(model.network.state_dict()["stem.weight"], average["init_conv.weight"])
    assert (model.provenance["weights"], model.provenance["step"]) == ("ema", 7)
    assert model.provenance["layout"] == "denoising-diffusion-pytorch"
    assert model.sample(2, steps=2).array.shape == (2, 3, SIDE, SIDE)
    with pytest.raises(UndiffuseError, match="no weights 'raw'"):
        undiffuse.model.load(tmp_path / "model-1.pt", weights="raw")


def test_a_safetensors_file_of_the_diffusion_is_read_too(tmp_path):
    tensors = tensors_of(shapes_of())
    model = undiffuse.model.load(save(tmp_path, process_of(sigmoid_chain()) | inside(tensors), name="m.safetensors"))
    assert torch.equal(model.network.state_dict()["stem.weight"], tensors["init_conv.weight"])
    assert model.provenance["weights"] == "raw"


def test_every_tensor_of_ours_is_theirs_and_back(tmp_path):
    tensors = tensors_of(shapes_of(mults=(1, 2, 2), full=(1,)))
    model = undiffuse.model.load(save(tmp_path, process_of(sigmoid_chain()) | inside(tensors)))
    pairs = pair(outline(model.config, model.info), lucidrains.rules(model.config.network))
    back = write(pairs, model.network.state_dict())
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


WEIGHTS = {
    "epsilon": torch.ones_like,
    "x0": lambda snr: snr,
    "v": lambda snr: snr / (snr + 1),
}


@pytest.mark.parametrize("cut", [math.inf, 5.0])
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_weights_of_the_loss_tell_what_is_predicted(name, cut, tmp_path):
    def weight(snr):
        return WEIGHTS[name](snr) * snr.clamp(max=cut) / snr

    tree = process_of(sigmoid_chain(), weight) | inside(tensors_of(shapes_of()))
    assert undiffuse.model.load(save(tmp_path, tree)).config.diffusion.parameterization == name


def test_chains_that_have_a_name_get_it_and_others_are_told_by_their_betas(tmp_path):
    linear = torch.linspace(0.1 / 200, 20 / 200, 200, dtype=torch.float64)
    ho = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    for betas, name in ((linear, "linear"), (ho, "linear"), (sigmoid_chain(), "")):
        found = undiffuse.model.load(save(tmp_path, process_of(betas) | inside(tensors_of(shapes_of()))))
        process = found.config.diffusion
        assert (process.schedule if not process.betas else "") == name
        torch.testing.assert_close(found.schedule.betas, betas, rtol=1e-6, atol=1e-12)


def test_a_model_of_theirs_trains_on_and_is_the_same_after_it_was_written(tmp_path):
    from undiffuse.export import convert

    model = undiffuse.model.load(save(tmp_path, process_of(sigmoid_chain()) | inside(tensors_of(shapes_of()))))
    convert(model, tmp_path / "ours.safetensors", "file")
    again = undiffuse.model.load(tmp_path / "ours.safetensors")
    assert again.config.network == model.config.network
    half = {name: tensor.half().float() for name, tensor in model.network.state_dict().items()}
    assert all(torch.equal(tensor, half[name]) for name, tensor in again.network.state_dict().items())
    with pytest.raises(UndiffuseError, match="another network"):
        convert(model, tmp_path / "theirs", "diffusers")


def without(name):
    return lambda tree: tree.pop(name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without("betas"), "has no 'betas'"),
        (without("loss_weight"), "save the state of the GaussianDiffusion"),
        (without("model.mid_attn.to_qkv.weight"), "lacks 'mid_attn.to_qkv.weight'"),
        (without("model.final_res_block.block1.norm.g"), "since 2.0"),
        (without("model.downs.0.2.mem_kv"), "lacks 'downs.0.2.mem_kv'"),
        (lambda t: t.update({"model.extra.weight": torch.ones(2)}), "has a 'extra.weight'"),
        (lambda t: t.update({"model.init_conv.weight": torch.ones(8, 6, 7, 7)}), "self_condition"),
        (lambda t: t.update({"model.init_conv.weight": torch.ones(8, 5, 7, 7)}), "makes 3 channels of 5"),
        (lambda t: t.update({"model.init_conv.weight": torch.ones(7, 3, 7, 7)}), "no multiples"),
        (lambda t: t.update({"model.mid_attn.mem_kv": torch.ones(2, 2, 9, 8)}), "9 learned tokens"),
        (lambda t: t.update({"loss_weight": torch.rand(STEPS)}), "whether its network predicts noise, data or v"),
        (lambda t: t.update({"betas": -torch.ones(STEPS)}), "betas"),
        (lambda t: t.update({"betas": torch.ones(3)}), "has no 'alphas_cumprod' of one number a timestep"),
    ],
)
def test_what_does_not_fit_is_a_sentence(change, sentence, tmp_path):
    tree = process_of(sigmoid_chain()) | inside(tensors_of(shapes_of()))
    change(tree)
    with pytest.raises(UndiffuseError, match=sentence):
        undiffuse.model.load(save(tmp_path, tree))


@pytest.mark.parametrize("part", ["model", "ema", "step"])
def test_a_trainers_file_of_other_things_is_a_sentence(part, tmp_path):
    tree = trainer_of(tensors_of(shapes_of()), tensors_of(shapes_of()), process_of(sigmoid_chain())) | {part: "nothing"}
    with pytest.raises(UndiffuseError, match="a trainer's file holds"):
        undiffuse.model.load(save(tmp_path, tree))


def test_a_network_without_its_process_is_a_sentence(tmp_path):
    with pytest.raises(UndiffuseError, match="save the state of the GaussianDiffusion"):
        undiffuse.model.load(save(tmp_path, tensors_of(shapes_of())))


def test_the_size_of_images_must_be_told(tmp_path):
    tree = process_of(sigmoid_chain()) | inside(tensors_of(shapes_of()))
    with pytest.raises(UndiffuseError, match=r"write \{\"image_size\": 32\} to model-1.json"):
        undiffuse.model.load(save(tmp_path, tree, side=None))
    with pytest.raises(UndiffuseError, match="image_size of 1 to"):
        undiffuse.model.load(save(tmp_path, tree, side=10**9))
