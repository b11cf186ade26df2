"""OpenAI's networks by the names and shapes of their tensors, and as functions of these, written from the papers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

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
        centered = grouped - grouped.mean(2, keepdim=True)
        normal = (centered / (grouped.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()).reshape(x.shape)
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

    def down(self, x, time, label=None, skips=None):
        """The last activation of the way down, and the embedding."""
        width = self.t["time_embed.0.weight"].shape[1]
        angles = torch.tensor([[t * 10000 ** (-k / (width // 2)) for k in range(width // 2)] for t in time.tolist()])
        emb = F.linear(torch.cat([angles.cos(), angles.sin()], 1), *self.wb("time_embed.0"))
        emb = F.linear(emb * torch.sigmoid(emb), *self.wb("time_embed.2"))
        if label is not None:
            emb = emb + self.t["label_emb.weight"][label]
        h = F.conv2d(x, *self.wb("input_blocks.0.0"), padding=1)
        skips, k = [] if skips is None else skips, 1
        skips.append(h)
        while any(name.startswith(f"input_blocks.{k}.") for name in self.t):
            h = self.sequence(f"input_blocks.{k}", h, emb)
            skips.append(h)
            k += 1
        return h, emb

    def __call__(self, x, time, label=None):
        skips = []
        h, emb = self.down(x, time, label, skips)
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


POSITIONS = "out.2.positional_embedding"


def classifier_shapes(mults, attention, classes, side, width=BASE):
    """Names and shapes of a classifier whose images are ``side`` wide: a way down, and a head over what is left."""
    whole = shapes_of(mults, attention, scale_shift=True, resblock=True, classes=0, out=3, width=width)
    found = {name: shape for name, shape in whole.items() if not name.startswith(("output_blocks", "out."))}
    channels, left = int(width * mults[-1]), side >> (len(mults) - 1)
    found |= {"out.0.weight": (channels,), "out.0.bias": (channels,), POSITIONS: (channels, left**2 + 1)}
    for name, outputs in (("out.2.qkv_proj", 3 * channels), ("out.2.c_proj", classes)):
        found |= {f"{name}.weight": (outputs, channels, 1), f"{name}.bias": (outputs,)}
    return found


class ClassifierReference(Reference):
    """The way down, then attention of the mean of all positions to itself and to them, head by head."""

    def __call__(self, x, time):
        h = self.sequence("middle_block", *self.down(x, time))
        h = self.norm("out.0", h)
        h = (h * torch.sigmoid(h)).flatten(2)
        h = torch.cat([h.mean(2, keepdim=True), h], dim=2) + self.t[POSITIONS]
        q, k, v = F.conv1d(h, *self.wb("out.2.qkv_proj")).chunk(3, dim=1)
        c, parts = self.head_channels, []
        for i in range(0, q.shape[1], c):
            weights = torch.softmax((q[:, i : i + c, :1] * k[:, i : i + c]).sum(1) / math.sqrt(c), dim=-1)
            parts.append((v[:, i : i + c] * weights[:, None]).sum(2))
        return F.conv1d(torch.cat(parts, 1)[:, :, None], *self.wb("out.2.c_proj"))[:, :, 0]
